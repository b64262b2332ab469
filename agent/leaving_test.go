package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

func TestTheReasonToLeave(t *testing.T) {
	t.Parallel()
	drained := Memory{DrainSince: noon}
	ending := Memory{Leaving: Terminating, LeavingSince: noon}
	in := func(state, target model.Lifecycle) Observed {
		return Observed{Membership: model.Membership{Group: "g", Lifecycle: state}, TargetLifecycle: target}
	}
	for _, c := range []struct {
		name string
		m    Memory
		d    Desired
		o    Observed
		want Leaving
	}{
		{"none", Memory{}, Desired{}, Observed{}, Stays},
		{"none in service", Memory{}, Desired{}, in(model.LifecycleInService, model.LifecycleInService), Stays},
		{"an operator's", drained, Desired{}, Observed{}, Drained},
		{"undrain takes it back", Memory{Leaving: Drained, LeavingSince: noon}, Desired{}, Observed{}, Stays},
		{"IMDS says so first", Memory{}, Desired{}, in(model.LifecycleInService, model.LifecycleTerminated), Terminating},
		{"the group says so", Memory{}, Desired{}, in(model.LifecycleTerminatingWait, ""), Terminating},
		{"before a restarted agent has asked anybody", ending, Desired{}, Observed{}, Terminating},
		{"a drain changes nothing then", Memory{DrainSince: noon, Leaving: Terminating, LeavingSince: noon}, Desired{}, Observed{}, Terminating},
		{"the machine's shutdown", Memory{}, Desired{ShutDown: true}, Observed{}, ShuttingDown},
		{"which an agent that starts again has not heard of", Memory{Leaving: ShuttingDown, LeavingSince: noon}, Desired{}, Observed{}, Stays},
		{"standby is no end", Memory{}, Desired{}, in(model.LifecycleStandby, model.LifecycleStandby), Stays},
	} {
		later := noon.Add(time.Minute)
		got := c.m.Seen(c.d, c.o, later)
		if got.Leaving != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got.Leaving, c.want)
		}
		if again := got.Seen(c.d, c.o, later.Add(time.Minute)); again.LeavingSince != got.LeavingSince {
			t.Errorf("%s: since %s, and a moment later since %s", c.name, got.LeavingSince, again.LeavingSince)
		}
	}
}

func TestADrainOutlivesTheBootAndATerminationDoesNot(t *testing.T) {
	t.Parallel()
	m := Memory{InstanceID: "i-1", BootID: "a", DrainSince: noon, Leaving: Terminating, LeavingSince: noon, Departed: true}
	again := m.On(model.Identity{InstanceID: "i-1", BootID: "a"}, "")
	if again.Leaving != Terminating || again.DrainSince != noon || !again.Departed {
		t.Errorf("a restart of the agent left %+v", again)
	}
	next := m.On(model.Identity{InstanceID: "i-1", BootID: "b"}, "")
	if next.Leaving != Stays || next.DrainSince != noon || next.Departed {
		t.Errorf("another boot left %+v", next)
	}
	if renamed := m.On(model.Identity{InstanceID: "i-1", BootID: "a"}, "/another"); renamed.DrainSince != noon || renamed.Leaving != Stays {
		t.Errorf("another release parameter left %+v", renamed)
	}
	if other := m.On(model.Identity{InstanceID: "i-2", BootID: "a"}, ""); !other.DrainSince.IsZero() {
		t.Errorf("another instance is drained: %+v", other)
	}
}

func TestWhatWasDrainedServesNoMore(t *testing.T) {
	t.Parallel()
	_, _, m := scenery(settled(leaves(Drained, 0))...)
	m = m.After(Stop{one, UnitName("shop", 1, web), 8080}, Outcome{}, noon)
	if m.Serving || m.Port != 0 || m.InService != one {
		t.Errorf("got %+v", m)
	}
}

// A stop that was called off has been sent all the same: what is ending must not be registered anew, on no account.
func TestAProcessThatWasToldToStopDoesNotComeBackIntoService(t *testing.T) {
	t.Parallel()
	stop := Stop{one, UnitName("shop", 1, web), 8080}
	for _, c := range []struct {
		name  string
		scene []is
	}{
		{"drained", settled(target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon, Drained: true}))},
		{"without a balancer", settled(unbalanced(), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon, Drained: true}))},
		{"before it ever had traffic", []is{newest(one), prepared(one), runs(one, 8080), passed(one, 8080)}},
	} {
		o, d, m := scenery(append(c.scene, leaves(Drained, 0))...)
		worded := func(m Memory) string { return fmt.Sprint(Plan(o, d, m, noon)) }
		if got := worded(m); got != fmt.Sprint([]Step{stop}) {
			t.Fatalf("%s: it leaves by %s", c.name, got)
		}
		m = m.Before(stop)
		if got := worded(m); got != fmt.Sprint([]Step{stop}) {
			t.Errorf("%s: while it is stopped the plan is %s", c.name, got)
		}
		m.Leaving = Stays
		if got := worded(m); got != fmt.Sprint([]Step{stop}) {
			t.Errorf("%s: after undrain the plan is %s", c.name, got)
		}
		m = m.After(stop, Outcome{}, noon)
		if _, used := m.Ports[8080]; used {
			t.Errorf("%s: once it is stopped its port is remembered as %+v", c.name, m.Ports[8080])
		}
	}
}

// Where no target says so, only the memory knows that a process which was on its way out serves again.
func TestWithoutABalancerWhatIsBackIsDrainedInFullTheNextTime(t *testing.T) {
	t.Parallel()
	o, d, m := scenery(settled(unbalanced(), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon, Drained: true}))...)
	back := Promote{one, 8080}
	if got := Plan(o, d, m, noon); len(got) != 1 || got[0] != back {
		t.Fatalf("the plan is %v", got)
	}
	m = m.Before(back).After(back, Outcome{}, noon)
	if got := Plan(o, d, m, noon); len(got) > 0 {
		t.Errorf("then the plan is %v", got)
	}
	m.Leaving = Drained
	if got := Plan(o, d, m, noon); len(got) != 1 || got[0].Phase() != "deregister" {
		t.Errorf("and the next time it leaves by %v", got)
	}
}
