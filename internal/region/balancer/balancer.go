// Package balancer is a real HTTP/1.1 load balancer that behaves as an AWS
// Application Load Balancer does where an instance can tell the difference: it
// never retries a request, learns of a deregistration late, keeps connections
// alive on both sides, and fails open when no target is healthy.
//
// It decides nothing about health: a control plane (package elbv2) tells a
// Group what each target's state is, and a Balancer, one per listener, sends
// requests to the group. HTTPS, HTTP/2, stickiness and slow start are not here.
package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// The limits of an Application Load Balancer. A request whose head is larger is
// answered 431 here and 400 there.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html#http-headers-quotas
const (
	maxRequestHeader  = 64 << 10
	maxResponseHeader = 32 << 10
)

// Options configures a Balancer. The zero value has an ALB's defaults.
type Options struct {
	// IdleTimeout is how long a connection, to a client or to a target, may
	// carry no data. 60 s when zero, the default of the load balancer attribute
	// idle_timeout.timeout_seconds.
	IdleTimeout time.Duration
	// ConnectTimeout bounds the connection to a target: 10 s when zero.
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-504-issues
	ConnectTimeout time.Duration
	// OnFailure, if set, is called once for every request that the balancer
	// itself failed. It runs in the request's goroutine, possibly in several
	// at a time, and must not block or call Close.
	OnFailure func(Failure)
}

// Balancer serves one listener. Make one with Serve; Close ends it.
type Balancer struct {
	opts     Options
	address  net.Addr
	server   *http.Server
	group    atomic.Pointer[Group]
	accepted atomic.Uint64 // client connections so far; spreads them over the nodes
	counters counters

	ctx    context.Context // of every request; ends when Close runs out of patience
	cancel context.CancelFunc
	served chan struct{} // closed when the accept loop has ended

	mu       sync.Mutex
	closing  bool
	inFlight sync.WaitGroup // requests and tunnels
}

// Serve sends what comes in on ln to the targets of group, until Close. It
// owns ln from now on.
func Serve(ln net.Listener, group *Group, opts Options) *Balancer {
	if opts.IdleTimeout <= 0 {
		opts.IdleTimeout = 60 * time.Second
	}
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = 10 * time.Second
	}
	b := &Balancer{opts: opts, address: ln.Addr(), served: make(chan struct{})}
	b.group.Store(group)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.server = &http.Server{
		Handler:                      http.HandlerFunc(b.serveHTTP),
		DisableGeneralOptionsHandler: true, // OPTIONS * is the target's to answer
		ReadHeaderTimeout:            opts.IdleTimeout,
		IdleTimeout:                  opts.IdleTimeout,
		MaxHeaderBytes:               maxRequestHeader,
		BaseContext:                  func(net.Listener) context.Context { return b.ctx },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, b.accepted.Add(1)-1)
		},
		ErrorLog: log.New(io.Discard, "", 0), // what clients do wrong is not the region's news
	}
	go func() {
		defer close(b.served)
		_ = b.server.Serve(ln) // always an error: ErrServerClosed, or the listener was closed under it
	}()
	return b
}

type connectionKey struct{}

// Addr is the address that clients connect to.
func (b *Balancer) Addr() net.Addr { return b.address }

// SetGroup sends new requests to another group. Those in flight stay where they are.
func (b *Balancer) SetGroup(group *Group) { b.group.Store(group) }

// Stats is a copy of the counters so far.
func (b *Balancer) Stats() Stats { return b.counters.snapshot() }

// Close stops accepting at once, lets requests in flight finish until ctx
// ends, then cuts what is left, tunnels included. When it returns nothing of
// the balancer runs any more. The error says how many requests were cut.
func (b *Balancer) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closing = true
	b.mu.Unlock()
	err := b.server.Shutdown(ctx)
	b.cancel() // also the tunnels, which Shutdown does not wait for: they have no end of their own
	if err != nil {
		_ = b.server.Close() // Shutdown's error is the one to tell
		err = fmt.Errorf("close balancer on %s: requests were still in flight and have been cut: %w", b.address, err)
	}
	<-b.served
	b.inFlight.Wait()
	return err
}

// enter counts a request in; false means that the balancer is closing.
func (b *Balancer) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return false
	}
	b.inFlight.Add(1)
	return true
}

func (b *Balancer) serveHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(b.opts.IdleTimeout)) // in place of the last request's
	if !b.enter() {
		w.Header().Set("Connection", "close")
		b.answer(w, r, "", &failure{status: http.StatusServiceUnavailable, err: errors.New("the listener is being deleted")})
		return
	}
	defer b.inFlight.Done()
	switch r.Method {
	// "HTTP 405: The client used the TRACE method, which is not supported by
	// Application Load Balancers." CONNECT asks for a forward proxy.
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
	case http.MethodTrace, http.MethodConnect:
		b.answer(w, r, "", &failure{status: http.StatusMethodNotAllowed, err: fmt.Errorf("method %s is not supported", r.Method)})
		return
	}
	connection, _ := r.Context().Value(connectionKey{}).(uint64)
	route, ok := b.group.Load().pick(connection)
	if !ok {
		b.answer(w, r, "", &failure{status: http.StatusServiceUnavailable, err: errors.New("the target group has no registered targets")})
		return
	}
	defer route.done()
	x := &exchange{b: b, w: w, r: r, rc: rc, target: route.target}
	x.run(route.pool)
}

// answer sends the balancer's own response and records it.
func (b *Balancer) answer(w http.ResponseWriter, r *http.Request, target string, f *failure) {
	b.record(r, target, f)
	text := fmt.Sprintf("%d %s", f.status, http.StatusText(f.status))
	page := "<html>\r\n<head><title>" + text + "</title></head>\r\n<body>\r\n<center><h1>" + text + "</h1></center>\r\n</body>\r\n</html>\r\n"
	h := w.Header()
	h.Set("Server", "awselb/2.0")
	h.Set("Content-Type", "text/html")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(f.status)
	_, _ = w.Write([]byte(page)) // the client may be gone; the failure is recorded
}
