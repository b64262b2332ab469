package source_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// openSSH starts the machine's own sshd on loopback, with keys and configuration of the test's alone, and gives its port
// and the lines of known_hosts that its own ssh-keyscan makes. It lets in whoever runs the test, with that key.
func openSSH(t *testing.T, sshd string, authorized ssh.PublicKey) (port, knownHosts string) {
	t.Helper()
	dir := t.TempDir()
	if os.Getuid() == 0 { // where a service's unit would make it
		switch err := os.Mkdir("/run/sshd", 0o755); {
		case err == nil:
			t.Cleanup(func() { _ = os.Remove("/run/sshd") }) // where an sshd of the machine's has come to use it, it stays
		case !errors.Is(err, fs.ErrExist):
			t.Fatal(err)
		}
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hostKey, _ := gittest.NewKey(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err = net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		t.Fatal(err)
	}
	config := write("sshd_config", fmt.Sprintf("ListenAddress 127.0.0.1:%s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM no\n"+
		"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nStrictModes no\n",
		port, write("host", hostKey), write("authorized_keys", string(ssh.MarshalAuthorizedKey(authorized)))))
	var log safeBuffer
	cmd := exec.Command(sshd, "-D", "-e", "-f", config)
	cmd.Stderr = &log
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself, which was told below
		<-ended
		if t.Failed() {
			t.Logf("sshd says:\n%s", log.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("ssh-keyscan", "-p", port, "127.0.0.1").Output()
		if err == nil && bytes.Contains(out, []byte("ssh-ed25519")) {
			return port, string(out)
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("sshd ended: %v\n%s", err, log.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("sshd does not answer: %v\n%s", err, log.String())
		}
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTheRealOpenSSHServesUs(t *testing.T) {
	t.Parallel()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd, err = exec.LookPath("/usr/sbin/sshd")
	}
	if err != nil {
		t.Skip("LEFT OUT: sshd is not installed (Debian: openssh-server); the tests against golang.org/x/crypto's server ran")
	}
	sshd, err = filepath.Abs(sshd) // it starts itself again
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	repo, sha, want := nested(t)
	private, signer := gittest.NewKey(t)
	port, knownHosts := openSSH(t, sshd, signer.PublicKey())
	config := source.Config{
		URL:        "ssh://" + me.Username + "@127.0.0.1:" + port + repo.Dir,
		KnownHosts: knownHosts, Auth: source.Auth{Key: source.Secret(private)},
	}
	if diff := cmp.Diff(want, snapshot(t, mustFetch(t, newSource(t, config), sha))); diff != "" {
		t.Error(diff)
	}
	missing := config
	missing.URL += "-no"
	if _, err := fetch(t, newSource(t, missing), sha); !errors.Is(err, source.ErrNoRepository) {
		t.Errorf("no such repository: %v", err)
	}
	other, stranger := gittest.NewKey(t)
	denied := config
	denied.Auth.Key = source.Secret(other)
	if _, err := fetch(t, newSource(t, denied), sha); !errors.Is(err, source.ErrDenied) || !strings.Contains(err.Error(), ssh.FingerprintSHA256(stranger.PublicKey())) {
		t.Errorf("another key: %v", err)
	}
	wrong := config
	wrong.KnownHosts = "[127.0.0.1]:" + port + " " + authorized(stranger.PublicKey())
	if _, err := fetch(t, newSource(t, wrong), sha); !errors.Is(err, source.ErrHostKey) || !strings.Contains(err.Error(), "attack") {
		t.Errorf("another host key: %v", err)
	}
}
