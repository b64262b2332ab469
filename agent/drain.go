package agent

import (
	"context"
	"fmt"
	"time"
)

const (
	drainSample = 500 * time.Millisecond
	// drainQuiet is how many samples in a row must show no connection: a balancer that opens a connection for
	// each request shows none between two of them.
	drainQuiet = 5
	// defaultDelay is the deregistration delay of a target group that says no other.
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
	defaultDelay = 300 * time.Second
)

// drainState is what a drain knows. It is pure: sample in, decision out.
type drainState struct {
	atLeast, atMost time.Duration // since the target was deregistered
	quiet           int           // samples in a row without a connection
}

// sample takes one look at the port and says whether it is drained.
func (d *drainState) sample(elapsed time.Duration, connections int) bool {
	if connections > 0 {
		d.quiet = 0
	} else {
		d.quiet++
	}
	if elapsed < d.atLeast {
		return false
	}
	return d.quiet >= drainQuiet || elapsed >= d.atMost
}

// drain waits until nobody uses the deregistered port: at least DrainMin,
// because balancers send new requests to a deregistered target for a while,
// and at most the larger of it and the target groups' deregistration delay,
// when the balancer itself gives up on what is left.
func (a *Agent) drain(ctx context.Context, on scene, s Drain) error {
	since := on.memory.Ports[s.Port].Deregistered
	delay := time.Duration(0)
	if a.Balancer != nil && on.groups == nil { // they were not asked for yet
		delay = defaultDelay
	}
	for _, g := range on.groups {
		delay = max(delay, time.Duration(g.DeregistrationDelay)*time.Second)
	}
	state := drainState{atLeast: a.DrainMin, atMost: max(a.DrainMin, delay)}
	began := a.Now()
	ticker := time.NewTicker(drainSample)
	defer ticker.Stop()
	for {
		connections, err := a.Sockets.Established(s.Port)
		if err != nil {
			return fmt.Errorf("count the connections to port %d: %w", s.Port, err)
		}
		// since may be of another agent's life and so of the wall clock, which may have been set back meanwhile.
		now := a.Now()
		if state.sample(max(now.Sub(since), now.Sub(began)), connections) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
