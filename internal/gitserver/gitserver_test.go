package gitserver_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/gitserver"
)

func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t"}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := git(t, dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

// workTree is a user's own repository: not bare, and generous in its configuration.
func workTree(t *testing.T) (dir, sha string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "my app")
	mustGit(t, t.TempDir(), "init", "-q", "-b", "main", dir)
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustGit(t, dir, "add", ".")
	mustGit(t, dir, "commit", "-qm", "one")
	mustGit(t, dir, "config", "http.receivepack", "true")
	return dir, mustGit(t, dir, "rev-parse", "HEAD")
}

func TestAUsersOwnWorkTreeIsServedUnderAChosenName(t *testing.T) {
	t.Parallel()
	dir, sha := workTree(t)
	h, err := gitserver.Repository("team/shop.git", dir, gitserver.Options{AnySHA: true})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()

	if out := mustGit(t, t.TempDir(), "ls-remote", srv.URL+"/team/shop.git", "refs/heads/main"); !strings.HasPrefix(out, sha) {
		t.Errorf("ls-remote says %q, want %s", out, sha)
	}
	for _, other := range []string{"/other.git", "/team/shop.git/../../x", "/team/shop.gitx"} {
		if out, err := git(t, t.TempDir(), "ls-remote", srv.URL+other); err == nil {
			t.Errorf("%s is served: %s", other, out)
		}
	}
}

func TestPushingIsRefusedWhateverTheRepositoryAllows(t *testing.T) {
	t.Parallel()
	dir, _ := workTree(t)
	h, err := gitserver.Repository("shop.git", dir, gitserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	if out, err := git(t, dir, "push", srv.URL+"/shop.git", "HEAD:refs/heads/stolen"); err == nil {
		t.Errorf("a push went through: %s", out)
	}
	for _, req := range []struct{ method, path string }{
		{"POST", "/shop.git/git-receive-pack"}, {"GET", "/shop.git/config"}, {"GET", "/shop.git/HEAD"},
		{"GET", "/shop.git/info/refs"}, {"GET", "/shop.git/info/refs?service=git-receive-pack"},
	} {
		r, _ := http.NewRequest(req.method, srv.URL+req.path, nil)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s: %s, want 403", req.method, req.path, resp.Status)
		}
	}
}

func TestFetchBySHAIsTheServersChoiceNotTheRepositorys(t *testing.T) {
	t.Parallel()
	dir, first := workTree(t)
	mustGit(t, dir, "commit", "-q", "--allow-empty", "-m", "two")
	for _, any := range []bool{true, false} {
		h, err := gitserver.Handler(filepath.Dir(dir), gitserver.Options{AnySHA: any})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(h)
		defer srv.Close()
		into := t.TempDir()
		mustGit(t, into, "init", "-q")
		out, err := git(t, into, "-c", "protocol.version=0", "fetch", "-q", "--depth=1", srv.URL+"/my%20app/.git", first)
		if (err == nil) != any {
			t.Errorf("AnySHA=%v: fetch by SHA gave %v: %s", any, err, out)
		}
	}
}

func TestADirectoryThatIsNoRepositoryIsSaidToBeNone(t *testing.T) {
	t.Parallel()
	if _, err := gitserver.Repository("x.git", t.TempDir(), gitserver.Options{}); err == nil ||
		!strings.Contains(err.Error(), "is no git repository") {
		t.Errorf("got %v", err)
	}
}
