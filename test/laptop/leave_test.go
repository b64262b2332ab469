package laptop_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/trial"
)

// TestAFleetThatShrinksUnderLoadLosesNothing scales a fleet in: the instance that goes drains behind its termination hook.
func TestAFleetThatShrinksUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) { o.Instances = 2 })
	l.put(l.commit("main"))
	l.launch()
	l.wait("in service", serving(1))
	traffic := l.startLoad()
	if err := l.Resize(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	l.until("one instance", func() error {
		if n := len(l.Instances()); n != 1 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	traffic.stop()
	l.until("settled", func() error { return l.settled(l.Instances()[0], 1) })
	for _, phase := range []string{"deregister", "drain", "stop"} {
		if !l.log.contains("\tdone\t", fmt.Sprintf(`"phase": %q`, phase)) {
			t.Errorf("the instance that went did not %s", phase)
		}
	}
	if !l.log.contains("\tstart\t", "complete the termination hook") {
		t.Error("the termination hook was not completed")
	}
}

// TestADrainedInstanceStaysOutUntilItIsUndrained drains one of two under load. It stays out when its agent is killed and
// when the machine reboots, takes no new release, and comes back on the one that is wanted then.
func TestADrainedInstanceStaysOutUntilItIsUndrained(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) { o.Instances = 2 })
	l.put(l.commit("main"))
	l.launch()
	l.wait("in service", serving(1))
	i, other := l.Instances()[0], l.Instances()[1]
	traffic := l.startLoad()
	tell := func(verb string) {
		t.Helper()
		l.until("told to "+verb, func() error { return i.Tell(t.Context(), verb) })
	}
	out := func(what string) {
		t.Helper()
		l.until(what, func() error {
			if _, err := l.look(i, state("drained"), left(agent.Drained)); err != nil {
				return err
			}
			running, err := l.processes(i)
			if err != nil || len(running) > 0 {
				return fmt.Errorf("these processes run: %v (%v)", running, err)
			}
			targets, err := l.targets(i)
			if err != nil || len(targets) > 0 {
				return fmt.Errorf("these ports are registered: %v (%v)", targets, err)
			}
			return nil
		})
	}
	tell("drain")
	tell("drain")
	out("drained")
	if s := l.status(i); len(s.Problems) > 0 {
		t.Errorf("a drained instance has problems: %v", s.Problems)
	}

	if err := l.machine(i).RestartAgent(); err != nil {
		t.Fatal(err)
	}
	out("drained still, after its agent was killed")
	l.commit("main")
	l.put("main")
	l.until("the other one on release 2", func() error { return l.settled(other, 2) })
	if err := l.machine(i).Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	out("drained still, after a reboot")

	tell("undrain")
	tell("undrain")
	l.until("back, on the release that is wanted by now", func() error { return l.settled(i, 2) })
	traffic.stop()
}

// TestADrainThatIsTakenBackInTheMiddleChangesNothing undrains an instance whose old process is still there.
func TestADrainThatIsTakenBackInTheMiddleChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)
	once(l, boundary("drain", "start"), func(string) { _ = i.Tell(t.Context(), "undrain") }) // settled says whether it was told
	l.until("told to drain", func() error { return i.Tell(t.Context(), "drain") })
	l.until("deregistered", func() error {
		if !l.log.contains("\tdone\t", `"phase": "deregister"`) {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	l.until("in service again", func() error { return l.settled(i, 1) })
	if after := l.theProcess(i); after != before {
		t.Errorf("the app was restarted: %v, then %v", before, after)
	}
}

// left: the instance is out of service, or on its way, for that reason.
func left(why agent.Leaving) wish {
	return func(s agent.Status) error {
		if s.Leaving != why {
			return fmt.Errorf("it leaves for %q, not for %q", s.Leaving, why)
		}
		return nil
	}
}

// leaveEdges are the boundaries of the way out, up to the moment when the group switches the machine off.
func leaveEdges() []edge {
	var edges []edge
	for _, phase := range []string{"deregister", "drain", "stop"} {
		edges = append(edges, boundary(phase, "start"), boundary(phase, "done"))
	}
	return append(edges, boundary("hook", "start"))
}

// TestKillWalkOfTheWayOut scales a fleet in under load, and kills the agent of each instance that goes at another boundary.
func TestKillWalkOfTheWayOut(t *testing.T) {
	t.Parallel()
	edges := leaveEdges()
	l := newLab(t, func(o *trial.Options) { o.Instances = len(edges) + 1 })
	w := newWalk(l)
	l.put(l.commit("main"))
	l.launch()
	l.wait("in service", serving(1))
	all := l.Instances()
	for n, e := range edges { // the oldest go first
		w.arm(all[n].ID, e)
	}
	// An agent may be through with its last phases before its lines are read, and the machine be gone: no hook is completed before its kill.
	l.disturb(fault.Rule{Operation: "CompleteLifecycleAction", Effect: func(ctx context.Context, c wire.Call, next func() (any, error)) (any, error) {
		for w.awaits(c.Principal.Instance) {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		return next()
	}})
	traffic := l.startLoad()
	if err := l.Resize(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	l.until("one instance", func() error {
		if n := len(l.Instances()); n != 1 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	traffic.stop()
	for n, e := range edges {
		if _, killed := w.of(all[n].ID); !killed {
			t.Errorf("no agent was killed at %q", e.name)
		}
	}
	l.until("settled", func() error { return l.settled(l.Instances()[0], 1) })
}
