package source_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// sshConfig is what opens a server's repository.
func sshConfig(srv *gittest.SSHServer) source.Config {
	return source.Config{URL: srv.CloneURL(), KnownHosts: srv.KnownHosts, Auth: source.Auth{Key: source.Secret(srv.ClientKey)}}
}

func fromSSH(t testing.TB, srv *gittest.SSHServer) *source.Source {
	t.Helper()
	return newSource(t, sshConfig(srv))
}

func TestATreeOverSSHIsExactlyWhatGitChecksOut(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	want := snapshot(t, repo.Clone(sha))
	for _, tips := range []bool{false, true} {
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{TipsOnly: tips})
		s := fromSSH(t, srv)
		if diff := cmp.Diff(want, snapshot(t, mustFetch(t, s, sha))); diff != "" {
			t.Error(diff)
		}
		if got, err := s.Resolve(context.Background(), "main"); err != nil || got != sha {
			t.Errorf("main is %s, %v", got, err)
		}
	}
}

func TestAnyCommitOfTheHistoryIsFetchedOverSSHFromEitherKindOfServer(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	first := repo.Commit(map[string]string{"v": "1", "gone": "x"})
	repo.CommitFiles("main", map[string]gittest.File{"v": {Body: "2"}, "gone": {Removed: true}})
	for _, tips := range []bool{false, true} {
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{TipsOnly: tips})
		dir := mustFetch(t, fromSSH(t, srv), first)
		if got := snapshot(t, dir); len(got) != 2 {
			t.Errorf("tips only %v: %v", tips, got)
		}
		if commands := srv.Commands(); tips != (len(commands) == 2) {
			t.Errorf("tips only %v: the server was asked %q", tips, commands)
		}
		if _, err := fetch(t, fromSSH(t, srv), strings.Repeat("12", 20)); !errors.Is(err, source.ErrNoRevision) || isRevision(err) {
			t.Errorf("a commit that nobody has: %v", err)
		}
	}
}

func TestAPathIsOneWordToTheServersShell(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.git", "it's.git", "$(touch pwned).git", "a;touch pwned;.git", "`touch pwned`!!\\.git", "ünï\"*.git"} {
		repo := gittest.NewRepo(t).Neighbour(name)
		sha := repo.Commit(map[string]string{"a": "1"})
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
		c := sshConfig(srv)
		c.URL = srv.URL(strings.ReplaceAll(repo.Dir, "`", "%60"))
		mustFetch(t, newSource(t, c), sha)
		if _, err := os.Lstat(filepath.Join(filepath.Dir(repo.Dir), "pwned")); err == nil {
			t.Errorf("%q ran a command: %q", name, srv.Commands())
		}
	}
}

func TestKeysOfAllKindsOpenAndOthersAreNamed(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{Accepts: func(user string, _ ssh.PublicKey) bool { return user == "git" }})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(key string) (*source.Source, error) {
		c := sshConfig(srv)
		c.Auth.Key = source.Secret(key)
		return source.New(c)
	}
	for _, key := range []any{rsaKey, ecKey} {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		text := string(pem.EncodeToMemory(block))
		for _, stored := range []string{text, strings.TrimSpace(text), "\n" + strings.ReplaceAll(text, "\n", "\r\n")} {
			s, err := with(stored)
			if err != nil {
				t.Fatal(err)
			}
			mustFetch(t, s, sha)
		}
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(ecKey, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	_, signer := gittest.NewKey(t)
	for want, key := range map[string]string{
		"passphrase":         string(pem.EncodeToMemory(locked)),
		"it is a public key": string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
		"PuTTY":              "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\n",
		"line breaks":        strings.ReplaceAll(srv.ClientKey, "\n", " "),
		"a deploy key":       "",
	} {
		if _, err := with(key); err == nil || !strings.Contains(err.Error(), want) || (key != "" && strings.Contains(err.Error(), key[40:])) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAKeyThatTheServerDoesNotTakeIsNamedByItsFingerprint(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
	private, signer := gittest.NewKey(t)
	c := sshConfig(srv)
	c.Auth.Key = source.Secret(private)
	_, err := fetch(t, newSource(t, c), sha)
	if !errors.Is(err, source.ErrDenied) || !strings.Contains(err.Error(), ssh.FingerprintSHA256(signer.PublicKey())) ||
		!strings.Contains(err.Error(), "deploy keys") || !strings.Contains(err.Error(), srv.CloneURL()) || isRevision(err) {
		t.Errorf("another key: %v", err)
	}
	c = sshConfig(srv)
	c.URL = strings.Replace(c.URL, "git@", "", 1)
	mustFetch(t, newSource(t, c), sha) // git is the default
	c.Auth.User = "jane"
	if _, err := fetch(t, newSource(t, c), sha); !errors.Is(err, source.ErrDenied) || !strings.Contains(err.Error(), `"jane"`) {
		t.Errorf("another user: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", c, c, c.Auth); strings.Contains(text, "PRIVATE KEY") {
		t.Errorf("the key prints: %s", text)
	}
}

func TestASilentSSHServerIsLeft(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	for name, c := range map[string]struct {
		options gittest.SSHOptions
		want    string
	}{
		"handshake":    {gittest.SSHOptions{SilentAt: "handshake"}, "did not answer within 1s"},
		"exec":         {gittest.SSHOptions{SilentAt: "exec"}, "did not answer within 1s"},
		"list of refs": {gittest.SSHOptions{StallAfter: 10}, "fell silent"},
		"pack":         {gittest.SSHOptions{StallAfter: 100_000}, "fell silent"},
		"dripping":     {gittest.SSHOptions{Drip: 20 * time.Millisecond}, "hardly sends"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := gittest.NewSSHServer(t, repo, c.options)
			config := sshConfig(srv)
			config.Idle = time.Second
			if name == "dripping" {
				config.Idle = 300 * time.Millisecond
			}
			if _, err := fetch(t, newSource(t, config), sha); err == nil || isRevision(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			leaves(t, srv)
		})
	}
}

// leaves waits until the client has closed its connections.
func leaves(t *testing.T, srv *gittest.SSHServer) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); srv.Connections() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is still open")
		}
	}
}

func TestACancelledFetchOverSSHReturnsAtOnceInEveryPhase(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	for _, options := range []gittest.SSHOptions{{SilentAt: "handshake"}, {SilentAt: "exec"}, {StallAfter: 10}, {StallAfter: 100_000}} {
		srv := gittest.NewSSHServer(t, repo, options)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			time.Sleep(300 * time.Millisecond)
			cancel()
		}()
		begin := time.Now()
		err := fromSSH(t, srv).Fetch(ctx, sha, filepath.Join(t.TempDir(), "release"))
		if !errors.Is(err, context.Canceled) || time.Since(begin) > 10*time.Second {
			t.Errorf("%+v: %v after %s", options, err, time.Since(begin))
		}
		leaves(t, srv)
	}
}

func TestATransferOverSSHThatIsCutLeavesNothing(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	for _, n := range []int{1, 4, 100, 300, 400, 1000, 65_536, 700_000} {
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{CutAfter: n})
		if _, err := fetch(t, fromSSH(t, srv), sha); err == nil || isRevision(err) || !strings.Contains(err.Error(), "try again") {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestAPackThatArrivesOverSSHWithOneWrongBitIsRefused(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	for _, at := range []int{5000, 100_000, 600_000} { // all behind the list of refs
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{FlipAt: at})
		if _, err := fetch(t, fromSSH(t, srv), sha); err == nil || isRevision(err) || !strings.Contains(err.Error(), "try again") {
			t.Errorf("bit flipped at %d: %v", at, err)
		}
	}
}

func TestWhatAnSSHServerSaysIsPutIntoWords(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	repo.Commit(map[string]string{"a": "1"})
	for name, c := range map[string]struct {
		says   string
		status uint32
		is     error
		want   string
	}{
		"GitHub":       {"ERROR: Repository not found.\n", 1, source.ErrNoRepository, "(it says: ERROR: Repository not found.)"},
		"GitLab":       {"remote: \nremote: =====\nremote: \nremote: ERROR: The project could not be found or you don't have permission\nremote: \nremote: ====\n", 1, source.ErrNoRepository, "(it says: ERROR: The project"},
		"not for you":  {"Forbidden\n", 1, source.ErrDenied, "may not read"},
		"no git":       {"sh: 1: git-upload-pack: not found\n", 127, nil, "no git-upload-pack"},
		"old git":      {"fatal: git upload-pack: something\n", 128, nil, "status 128"},
		"escapes":      {"\x1b[2J\u009bboo\r\n\x00", 3, nil, "(it says: [2Jboo)"},
		"very much":    {strings.Repeat("blah ", 100_000), 3, nil, "blah…"},
		"nothing":      {"", 3, nil, "ended with status 3: try again"},
		"a good end":   {"", 0, nil, "list of refs"},
		"and no money": {"https://me:pw@example.com/ is broken", 1, nil, "https://***@example.com"},
	} {
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{Instead: func(_ string, channel ssh.Channel) uint32 {
			_, _ = io.WriteString(channel.Stderr(), c.says)
			return c.status
		}})
		_, err := fromSSH(t, srv).Resolve(context.Background(), "main")
		if err == nil || isRevision(err) || !strings.Contains(err.Error(), c.want) || (c.is != nil && !errors.Is(err, c.is)) ||
			strings.ContainsAny(err.Error(), "\x1b\u009b\x00") || len(err.Error()) > 700 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The real git's own words.
	srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
	c := sshConfig(srv)
	c.URL = srv.URL(repo.Dir + "-no")
	if _, err := newSource(t, c).Resolve(context.Background(), "main"); !errors.Is(err, source.ErrNoRepository) {
		t.Errorf("a path without a repository: %v", err)
	}
	empty := gittest.NewSSHServer(t, gittest.NewRepo(t), gittest.SSHOptions{})
	if _, err := fromSSH(t, empty).Resolve(context.Background(), "main"); !errors.Is(err, source.ErrEmptyRepository) {
		t.Errorf("an empty repository: %v", err)
	}
	srv.Close()
	var err error
	for range 20 { // the kernel may still take a connection or two that nobody will
		if _, err = fromSSH(t, srv).Resolve(context.Background(), "main"); err != nil && strings.Contains(err.Error(), "can't be reached") {
			return
		}
	}
	t.Errorf("nobody listens: %v", err)
}

// It is not parallel: it counts goroutines.
func TestNoGoroutineOutlivesAnOperation(t *testing.T) {
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	good, silent := gittest.NewSSHServer(t, repo, gittest.SSHOptions{}), gittest.NewSSHServer(t, repo, gittest.SSHOptions{SilentAt: "exec"})
	round := func() {
		mustFetch(t, fromSSH(t, good), sha)
		config := sshConfig(silent)
		config.Idle = 20 * time.Millisecond
		if _, err := fetch(t, newSource(t, config), sha); err == nil {
			t.Error("a silent server is no error")
		}
	}
	round()
	before := runtime.NumGoroutine()
	for range 10 {
		round()
	}
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before+5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
