package agent

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

const (
	pollLifecycle  = 5 * time.Second // IMDS is on the machine and costs nothing
	pollMembership = time.Hour
	slowest        = time.Minute // between two tries of a poll that fails
)

// watch starts what looks outside: the parameter, the targets, the group, the
// launch hook. Each runs until ctx ends, and Run waits for it.
func (a *Agent) watch(ctx context.Context, id model.Identity, end context.CancelCauseFunc) {
	group := make(chan model.Membership, 1) // the newest membership, for the heart
	a.every(ctx, "release", a.watchRelease)
	a.every(ctx, "records", a.watchRecords)
	a.every(ctx, "fleet", a.watchFleet)
	a.every(ctx, "membership", func(ctx context.Context) (time.Duration, error) {
		return a.watchMembership(ctx, id, group, end)
	})
	if a.Balancer != nil {
		a.every(ctx, "targets", func(ctx context.Context) (time.Duration, error) { return a.watchTargets(ctx, id) })
	}
	if a.Cache != nil {
		a.goes(func() { a.keepBuilt(ctx) })
		a.goes(func() { a.Cache.Warm(ctx) })
	}
	a.goes(func() { a.watchLifecycle(ctx) })
	a.goes(func() { a.heartbeat(ctx, id, group) })
}

// every calls look again and again: after the pause it asks for, with jitter,
// so that a fleet that booted together does not poll together; after a
// growing pause while it fails, and no less than it asks for; at once when it is nudged. The first look is not delayed: all of them
// go on at the same time, and the timeline shows how long each took.
func (a *Agent) every(ctx context.Context, name string, look func(context.Context) (time.Duration, error)) {
	a.goes(func() {
		first := a.Spans.Begin(name, 0)
		for failures := 0; ; {
			pause, err := look(ctx)
			if ctx.Err() != nil {
				return
			}
			first(err)
			a.post(ctx, func(w *world) { a.problem(w, name, err) })
			if err != nil {
				failures++
				pause = max(pause, min(time.Second<<min(failures, 6), slowest))
			} else {
				failures = 0
			}
			timer := time.NewTimer(pause*4/5 + rand.N(pause*2/5+1))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			case <-a.nudges[name]:
				timer.Stop()
			}
		}
	})
}

// watchTargets reads what the balancer says of this instance's ports, and of
// the target groups where that is not known yet.
func (a *Agent) watchTargets(ctx context.Context, id model.Identity) (pause time.Duration, err error) {
	asked, err := a.lookAtTargets(ctx, id)
	told := a.tell(ctx, func(w *world) {
		m := w.memory
		urgent := a.Rules.Attached && (m.Leaving != Stays || m.Aside) || // Auto Scaling is about to take it out, or to bring it back
			m.Serving && m.Port != 0 && !w.observed.Targets[m.Port].Healthy
		switch p := a.pace(w); {
		case err != nil:
			pause = p.Again()
		case w.groups == nil && !asked:
			pause = p.Later()
		default:
			pause = p.Targets(urgent)
		}
	})
	return pause, cmp.Or(err, told)
}

// lookAtTargets asks for the target groups once the targets are known, which is all that an instance needs to be registered. In
// balancer.mode asg the groups say on which port. It says whether it has asked for them.
func (a *Agent) lookAtTargets(ctx context.Context, id model.Identity) (ask bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, write)
	defer cancel()
	var ports []int
	if err := a.tell(ctx, func(w *world) {
		ports, ask = a.ports(w), w.groups == nil && (a.Rules.Attached || w.observed.TargetsKnown)
	}); err != nil {
		return ask, err
	}
	if ask {
		groups, err := a.Balancer.Groups(ctx)
		if err != nil {
			return ask, err
		}
		port := 0
		if a.Rules.Attached {
			if port, err = ownPort(groups); err != nil {
				return ask, err
			}
			ports = append(ports, port)
		}
		a.post(ctx, func(w *world) { w.groups, w.observed.GroupPort = groups, port })
	}
	began := a.Now()
	health, err := a.Balancer.Health(ctx, id.InstanceID, ports)
	if err != nil {
		return ask, err
	}
	a.post(ctx, func(w *world) {
		if w.moved.After(began) {
			a.nudge("targets") // something was registered or deregistered meanwhile: look again
			return
		}
		w.observed.Targets, w.observed.TargetsKnown = targetsOf(health), true
	})
	return ask, nil
}

// ports are those that this instance may have targets on: the range, and what
// units or the memory have of an earlier one.
func (a *Agent) ports(w *world) []int {
	var out []int
	for port := a.Rules.FirstPort; port <= a.Rules.LastPort && port > 0; port++ {
		out = append(out, port)
	}
	if w.observed.GroupPort != 0 {
		out = append(out, w.observed.GroupPort)
	}
	for port := range w.memory.Ports {
		out = append(out, port)
	}
	out = append(out, w.memory.Left...)
	for _, u := range w.observed.Units {
		if u.Port != 0 {
			out = append(out, u.Port)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
