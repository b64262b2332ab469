package balancer

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// StatusClientGone is the status under which a request is counted whose client
// closed the connection before the answer was complete, as an ALB logs it.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-460-issues
const StatusClientGone = 460

// Failure is one request that the balancer failed: it answered it by itself
// with an error, or had to cut the target's answer short. What a target
// answers, a 500 for example, is no failure of the balancer.
type Failure struct {
	Time   time.Time
	Target string // the Target.ID, "" when none was picked
	Method string
	Path   string
	Status int // what the client saw: 502, 503, 504, 4xx; the target's own status when Cut
	// Cut says that the client had been sent the head of the answer already:
	// it sees a body that ends early.
	Cut   bool
	Cause error
}

// Stats counts requests since the balancer was made.
type Stats struct {
	// Requests is the number of requests that have been answered, one way or the other.
	Requests int64 `json:"requests"`
	// Targets has, per Target.ID, the number of answers per status that the target itself gave.
	Targets map[string]map[int]int64 `json:"targets"`
	// Balancer has, per status, the answers that the balancer made itself:
	// 502, 503, 504, and StatusClientGone, which nobody saw.
	Balancer map[int]int64 `json:"balancer"`
	// Cut is the number of answers that ended early because the target's connection did.
	Cut int64 `json:"cut"`
}

// Failed5xx is the number of 5xx that the balancer made itself (not the targets).
func (s Stats) Failed5xx() int64 {
	var n int64
	for status, count := range s.Balancer {
		if status >= 500 {
			n += count
		}
	}
	return n
}

type counters struct {
	mu sync.Mutex
	s  Stats
}

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.s
	s.Balancer = maps.Clone(s.Balancer)
	s.Targets = make(map[string]map[int]int64, len(c.s.Targets))
	for id, byStatus := range c.s.Targets {
		s.Targets[id] = maps.Clone(byStatus)
	}
	return s
}

// answered counts a status that a target gave.
func (c *counters) answered(target string, status int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.Requests++
	if cut {
		c.s.Cut++
	}
	if c.s.Targets == nil {
		c.s.Targets = map[string]map[int]int64{}
	}
	if c.s.Targets[target] == nil {
		c.s.Targets[target] = map[int]int64{}
	}
	c.s.Targets[target][status]++
}

// made counts a status that the balancer made itself.
func (c *counters) made(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.Requests++
	if c.s.Balancer == nil {
		c.s.Balancer = map[int]int64{}
	}
	c.s.Balancer[status]++
}

// failure is why a request could not be answered by its target, and with which status.
type failure struct {
	status int
	err    error
}

// record counts a failure and tells the hook; a client that went away is
// counted only, because nobody was failed.
func (b *Balancer) record(r *http.Request, target string, f *failure) {
	b.counters.made(f.status)
	if f.status != StatusClientGone {
		b.tell(r, target, f.status, false, f.err)
	}
}

// recordCut counts an answer whose head was sent and whose body ended early.
func (b *Balancer) recordCut(r *http.Request, target string, status int, err error) {
	b.counters.answered(target, status, true)
	b.tell(r, target, status, true, err)
}

func (b *Balancer) tell(r *http.Request, target string, status int, cut bool, cause error) {
	if b.opts.OnFailure == nil {
		return
	}
	b.opts.OnFailure(Failure{
		Time: time.Now(), Target: target, Method: r.Method, Path: r.URL.Path,
		Status: status, Cut: cut, Cause: cause,
	})
}
