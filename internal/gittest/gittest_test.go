package gittest_test

import (
	"os/exec"
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
