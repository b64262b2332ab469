package agent

import (
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
