package rollout_test

import (
	"testing"

	"github.com/bootagent/bootagent/rollout"
)

// switchesInStandby is a fleet of three in the middle of a rollout whose first instance is in standby to switch.
func switchesInStandby(t *testing.T) (*fleet, *node) {
	f := newFleet(t, 3)
	f.policy.Restart = true
	f.put(release(2))
	f.until("a slot", func() bool { return len(f.slots()) == 1 })
	for _, n := range f.agents {
		if n.id == f.slots()[0] {
			n.dead = true // for as long as the story says what it does
			return f, n
		}
	}
	t.Fatal("nobody has the slot")
	return nil, nil
}

// steps lets one agent step as often as it takes to write all that it has to.
func (f *fleet) steps(n *node) {
	for range 5 {
		f.step(n)
	}
}

func TestStandbyIsWrittenDownBeforeItIsEntered(t *testing.T) {
	t.Parallel()
	f, n := switchesInStandby(t)
	n.aside = true
	f.step(n)
	if n.last.Aside {
		t.Error("it may enter standby before it was written down")
	}
	f.steps(n)
	if !n.last.Aside || !f.rollout().Parts[n.id].Aside {
		t.Errorf("it is not written down: %+v", f.rollout().Parts[n.id])
	}
	n.aside = false
	f.seconds(2)
	if f.steps(n); n.last.Aside || f.rollout().Parts[n.id].Aside {
		t.Errorf("it is back, and the mark stays: %+v", f.rollout().Parts[n.id])
	}
}

func TestWhatADeadAgentLeftInStandbyIsBroughtBackByAnother(t *testing.T) {
	t.Parallel()
	for _, ended := range []bool{false, true} {
		f, n := switchesInStandby(t)
		n.aside = true
		f.steps(n)
		n.standby = true // and its agent is never seen again
		if ended {
			f.operate(rollout.AbortRollout(f.rollout(), rollout.Stable{Release: stableOne}, "ann", ""))
		}
		f.seconds(40)
		if !n.standby {
			t.Fatalf("ended %t: it was brought back while it may only be slow", ended)
		}
		f.until("brought back", func() bool { return !n.standby })
		f.until("the mark taken", func() bool { return !f.rollout().Parts[n.id].Aside })
	}
}

func TestAnInstanceThatAPersonPutInStandbyTakesNoPart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.agents[2].standby = true
	f.put(release(2))
	f.until("the end", f.ended(rollout.Succeeded))
	if p, ok := f.rollout().Parts[f.agents[2].id]; ok && p.Open() || !f.agents[2].standby {
		t.Errorf("it was given a slot, or brought back: %+v", p)
	}
}
