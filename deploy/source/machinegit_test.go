package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/gittest"
)

// spied is a git that writes down its arguments, its environment and what it can see in its scratch.
func spied(t *testing.T) (program, log string) {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, log = filepath.Join(dir, "git"), filepath.Join(dir, "log")
	script := fmt.Sprintf("#!/bin/sh\n{ tr '\\0' '\\n' </proc/$$/cmdline; tr '\\0' '\\n' </proc/$$/environ; find . -type f -exec cat {} +; } >>%s 2>&1\nexec %s \"$@\"\n", log, git)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return program, log
}

func TestNoSecretIsInGitsArgumentsItsEnvironmentOrAFile(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	overHTTP := gittest.NewServer(t, repo, gittest.WithAuth("", "hunter2hunter2"))
	configs := map[string]Config{"HTTP": {URL: overHTTP.CloneURL(), Auth: Auth{Secret: "hunter2hunter2"}}}
	if _, err := exec.LookPath("ssh"); err == nil {
		overSSH := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
		configs["SSH"] = Config{URL: overSSH.CloneURL(), KnownHosts: overSSH.KnownHosts, Auth: Auth{Key: Secret(overSSH.ClientKey)}}
	}
	for name, c := range configs {
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		program, log := spied(t)
		if err := s.fetch(context.Background(), sha, filepath.Join(t.TempDir(), "tree"), program); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := s.resolveByGit(context.Background(), program, "main"); err != nil || got != sha {
			t.Errorf("%s: main is %s, %v", name, got, err)
		}
		seen, err := os.ReadFile(log)
		if err != nil || !strings.Contains(string(seen), "GIT_TERMINAL_PROMPT=0") {
			t.Fatalf("%s: the spy saw %q, %v", name, seen, err)
		}
		for line := range strings.Lines(string(c.Auth.Secret + c.Auth.Key)) {
			if len(line) > 10 && !strings.Contains(line, "-----") && strings.Contains(string(seen), strings.TrimSpace(line)) {
				t.Errorf("%s: a line of the secret is in what the spy saw", name)
			}
		}
	}
}

func TestWhatGitWritesIsBounded(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	s, err := New(Config{URL: gittest.NewServer(t, repo).CloneURL()})
	if err != nil {
		t.Fatal(err)
	}
	s.home.config.Limits.Bytes = 1 << 20
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "git") // one that fills the disk, thinly, and never ends
	script := "#!/bin/sh\ncase \"$*\" in *' fetch '*) truncate -s 1G big; sleep 600;; esac\nexec " + git + " \"$@\"\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "tree")
	err = s.fetch(context.Background(), sha, dir, program)
	if err == nil || !strings.Contains(err.Error(), "what git fetches") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

// around is a git that does something in a shell before each of its commands.
func around(t *testing.T, before string) (program string) {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(t.TempDir(), "git")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+before+"\nexec "+git+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestWhatGitLeavesRunningEndsWithIt(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	s, err := New(Config{URL: gittest.NewServer(t, repo).CloneURL()})
	if err != nil {
		t.Fatal(err)
	}
	pids := filepath.Join(t.TempDir(), "pids")
	program := around(t, "sleep 600 </dev/null >/dev/null 2>&1 & echo $! >>"+pids)
	if err := s.fetch(context.Background(), sha, filepath.Join(t.TempDir(), "tree"), program); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pids)
	if err != nil || len(strings.Fields(string(text))) < 4 {
		t.Fatalf("ran %q, %v", text, err)
	}
	for _, pid := range strings.Fields(string(text)) {
		for end := time.Now().Add(20 * time.Second); sleeps(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s still runs", pid)
			}
		}
	}
}

// sleeps says whether such a process is alive; who is killed may wait for its parent, and has no arguments any more.
func sleeps(pid string) bool {
	args, err := os.ReadFile("/proc/" + pid + "/cmdline")
	return err == nil && strings.HasPrefix(string(args), "sleep\x00")
}
