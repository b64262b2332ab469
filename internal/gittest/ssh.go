package gittest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHOptions say how an SSHServer serves. The zero value is a good server.
type SSHOptions struct {
	// TipsOnly hands out only what a ref points to. By default any commit can be fetched by SHA.
	TipsOnly bool
	// HostKeys are what the host shows itself with; nil: a new Ed25519 key.
	HostKeys []ssh.Signer
	// Accepts says which keys may come in as which user; nil: the server's own client key as git.
	Accepts func(user string, key ssh.PublicKey) bool
	// SilentAt falls silent: before the "handshake", before the answer to "exec".
	SilentAt string
	// CutAfter ends the connection after that many bytes of git's output, StallAfter falls silent then; 0: never.
	CutAfter, StallAfter int
	// FlipAt changes a bit of that byte of git's output; 0: never.
	FlipAt int
	// LFS answers git-lfs-authenticate, in its JSON; "" leaves that to the shell.
	LFS string
	// Drip sends git's output one byte at a time, one every interval.
	Drip time.Duration
	// Instead runs in the place of the command.
	Instead func(command string, channel ssh.Channel) (status uint32)
}

// SSHServer is an SSH server on loopback that runs the real git-upload-pack, through a shell, as sshd does.
type SSHServer struct {
	Host, Port string
	// ClientKey is a private key that may come in, in OpenSSH's format.
	ClientKey string
	// KnownHosts are the lines that pin the host's keys.
	KnownHosts string

	options  SSHOptions
	root     string // commands run here
	repo     *Repo
	config   *ssh.ServerConfig
	listener net.Listener
	done     chan struct{}
	serving  sync.WaitGroup

	mu       sync.Mutex
	commands []string
	open     map[net.Conn]bool
}

// NewKey makes a key pair; private is in OpenSSH's format.
func NewKey(t testing.TB) (private string, signer ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), signer
}

// NewSSHServer serves a repository (and its neighbours) until the test ends.
func NewSSHServer(t testing.TB, repo *Repo, o SSHOptions) *SSHServer {
	t.Helper()
	if _, err := exec.LookPath("git-upload-pack"); err != nil {
		t.Fatalf("git is needed: %v", err)
	}
	private, client := NewKey(t)
	if o.HostKeys == nil {
		_, host := NewKey(t)
		o.HostKeys = []ssh.Signer{host}
	}
	if o.Accepts == nil {
		accepted := string(client.PublicKey().Marshal())
		o.Accepts = func(user string, key ssh.PublicKey) bool { return user == "git" && string(key.Marshal()) == accepted }
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := &SSHServer{Host: host, Port: port, ClientKey: private, options: o, root: filepath.Dir(repo.Dir), repo: repo,
		listener: listener, done: make(chan struct{}), open: map[net.Conn]bool{}}
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !o.Accepts(m.User(), key) {
			return nil, errors.New("not this key")
		}
		return nil, nil
	}}
	for _, key := range o.HostKeys {
		s.config.AddHostKey(key)
		s.KnownHosts += knownhosts.Line([]string{net.JoinHostPort(host, port)}, key.PublicKey()) + "\n"
	}
	s.serving.Go(s.serve)
	t.Cleanup(s.Close)
	return s
}

// Close ends the server and everything that it runs. It may be called twice.
func (s *SSHServer) Close() {
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		close(s.done)
		_ = s.listener.Close() // its end is what counts
		for c := range s.open {
			_ = c.Close()
		}
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// CloneURL is where the repository is fetched from.
func (s *SSHServer) CloneURL() string { return s.URL(s.repo.Dir) }

// URL is that of a path on the server.
func (s *SSHServer) URL(path string) string {
	return "ssh://git@" + net.JoinHostPort(s.Host, s.Port) + "/" + strings.TrimPrefix(path, "/")
}

// Commands are those that clients ran so far.
func (s *SSHServer) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

// Connections says how many clients are connected.
func (s *SSHServer) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *SSHServer) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		select {
		case <-s.done:
			_ = conn.Close()
		default:
			s.open[conn] = true
			s.serving.Go(func() { s.connection(conn) })
		}
		s.mu.Unlock()
	}
}

func (s *SSHServer) connection(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}()
	if s.options.SilentAt == "handshake" {
		_, _ = io.Copy(io.Discard, conn) // until somebody closes it
		return
	}
	server, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return // the client has the reason
	}
	defer server.Close()
	s.serving.Go(func() { ssh.DiscardRequests(requests) })
	for opened := range channels {
		if opened.ChannelType() != "session" {
			_ = opened.Reject(ssh.UnknownChannelType, "git only")
			continue
		}
		channel, requests, err := opened.Accept()
		if err != nil {
			return
		}
		s.serving.Go(func() { s.session(channel, requests, func() { _ = conn.Close() }) })
	}
}

// session runs the first command that is asked for, until it ends or the client goes.
func (s *SSHServer) session(channel ssh.Channel, requests <-chan *ssh.Request, cut func()) {
	defer channel.Close()
	gone := make(chan struct{})
	defer func() {
		for range requests { // until the channel is closed
		}
	}()
	defer channel.Close()
	for r := range requests {
		var exec struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &exec) != nil {
			_ = r.Reply(false, nil)
			continue
		}
		if s.options.SilentAt == "exec" {
			continue
		}
		_ = r.Reply(true, nil) // a client that is gone is noticed below
		s.mu.Lock()
		s.commands = append(s.commands, exec.Command)
		s.mu.Unlock()
		s.serving.Go(func() {
			defer close(gone)
			for r := range requests {
				_ = r.Reply(false, nil)
			}
		})
		status := s.run(exec.Command, channel, gone, cut)
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		_ = channel.Close()
		<-gone
		return
	}
}

func (s *SSHServer) run(command string, channel ssh.Channel, gone <-chan struct{}, cut func()) uint32 {
	if s.options.Instead != nil {
		return s.options.Instead(command, channel)
	}
	if s.options.LFS != "" && strings.HasPrefix(command, "git-lfs-authenticate ") {
		_, _ = io.WriteString(channel, s.options.LFS) // a client that is gone is noticed by itself
		return 0
	}
	config := []string{"uploadpack.allowAnySHA1InWant", strconv.FormatBool(!s.options.TipsOnly), "safe.directory", "*"}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = s.root
	cmd.Env = append(Environment(s.root), "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)/2))
	for i := 0; i < len(config); i += 2 {
		n := strconv.Itoa(i / 2)
		cmd.Env = append(cmd.Env, "GIT_CONFIG_KEY_"+n+"="+config[i], "GIT_CONFIG_VALUE_"+n+"="+config[i+1])
	}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	if o := s.options; o.CutAfter+o.StallAfter+o.FlipAt > 0 || o.Drip > 0 {
		cmd.Stdout = &faulty{Writer: channel, options: o, gone: gone, done: s.done, cut: cut}
	}
	cmd.WaitDelay = time.Second // its output may be stuck in a middleware
	input, err := cmd.StdinPipe()
	if err != nil {
		return 255
	}
	if err := cmd.Start(); err != nil {
		return 255
	}
	s.serving.Go(func() {
		_, _ = io.Copy(input, channel) // ends with the channel
		_ = input.Close()
	})
	ended := make(chan struct{})
	s.serving.Go(func() {
		select {
		case <-gone:
		case <-s.done:
		case <-ended:
			return
		}
		_ = cmd.Process.Kill() // it may have ended by itself
	})
	err = cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return uint32(exit.ExitCode())
	}
	return 255
}

// faulty is git's output on a bad line.
type faulty struct {
	io.Writer
	options    SSHOptions
	gone, done <-chan struct{}
	cut        func()
	sent       int
}

func (f *faulty) Write(p []byte) (int, error) {
	if at := f.options.FlipAt - f.sent; f.options.FlipAt > 0 && at >= 0 && at < len(p) {
		p = bytes.Clone(p)
		p[at] ^= 0x20
	}
	for i := 0; i < len(p); {
		n := len(p) - i
		if f.options.Drip > 0 {
			n = 1
			if !f.wait(time.After(f.options.Drip)) {
				return i, io.ErrClosedPipe
			}
		}
		limit := f.options.CutAfter + f.options.StallAfter
		if limit > 0 {
			n = min(n, limit-f.sent)
		}
		if n == 0 {
			if f.options.CutAfter > 0 {
				f.cut()
			} else {
				f.wait(nil)
			}
			return i, io.ErrClosedPipe
		}
		sent, err := f.Writer.Write(p[i : i+n])
		i += sent
		f.sent += sent
		if err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// wait says whether the time came while both ends were there.
func (f *faulty) wait(after <-chan time.Time) bool {
	select {
	case <-after:
		return true
	case <-f.gone:
	case <-f.done:
	}
	return false
}
