package balancer

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Target is where requests go: one port of one instance.
type Target struct {
	ID      string // unique in its group: "i-0abc:8080"
	Address string // host:port to connect to
}

// State is what the control plane says of a target.
type State int

// The states. A target that is Initial or Unhealthy gets requests only when no
// target of the group is Healthy.
const (
	Initial State = iota
	Healthy
	Unhealthy
	// Draining targets were deregistered: no new requests, but those in flight go on.
	Draining
	gone // removed, or never heard of
)

// Algorithm chooses among the targets that may get a request.
type Algorithm string

// The values of the target group attribute load_balancing.algorithm.type that are known here.
const (
	RoundRobin       Algorithm = "round_robin"
	LeastOutstanding Algorithm = "least_outstanding_requests"
)

// Range is a span that a random duration is drawn from, Max included.
type Range struct{ Min, Max time.Duration }

// Draw draws a duration, evenly.
func (r Range) Draw() time.Duration {
	if r.Max <= r.Min {
		return r.Min
	}
	return r.Min + rand.N(r.Max-r.Min+1)
}

// GroupOptions says how a group's nodes learn of changes.
type GroupOptions struct {
	// Nodes is how many nodes the load balancer has, each with its own view of
	// the targets, its own turn in the round robin and its own connections. A
	// client connection belongs to one node. 2 when zero: a load balancer has
	// one in each of at least two zones.
	Nodes int
	// Healthy is how long a node takes to learn that a target became healthy.
	Healthy Range
	// Deregistered is how long a node keeps sending new requests to a target
	// that was deregistered. A real ALB was seen to take 5–60 s
	// (kubernetes-sigs/aws-load-balancer-controller issues 1064 and 2106).
	Deregistered Range
}

// errDrained is why a connection is closed at the end of the deregistration delay.
var errDrained = errors.New("the target's deregistration delay ended, or it was removed, while the request was in flight")

// Group is a target group as the load balancer's nodes see it. Its methods may
// be called from several goroutines.
type Group struct {
	opts GroupOptions

	mu        sync.Mutex
	algorithm Algorithm
	nodes     []*node
	closed    bool
	watchers  sync.WaitGroup // of idle connections
}

type node struct {
	routes []*route // in the order of registration
	next   int      // round robin
}

// route is one node's view of one target.
type route struct {
	group    *Group
	target   Target
	state    State
	inFlight int
	pool     *pool
	pending  *time.Timer // a state on its way to this node
	learns   State       // the pending state
}

// NewGroup makes a group without targets. Close it when no balancer uses it any more.
func NewGroup(opts GroupOptions) *Group {
	if opts.Nodes <= 0 {
		opts.Nodes = 2
	}
	g := &Group{opts: opts, algorithm: RoundRobin}
	for range opts.Nodes {
		g.nodes = append(g.nodes, &node{})
	}
	return g
}

// SetAlgorithm chooses how requests are spread; round robin until then.
func (g *Group) SetAlgorithm(a Algorithm) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.algorithm = a
}

// Set tells the nodes a target's state. Healthy and Draining reach each node
// after a random while of its own (GroupOptions); the others at once. A newer
// state replaces one that is still on its way.
func (g *Group) Set(t Target, s State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	for _, n := range g.nodes {
		r := n.route(t.ID)
		if r != nil && r.target.Address != t.Address {
			r.now(n, gone) // the same name somewhere else is another target
			r = nil
		}
		if r == nil {
			if s == Draining {
				continue // never knew it: nothing to drain
			}
			r = &route{group: g, target: t, state: gone}
			r.pool = newPool(&g.watchers)
			n.routes = append(n.routes, r)
		}
		switch {
		case r.pending != nil && r.learns == s, r.pending == nil && r.state == s:
			// Known, or on its way: saying it again must not delay it.
		case s == Healthy:
			if r.state == gone || r.state == Draining {
				r.apply(n, Initial) // the node knows that it exists before it knows that it is well
			}
			r.later(n, s, g.opts.Healthy.Draw())
		case s == Draining:
			r.later(n, s, g.opts.Deregistered.Draw())
		default:
			r.now(n, s)
		}
	}
}

// Remove forgets a target: the end of its deregistration delay. Connections to
// it that are still open are closed. A node that has not yet learned of the
// deregistration keeps the target until it does.
func (g *Group) Remove(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.nodes {
		switch r := n.route(id); {
		case r == nil:
		case r.pending != nil && (r.learns == Draining || r.learns == gone):
			r.learns = gone // with the same timer
		default:
			r.now(n, gone)
		}
	}
}

// Close forgets all targets, closes all connections to them, and waits.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	for _, n := range g.nodes {
		for _, r := range append([]*route(nil), n.routes...) {
			r.now(n, gone)
		}
	}
	g.mu.Unlock()
	g.watchers.Wait()
}

func (n *node) route(id string) *route {
	for _, r := range n.routes {
		if r.target.ID == id {
			return r
		}
	}
	return nil
}

func (r *route) later(n *node, s State, d time.Duration) {
	if d <= 0 {
		r.now(n, s)
		return
	}
	r.cancel()
	r.learns = s
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		r.group.mu.Lock()
		defer r.group.mu.Unlock()
		if r.pending == timer { // else a newer state came in between
			r.pending = nil
			r.apply(n, r.learns)
		}
	})
	r.pending = timer
}

func (r *route) now(n *node, s State) {
	r.cancel()
	r.apply(n, s)
}

func (r *route) cancel() {
	if r.pending != nil {
		r.pending.Stop()
		r.pending = nil
	}
}

func (r *route) apply(n *node, s State) {
	r.state = s
	switch s {
	case Draining:
		r.pool.drain()
	case gone:
		r.pool.close(errDrained)
		for i, other := range n.routes {
			if other == r {
				n.routes = append(n.routes[:i:i], n.routes[i+1:]...)
				break
			}
		}
	default:
		r.pool.open()
	}
}

// picked is a route that a request holds until done.
type picked struct {
	target Target
	pool   *pool
	done   func()
}

// pick chooses the target for a request on a client connection. It is false
// when nothing is registered.
func (g *Group) pick(connection uint64) (picked, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[connection%uint64(len(g.nodes))]
	var healthy, others []*route
	for _, r := range n.routes {
		switch r.state {
		case Healthy:
			healthy = append(healthy, r)
		case Initial, Unhealthy:
			others = append(others, r)
		}
	}
	// "If a target group contains only unhealthy registered targets, the load
	// balancer routes requests to all those targets, regardless of their health status."
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
	candidates := healthy
	if len(candidates) == 0 {
		candidates = others
	}
	if len(candidates) == 0 {
		return picked{}, false
	}
	start := n.next % len(candidates)
	n.next++
	r := candidates[start]
	if g.algorithm == LeastOutstanding {
		for i := range candidates { // from the turn on, so that equals share
			if c := candidates[(start+i)%len(candidates)]; c.inFlight < r.inFlight {
				r = c
			}
		}
	}
	r.inFlight++
	return picked{target: r.target, pool: r.pool, done: func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		r.inFlight--
	}}, true
}
