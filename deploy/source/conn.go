package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// remote is a repository and what opens it. It never changes.
type remote struct {
	location
	config *Config
	// auth, and for SSH key, are the credentials; zero where they must not go.
	auth Auth
	key  ssh.Signer
	pins *pins // the host's keys, for SSH
	// submodule is one that another repository names; foreign one that the credentials are not for.
	submodule, foreign bool
}

// hint says what to look at when the repository does not open.
func (r *remote) hint() string {
	switch {
	case r.submodule && r.isSSH():
		return "check its URL in .gitmodules; most hosts let a deploy key open one repository alone: " +
			"use the key of a user who may read this one too"
	case r.submodule:
		return "check its URL in .gitmodules, and what source.auth may read"
	}
	return "check source.url and source.auth"
}

// conn is one operation on one repository: whatever ends it ends everything that it waits for.
type conn struct {
	remote    *remote
	ctx       context.Context
	cancel    context.CancelCauseFunc
	transport transport

	mu     sync.Mutex
	broken error // the first error of a body: decoders on the way up may turn it into one of their own
}

// transport carries the two messages of a fetch: the server's list of refs, then our request and its answer. What it
// gives is watched (see watched).
type transport interface {
	list() (io.ReadCloser, error)
	ask(request []byte) (io.ReadCloser, error)
	// close ends whatever is still open, and waits for it. The context has ended before.
	close()
}

func (r *remote) connect(ctx context.Context) *conn {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &conn{remote: r, ctx: ctx, cancel: cancel}
	if r.isSSH() {
		c.transport = &overSSH{conn: c}
	} else {
		c.transport = newOverHTTP(c)
	}
	return c
}

// close ends whatever is still open; nothing outlives an operation.
func (c *conn) close() {
	c.cancel(nil)
	c.transport.close()
}

// broke notes why a body ended.
func (c *conn) broke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
}

// within ends the operation if do, which waits for the server, takes longer than an idle period.
func (c *conn) within(do func() error) error {
	idle := c.remote.config.Idle
	timer := time.AfterFunc(idle, func() { c.cancel(fmt.Errorf("the server did not answer within %s: try again", idle)) })
	defer timer.Stop()
	return do()
}

// cause prefers what really ended the operation, a context or a connection, over what decoders made of it.
func (c *conn) cause(err error) error {
	if err == nil || isRevision(err) || errors.Is(err, errNotOurRef) {
		return err
	}
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return truncated(c.broken)
	}
	return err
}
