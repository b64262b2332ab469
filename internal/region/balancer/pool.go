package balancer

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// pool keeps one node's connections to one target: those in use, so that they
// can be cut when the target's delay ends, and those idle, to be used again.
//
// Each idle connection is read from by a goroutine, so that a target that
// closes one is noticed at once. When a target closes it just as a request is
// being written, that request fails: nothing here tries a second time, because
// nobody can know whether the target has acted on the first.
type pool struct {
	watchers *sync.WaitGroup

	mu     sync.Mutex
	idle   []*upstream // the newest last: it is the least likely to be closed by the target
	all    map[*upstream]struct{}
	keep   bool  // whether a connection may become idle
	closed error // why the pool is closed, nil while it is not
}

func newPool(watchers *sync.WaitGroup) *pool {
	return &pool{watchers: watchers, all: map[*upstream]struct{}{}, keep: true}
}

// get takes an idle connection or makes a new one, to address. The error is
// the connection attempt's.
func (p *pool) get(ctx context.Context, address string, opts Options) (*upstream, error) {
	for {
		u := p.takeIdle()
		if u == nil {
			break
		}
		if u.wake(opts.IdleTimeout) {
			return u, nil
		}
		p.discard(u) // it was closed while it was idle: no request ever went over it
	}
	dialCtx, cancel := context.WithTimeout(ctx, opts.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(dialCtx, "tcp", address)
	if err != nil {
		return nil, err
	}
	u := &upstream{Conn: conn, pool: p, timeout: opts.IdleTimeout, active: true, budget: noBudget}
	u.br = bufio.NewReader(u)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		_ = conn.Close()
		return nil, p.closed
	}
	p.all[u] = struct{}{}
	return u, nil
}

func (p *pool) takeIdle() *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	u := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	u.claimed = true
	return u
}

// put gives a connection back that has answered completely and may be used again.
func (p *pool) put(u *upstream, idleTimeout time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.keep || p.closed != nil || u.br.Buffered() > 0 { // bytes that nobody asked for: out of step
		delete(p.all, u)
		_ = u.Close()
		return
	}
	u.claimed = false
	u.active = false
	u.budget = noBudget
	_ = u.SetDeadline(time.Now().Add(idleTimeout)) // a dead connection shows at the next read
	u.watched = make(chan struct{})
	p.idle = append(p.idle, u)
	p.watchers.Go(u.watch)
}

// discard closes a connection.
func (p *pool) discard(u *upstream) {
	p.mu.Lock()
	delete(p.all, u)
	p.mu.Unlock()
	_ = u.Close()
}

// drain closes what is idle and keeps nothing any more; requests in flight go on.
func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = false
	for _, u := range p.idle {
		u.claimed = true
		delete(p.all, u)
		_ = u.Close()
	}
	p.idle = nil
}

// open lets connections be kept, the way it is at first.
func (p *pool) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = true
}

// close cuts every connection; requests on them fail with cause.
func (p *pool) close(cause error) {
	p.drain()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = cause
	for u := range p.all {
		u.cut(cause)
	}
	p.all = nil
}

const noBudget = int64(1) << 62

var errHeaderTooLarge = errors.New("the head of the target's response exceeds 32 KiB")

// upstream is one connection to a target. While it is active each read and
// write puts the idle timeout off; while it is idle only watch reads it.
type upstream struct {
	net.Conn
	br      *bufio.Reader
	pool    *pool
	timeout time.Duration
	active  bool  // changes hands with the connection: put, then wake
	budget  int64 // bytes that may still be read: bounds a response's head

	watched chan struct{} // closed when watch has returned
	claimed bool          // under pool.mu: somebody took it out of idle
	idleErr error         // what watch read; valid after watched

	mu    sync.Mutex
	cause error // why it was cut
}

func (u *upstream) Read(p []byte) (int, error) {
	if u.budget <= 0 {
		return 0, errHeaderTooLarge
	}
	if int64(len(p)) > u.budget {
		p = p[:u.budget]
	}
	if u.active {
		_ = u.SetReadDeadline(time.Now().Add(u.timeout))
	}
	n, err := u.Conn.Read(p)
	u.budget -= int64(n)
	return n, err
}

// Write puts the deadline of a waiting read off too: a client that still
// uploads keeps the connection from being idle.
func (u *upstream) Write(p []byte) (int, error) {
	_ = u.SetDeadline(time.Now().Add(u.timeout))
	return u.Conn.Write(p)
}

// cut closes the connection and remembers the first reason.
func (u *upstream) cut(cause error) {
	u.mu.Lock()
	if u.cause == nil {
		u.cause = cause
	}
	u.mu.Unlock()
	_ = u.Close()
}

// because is the reason it was cut, else err itself.
func (u *upstream) because(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cause != nil {
		return u.cause
	}
	return err
}

// watch reads an idle connection until it is taken, the target closes it, or
// the idle timeout passes.
func (u *upstream) watch() {
	defer close(u.watched)
	_, u.idleErr = u.br.Peek(1)
	u.pool.mu.Lock()
	defer u.pool.mu.Unlock()
	if u.claimed {
		return // who took it looks at idleErr
	}
	for i, other := range u.pool.idle {
		if other == u {
			u.pool.idle = append(u.pool.idle[:i], u.pool.idle[i+1:]...)
			break
		}
	}
	delete(u.pool.all, u)
	_ = u.Close()
}

// wake ends the watch of a claimed connection; false means that it is of no use.
func (u *upstream) wake(idleTimeout time.Duration) bool {
	_ = u.SetReadDeadline(time.Unix(1, 0)) // interrupts the read
	<-u.watched
	if !errors.Is(u.idleErr, os.ErrDeadlineExceeded) {
		return false // closed, or it said something that nobody asked for
	}
	u.active = true
	u.timeout = idleTimeout
	return u.SetDeadline(time.Now().Add(idleTimeout)) == nil
}
