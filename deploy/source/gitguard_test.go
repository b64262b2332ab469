package source_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// gitFetch makes the test binary a process that fetches ("URL SHA DIR") with the machine's git.
const gitFetch = "BOOTAGENT_GIT_FETCH"

func fetchByGit(arguments string) error {
	f := strings.Fields(arguments)
	s, err := source.New(source.Config{URL: f[0], Engine: source.EngineGit, Idle: time.Hour})
	if err != nil {
		return err
	}
	return s.Fetch(context.Background(), f[1], f[2])
}

func TestGitEndsWithAnAgentThatIsKilled(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": noise(1, 500_000)})
	srv := gittest.NewServer(t, repo)
	srv.Use(srv.StallAfter(100_000))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), gitFetch+"="+srv.CloneURL()+" "+sha+" "+filepath.Join(t.TempDir(), "release"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when the thread ends that started it
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // it was killed
	defer func() { _ = cmd.Process.Kill() }()
	until := func(what string, is func(running []string) bool) {
		for end := time.Now().Add(20 * time.Second); !is(processesWith(t, srv.CloneURL())); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never %s: %q", what, processesWith(t, srv.CloneURL()))
			}
		}
	}
	until("fetching", func(running []string) bool { return strings.Contains(strings.Join(running, "\n"), "git-remote-http") })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until("ended", func(running []string) bool { return !strings.Contains(strings.Join(running, "\n"), " fetch ") })
	srv.CloseClientConnections() // what git runs itself waits for the server yet, an idle period at the most, and has nobody to write to
	until("all ended", func(running []string) bool { return len(running) == 0 })
}

// TestAnotherHostThatLFSNamesDoesNotGetTheCredentials: a server of LFS says where objects are, and may name whom it likes.
func TestAnotherHostThatLFSNamesDoesNotGetTheCredentials(t *testing.T) {
	t.Parallel()
	gittest.Need(t, "git-lfs", "git-lfs")
	var mu sync.Mutex
	asked, told := 0, []string{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if got := r.Header.Get("Authorization"); got != "" {
			told = append(told, got)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="tell me"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(elsewhere.Close)
	repo := gittest.NewRepo(t)
	content := "an object\n"
	sha := repo.Commit(map[string]string{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "a.bin": pointerTo(content)})
	srv := gittest.NewServer(t, repo, gittest.WithAuth("", "right"), gittest.With(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/info/lfs/objects/batch") {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
			oid := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
			_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": []any{map[string]any{"oid": oid, "size": len(content),
				"actions": map[string]any{"download": map[string]any{"href": elsewhere.URL + "/" + oid}}}}})
		})
	}))
	_, err := fetch(t, newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "right"}, Engine: source.EngineGit, FetchTimeout: 20 * time.Second}), sha)
	if err == nil || isRevision(err) || strings.Contains(err.Error(), "right\n") {
		t.Errorf("got %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if asked == 0 || len(told) > 0 {
		t.Errorf("it was asked %d times, and told the credentials %d times", asked, len(told))
	}
}

func TestGitFollowsNoRedirectNotEvenToWhoWouldServe(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	elsewhere := gittest.NewServer(t, repo)
	srv := gittest.NewServer(t, repo)
	s := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "right"}, Engine: source.EngineGit})
	for _, status := range []int{http.StatusMovedPermanently, http.StatusTemporaryRedirect} {
		srv.Use(gittest.RedirectTo(elsewhere.URL, status))
		if _, err := fetch(t, s, sha); err == nil || isRevision(err) || !strings.Contains(err.Error(), "change source.url") {
			t.Errorf("%d: %v", status, err)
		}
	}
	if got := elsewhere.Requests(); len(got) > 0 {
		t.Errorf("the other server was asked %d times", len(got))
	}
}

func TestATransferThatIsCutOrDamagedLeavesNothingOfGit(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": noise(1, 300_000), "b/c": noise(2, 100_000)})
	srv := gittest.NewServer(t, repo)
	wraps := map[string]func(http.Handler) http.Handler{}
	for _, n := range []int{0, 64, 1000, 200_000} {
		wraps[fmt.Sprint("cut after ", n)] = gittest.CutAfter(n)
	}
	for _, at := range []int{80, 5000, 250_000} {
		wraps[fmt.Sprint("flipped at ", at)] = flip(at)
	}
	for name, wrap := range wraps {
		srv.Use(wrap)
		if _, err := fetch(t, byGit(t, srv.CloneURL()), sha); err == nil || isRevision(err) || !decent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	srv.Use(nil)
	mustFetch(t, byGit(t, srv.CloneURL()), sha)
	gittest.Need(t, "ssh", "openssh-client")
	for _, o := range []gittest.SSHOptions{{CutAfter: 1000}, {CutAfter: 200_000}, {FlipAt: 100_000}} {
		if _, err := fetch(t, newSource(t, gitOverSSH(gittest.NewSSHServer(t, repo, o))), sha); err == nil || isRevision(err) || !decent(err) {
			t.Errorf("SSH, %+v: %v", o, err)
		}
	}
}

func TestGitLFSFilesOfARepositoryOverSSHAreFetched(t *testing.T) {
	t.Parallel()
	gittest.Need(t, "git-lfs", "git-lfs")
	gittest.Need(t, "ssh", "openssh-client")
	repo := gittest.NewRepo(t)
	model := noise(3, 100_000)
	sha := repo.Commit(map[string]string{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "model.bin": pointerTo(model), "plain": "x\n"})
	objects := lfsServer(t, repo, model)
	way := fmt.Sprintf(`{"href": %q, "header": {"Authorization": "Basic %s"}}`, objects.CloneURL()+"/info/lfs", base64.StdEncoding.EncodeToString([]byte("lfs:right")))
	for says, lfs := range map[string]string{"": way, "model.bin": strings.Replace(way, "Basic ", "Basic A", 1)} {
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{LFS: lfs})
		dir, err := fetch(t, newSource(t, gitOverSSH(srv)), sha)
		if says != "" {
			if err == nil || isRevision(err) || !strings.Contains(err.Error(), says) {
				t.Errorf("with a way in that does not open: %v", err)
			}
			continue
		}
		if got, readErr := os.ReadFile(filepath.Join(dir, "model.bin")); err != nil || string(got) != model {
			t.Errorf("model.bin has %d bytes: %v, %v (the server was asked %q)", len(got), err, readErr, srv.Commands())
		}
	}
}
