package source

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// openSSH lets git run the machine's ssh under the rules of the built-in one: the key comes out of an agent of ours and is in
// no file, the host's keys are those that are pinned, and no configuration of the machine is read.
func (g *machineGit) openSSH() error {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return errors.New("git needs ssh for this repository, and it is not installed: install it (openssh-client, openssh-clients), or use https")
	}
	r := g.remote
	if g.agent, err = serveKey(r.auth.Key); err != nil {
		return err
	}
	public, known := filepath.Join(g.scratch, "key.pub"), filepath.Join(g.scratch, "known_hosts")
	if err := os.WriteFile(public, ssh.MarshalAuthorizedKey(r.key.PublicKey()), 0o600); err != nil {
		return fmt.Errorf("name the key to ssh: %w", err)
	}
	if err := os.WriteFile(known, []byte(r.pins.lines(r.host, r.port)), 0o600); err != nil {
		return fmt.Errorf("name the host's keys to ssh: %w", err)
	}
	idle := strconv.Itoa(max(int(r.config.Idle/time.Second), 1))
	command := []string{shellQuoted(program), "-F", os.DevNull, "-p", r.port, "-l", shellQuoted(r.user)}
	for _, option := range []string{
		"BatchMode=yes", "IdentitiesOnly=yes", "IdentityFile=" + sshQuoted(public), "IdentityAgent=" + sshQuoted(g.agent.path), "PreferredAuthentications=publickey",
		"PasswordAuthentication=no", "KbdInteractiveAuthentication=no", "StrictHostKeyChecking=yes", "UserKnownHostsFile=" + sshQuoted(known),
		"GlobalKnownHostsFile=" + os.DevNull, "HostKeyAlgorithms=" + strings.Join(r.pins.algorithms(), ","), "UpdateHostKeys=no", "CheckHostIP=no",
		"VerifyHostKeyDNS=no", "CanonicalizeHostname=no", "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no",
		"ControlMaster=no", "ControlPath=none", "ConnectTimeout=" + idle, "ServerAliveInterval=" + idle, "ServerAliveCountMax=1", "LogLevel=ERROR",
	} {
		command = append(command, "-o", shellQuoted(option))
	}
	g.env = append(g.env, "GIT_SSH_COMMAND="+strings.Join(command, " "), "GIT_SSH_VARIANT=ssh")
	return nil
}

// sshQuoted is one value of ssh's configuration, which takes spaces and percent signs for its own.
func sshQuoted(value string) string { return `"` + strings.ReplaceAll(value, "%", "%%") + `"` }

// lfsOverSSH is where git-lfs asks for a way in: the repository itself.
func (g *machineGit) lfsOverSSH() string {
	if strings.HasPrefix(g.remote.path, "/") {
		return "ssh://" + g.remote.address() + g.remote.path
	}
	return g.url()
}

// lines writes pins for the real ssh, which must not look a host up under another port's name.
func (p *pins) lines(host, port string) string {
	name := host
	if port != defaultPort("ssh") {
		name = "[" + host + "]:" + port
	}
	var lines strings.Builder
	for _, k := range p.keys {
		lines.WriteString(name + " " + string(ssh.MarshalAuthorizedKey(k)))
	}
	for _, k := range p.authorities {
		lines.WriteString("@cert-authority " + name + " " + string(ssh.MarshalAuthorizedKey(k)))
	}
	for raw := range p.revoked {
		if k, err := ssh.ParsePublicKey([]byte(raw)); err == nil { // it was marshalled from one
			lines.WriteString("@revoked * " + string(ssh.MarshalAuthorizedKey(k)))
		}
	}
	return lines.String()
}

// keyAgent is an SSH agent with one key, on a socket that only our own user reaches.
type keyAgent struct {
	dir, path string
	listener  net.Listener
	serving   sync.WaitGroup
	mu        sync.Mutex
	open      map[net.Conn]bool
	closed    bool
}

func serveKey(key Secret) (*keyAgent, error) {
	raw, err := ssh.ParseRawPrivateKey([]byte(strings.TrimSpace(string(key)) + "\n"))
	if err != nil {
		return nil, errors.New("the deploy key (source.auth.key) can't be read") // it could, when it was configured
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: raw}); err != nil {
		return nil, errors.New("the deploy key (source.auth.key) is of a kind that an SSH agent does not take: make an Ed25519 key")
	}
	dir, err := os.MkdirTemp("", "bootagent-ssh-") // a socket's name must be short
	if err != nil {
		return nil, fmt.Errorf("serve the key to ssh: %w", err)
	}
	a := &keyAgent{dir: dir, path: filepath.Join(dir, "agent"), open: map[net.Conn]bool{}}
	if a.listener, err = net.Listen("unix", a.path); err != nil {
		return nil, errors.Join(fmt.Errorf("serve the key to ssh: %w", err), os.RemoveAll(dir))
	}
	a.serving.Go(func() { a.serve(keys) })
	return a, nil
}

func (a *keyAgent) serve(keys agent.Agent) {
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return // it is closed
		}
		a.mu.Lock()
		if a.closed {
			_ = conn.Close()
		} else {
			a.open[conn] = true
			a.serving.Go(func() {
				_ = agent.ServeAgent(keys, conn) // ends with the connection
				_ = conn.Close()
				a.mu.Lock()
				delete(a.open, conn)
				a.mu.Unlock()
			})
		}
		a.mu.Unlock()
	}
}

func (a *keyAgent) close() error {
	a.mu.Lock()
	a.closed = true
	err := a.listener.Close()
	for c := range a.open {
		_ = c.Close()
	}
	a.mu.Unlock()
	a.serving.Wait()
	return errors.Join(err, os.RemoveAll(a.dir))
}
