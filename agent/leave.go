package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// order is how long the agent's loop may take to come to what it is told to do. A turn's looks are bounded by ten seconds,
// and are over within milliseconds on a machine that is well.
const order = 15 * time.Second

// Drain takes this instance out of service until Undrain: everything is deregistered, drained and stopped, and nothing new is
// started. It returns when that is remembered, also over restarts and reboots; Status says how far it has come. An
// instance that is drained already stays so.
func (a *Agent) Drain(ctx context.Context) error {
	if a.Rules.Attached {
		return errAttached
	}
	return a.drained(ctx, func(now time.Time, was time.Time) time.Time {
		if !was.IsZero() {
			return was
		}
		a.Log.Info("an operator takes this instance out of service")
		return now
	})
}

// errAttached is why an attached instance does not drain by itself: deregistered by hand it could be taken for unhealthy, and
// replaced.
var errAttached = errors.New("in balancer.mode asg only Auto Scaling takes this instance out of its target groups: use aws autoscaling enter-standby and exit-standby, or terminate-instance-in-auto-scaling-group")

// Undrain ends what Drain began: the instance comes back into service with whatever release is wanted by now. Where
// nothing was drained it does nothing.
func (a *Agent) Undrain(ctx context.Context) error {
	return a.drained(ctx, func(_, was time.Time) time.Time {
		if !was.IsZero() {
			a.Log.Info("an operator brings this instance back into service")
		}
		return time.Time{}
	})
}

// drained changes since when an operator has this instance out of service.
func (a *Agent) drained(ctx context.Context, change func(now, was time.Time) time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, order)
	defer cancel()
	failed := ""
	if err := a.tell(ctx, func(w *world) {
		was := w.memory.DrainSince
		m := w.memory
		m.DrainSince = change(a.Now(), was)
		if !a.remember(w, m) {
			w.memory.DrainSince = was
			failed = w.problems["memory"]
		}
	}); err != nil {
		return err
	}
	if failed != "" {
		return fmt.Errorf("nothing was changed, because it could not be remembered: %s", failed)
	}
	return nil
}

// leaveLook is how often Leave looks how far it has come.
const leaveLook = 200 * time.Millisecond

// Leave is for a machine that goes down: what is registered is deregistered, drained and stopped. It returns when nothing is
// left, or when ctx ends: the error then says what is.
func (a *Agent) Leave(ctx context.Context) error {
	if a.Rules.Attached && a.Status().Leaving != Terminating {
		return errAttached
	}
	if err := a.tell(ctx, func(w *world) { w.desired.ShutDown = true }); err != nil {
		return err
	}
	ticker := time.NewTicker(leaveLook)
	defer ticker.Stop()
	for {
		s := a.Status()
		if s.State == "drained" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not everything was drained: %s: %w", s.Left(), context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// Left says in words what an instance that leaves is still at, and what stands in its way.
func (s Status) Left() string {
	var parts []string
	for _, d := range s.Doing {
		parts = append(parts, d.Step)
	}
	for _, subject := range slices.Sorted(maps.Keys(s.Problems)) {
		parts = append(parts, subject+": "+s.Problems[subject])
	}
	if len(parts) == 0 {
		return "nothing is in its way, it is " + strings.ReplaceAll(s.State, "_", " ")
	}
	return strings.Join(parts, "; ")
}
