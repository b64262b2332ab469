package gittest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/gittest"
)

func TestARepositoryKeepsItsFilesAndIsServed(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	first := repo.Commit(map[string]string{"a.txt": "a\n", "dir/ü \"quoted\".txt": ""})
	second := repo.CommitFiles("main", map[string]gittest.File{
		"run.sh": {Body: "#!/bin/sh\n", Exec: true}, "link": {Body: "a.txt", Link: true}, "a.txt": {Removed: true},
	})
	tag := repo.AnnotatedTag("v1", first)
	repo.Tag("light", first)
	repo.Branch("old", first)

	tree := repo.Git("-c", "core.quotePath=false", "ls-tree", "-r", "--format=%(objectmode) %(path)", second)
	if want := "100644 \"dir/ü \\\"quoted\\\".txt\"\n120000 link\n100755 run.sh"; tree != want {
		t.Errorf("tree is\n%s\nwant\n%s", tree, want)
	}
	srv := gittest.NewServer(t, repo, gittest.WithAuth("", "pw"))
	url := strings.Replace(srv.CloneURL(), "http://", "http://any:pw@", 1)
	cmd := exec.Command("git", "ls-remote", url)
	cmd.Env = gittest.Environment(t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := second + "\tHEAD\n" + second + "\trefs/heads/main\n" + first + "\trefs/heads/old\n" + first + "\trefs/tags/light\n" +
		tag + "\trefs/tags/v1\n" + first + "\trefs/tags/v1^{}\n"
	if string(out) != want {
		t.Errorf("ls-remote says\n%s\nwant\n%s", out, want)
	}
}

func TestTheRealGitAndSSHFetchFromTheSSHServer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("ssh is needed here: install openssh-client")
		}
		t.Skip("LEFT OUT: ssh is not installed (Debian: openssh-client)")
	}
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
	home := t.TempDir()
	for name, text := range map[string]string{"key": srv.ClientKey, "known_hosts": srv.KnownHosts} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("git", "ls-remote", srv.CloneURL(), "main")
	cmd.Env = append(gittest.Environment(home), "GIT_SSH_COMMAND=ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes"+
		" -o UserKnownHostsFile="+filepath.Join(home, "known_hosts")+" -i "+filepath.Join(home, "key"))
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != sha+"\trefs/heads/main\n" {
		t.Errorf("%v: %s", err, out)
	}
}
