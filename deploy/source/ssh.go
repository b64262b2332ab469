package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// overSSH is one SSH connection with one git-upload-pack on it. Neither the machine's SSH configuration nor an agent
// nor anybody's key files are looked at. Whatever blocks ends when the conn's context does: that closes the socket.
type overSSH struct {
	conn    *conn
	client  *ssh.Client
	session *ssh.Session
	input   io.Writer
	output  io.ReadCloser
	said    complaint
	waited  sync.Once
	end     error
}

// list connects, starts git-upload-pack, and gives its output, of which the list of refs is the beginning.
func (o *overSSH) list() (io.ReadCloser, error) {
	c := o.conn
	dialer := net.Dialer{Timeout: c.remote.config.Idle, KeepAlive: 15 * time.Second}
	socket, err := dialer.DialContext(c.ctx, "tcp", c.remote.address())
	if err != nil {
		return nil, fmt.Errorf("the server can't be reached: %w", err)
	}
	context.AfterFunc(c.ctx, func() { _ = socket.Close() }) // whoever waits for it has the context's cause
	if err := c.within(func() error { return o.handshake(socket) }); err != nil {
		return nil, err
	}
	if err := c.within(o.start); err != nil {
		return nil, err
	}
	return io.NopCloser(o.output), nil
}

// handshake checks the host's key, then shows ours.
func (o *overSSH) handshake(socket net.Conn) error {
	r := o.conn.remote
	var verdict error // of the host's key; nil where it did not come to that
	verified := false
	config := &ssh.ClientConfig{
		User:          r.user,
		Auth:          []ssh.AuthMethod{ssh.PublicKeys(r.key)},
		ClientVersion: "SSH-2.0-bootagent",
		// The server chooses which of its keys it shows: it must be one that is pinned.
		HostKeyAlgorithms: r.pins.algorithms(),
		HostKeyCallback: func(address string, _ net.Addr, key ssh.PublicKey) error {
			verdict = r.pins.check(address, key)
			verified = verdict == nil
			return verdict
		},
	}
	connection, channels, requests, err := ssh.NewClientConn(socket, r.address(), config)
	var mismatch *ssh.AlgorithmNegotiationError
	switch {
	case err == nil:
		o.client = ssh.NewClient(connection, channels, requests)
		return nil
	case verdict != nil:
		return verdict
	case errors.As(err, &mismatch) && mismatch.What == "host key":
		return fmt.Errorf("%w: the host has none of the kinds that source.known_hosts pins (%s), it has %s; "+
			"%s", ErrHostKey, strings.Join(r.pins.kinds(), ", "), printable(strings.Join(mismatch.RequestedAlgorithms, ", ")), howToPin(r.location))
	case verified && strings.Contains(err.Error(), "unable to authenticate"): // x/crypto has no type for it
		return o.denied()
	}
	return fmt.Errorf("the SSH handshake with %s: %w", r.address(), truncated(err))
}

func (o *overSSH) denied() error {
	r := o.conn.remote
	return fmt.Errorf("%w: %s does not take the key %s for the user %q: add its public half to the repository's deploy keys "+
		"(reading is enough), or check source.auth.key", ErrDenied, r.address(), ssh.FingerprintSHA256(r.key.PublicKey()), r.user)
}

// start runs git-upload-pack, as git's own client does: version 0 of the protocol is what no environment asks for.
func (o *overSSH) start() (err error) {
	if o.session, err = o.client.NewSession(); err != nil {
		return fmt.Errorf("the server opens no SSH session: %w", truncated(err))
	}
	output, err := o.session.StdoutPipe()
	if err != nil {
		return err
	}
	if o.input, err = o.session.StdinPipe(); err != nil {
		return err
	}
	o.session.Stderr = &o.said
	if err := o.session.Start(uploadPack + " " + shellQuoted(o.conn.remote.path)); err != nil {
		o.session = nil // it has nothing to wait for
		return fmt.Errorf("the server does not run %s: %w", uploadPack, truncated(err))
	}
	o.output = o.conn.watch(io.NopCloser(&untilExit{output, o}))
	return nil
}

func (o *overSSH) ask(request []byte) (io.ReadCloser, error) {
	err := o.conn.within(func() error {
		_, err := o.input.Write(request)
		return err
	})
	if errors.Is(err, io.EOF) {
		err = errors.Join(o.wait(), errCut) // the server hung up; what it said is better than that
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the pack: %w", err)
	}
	return o.output, nil
}

func (o *overSSH) close() {
	if o.client == nil {
		return // the socket is closed by the context's end
	}
	// Errors of closing say nothing: all that was needed has been read.
	_ = o.client.Close()
	_ = o.client.Wait()
	if o.session != nil {
		_ = o.wait()
	}
	if o.output != nil {
		_ = o.output.Close()
	}
}

// untilExit is the program's output; where that ends, the program must have ended well.
type untilExit struct {
	io.Reader
	over *overSSH
}

func (u *untilExit) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		if end := u.over.wait(); end != nil {
			err = end
		}
	}
	return n, err
}

// wait gives why the program ended, nil for well.
func (o *overSSH) wait() error {
	o.waited.Do(func() {
		err := o.session.Wait()
		var exit *ssh.ExitError
		switch {
		case err == nil:
		case errors.As(err, &exit):
			o.end = o.said.explain(o.conn.remote, exit)
		default: // the connection ended first
			o.end = fmt.Errorf("%w%s", errCut, o.said.quote())
		}
	})
	return o.end
}

// complaint is what the program says to people, in bounds.
type complaint struct{ head }

// explain puts a failed git-upload-pack into words. SSH has no codes as HTTP has; the phrases are those of git
// (path.c, setup.c), GitHub, GitLab, Gitea and Bitbucket. An unknown one is quoted all the same.
func (c *complaint) explain(r *remote, exit *ssh.ExitError) error {
	text := strings.ToLower(string(c.head))
	has := func(phrases ...string) bool {
		for _, p := range phrases {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("not our ref", "unadvertised object"):
		return errNotOurRef
	case has("not found", "not appear to be a git repository", "could not be found", "does not exist", "no such"):
		if exit.ExitStatus() == 127 { // the shell's
			return fmt.Errorf("the server has no %s%s", uploadPack, c.quote())
		}
		return fmt.Errorf("%w, or one that this key may not see: %s%s", ErrNoRepository, r.hint(), c.quote())
	case has("denied", "not allowed", "unauthorized", "permission", "forbidden", "no access"):
		return fmt.Errorf("%w: the key may not read this repository: %s%s", ErrDenied, r.hint(), c.quote())
	}
	ended := fmt.Sprintf("status %d", exit.ExitStatus())
	if exit.Signal() != "" {
		ended = "signal " + printable(exit.Signal())
	}
	return fmt.Errorf("%s on the server ended with %s%s: try again", uploadPack, ended, c.quote())
}

// quote is the lines that say something, without the hosts' frames around them.
func (c *complaint) quote() string {
	var lines []string
	for line := range strings.Lines(string(c.head)) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(visible(line)), "remote:"))
		if strings.ContainsFunc(line, unicode.IsLetter) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	text := strings.Join(lines, "; ")
	const most = 300
	if len(text) > most {
		text = strings.TrimSpace(strings.ToValidUTF8(text[:most], "")) + "…"
	}
	return fmt.Sprintf(" (it says: %s)", text)
}

// shellQuoted is one word for the server's shell, as git quotes it (quote.c): the exclamation mark is for csh.
func shellQuoted(word string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(word) + "'"
}
