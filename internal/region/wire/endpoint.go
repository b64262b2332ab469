package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Endpoint is an HTTP server on a port, which closes promptly and waits for
// what it serves. http.Server.Shutdown alone takes five seconds where a client
// has dialled a connection and not used it, as Go's own Transport does.
type Endpoint struct {
	listener net.Listener
	http     *http.Server
	cancel   context.CancelFunc // ends the requests' contexts
	serving  chan struct{}      // closed when no connection is accepted any more

	mu      sync.Mutex
	fresh   map[net.Conn]struct{} // accepted, not a byte read
	closing bool
	failed  error
}

// closeGrace bounds Close. The requests' contexts are cancelled by then, so
// that only a handler that looks at none is still there.
const closeGrace = 10 * time.Second

// Listen serves the handler on an address from now on. The context only bounds
// the opening; the requests' contexts end with Close.
func Listen(ctx context.Context, addr string, h http.Handler) (*Endpoint, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return Serve(ctx, listener, h), nil
}

// Serve is Listen on a listener that is open already, and is the Endpoint's to close from now on.
func Serve(ctx context.Context, listener net.Listener, h http.Handler) *Endpoint {
	e := &Endpoint{listener: listener, serving: make(chan struct{}), fresh: map[net.Conn]struct{}{}}
	var requests context.Context
	requests, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.http = &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnState:         e.track,
		ReadHeaderTimeout: 10 * time.Second,
	}
	go e.serve()
	return e
}

// serve ends when the listener does, which Close waits for.
func (e *Endpoint) serve() {
	defer close(e.serving)
	err := e.http.Serve(e.listener)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		e.failed = fmt.Errorf("serve on %s: %w", e.listener.Addr(), err)
	}
}

func (e *Endpoint) track(conn net.Conn, state http.ConnState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if state == http.StateNew {
		e.fresh[conn] = struct{}{}
	} else {
		delete(e.fresh, conn)
	}
}

// Addr is where it listens, with the port that it really got.
func (e *Endpoint) Addr() net.Addr { return e.listener.Addr() }

// Err is why it serves no more; nil while it does, or was closed.
func (e *Endpoint) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

// Close ends the requests' contexts, closes the port and waits for the requests
// under way. It returns an error if one did not end within ten seconds, or if
// the endpoint had stopped serving before. A second Close does nothing more.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.cancel()
	_ = e.listener.Close() // only a second time is an error
	<-e.serving

	e.mu.Lock()
	for conn := range e.fresh {
		_ = conn.Close() // nobody has asked for anything on it
	}
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := e.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("close %s: requests are still under way after %v: %w", e.Addr(), closeGrace, err), e.http.Close())
	}
	return e.Err()
}
