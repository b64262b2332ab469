package rollout_test

import (
	"strings"
	"testing"
	"time"

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

// A rollout may be paused for days: what was left in standby does not wait for that.
func TestAPausedRolloutLeavesNobodyInStandby(t *testing.T) {
	t.Parallel()
	f, n := switchesInStandby(t)
	n.aside = true
	f.steps(n)
	n.standby = true
	f.operate(rollout.PauseRollout(f.rollout(), "ann", ""))
	f.until("brought back", func() bool { return !n.standby })
	f.until("the mark taken", func() bool { return !f.rollout().Parts[n.id].Aside })
	f.seconds(60)
	if by := f.rollout().Lead.By; by != "" || f.rollout().State.Status != rollout.Paused {
		t.Errorf("it is %s, and %q leads", f.rollout().State.Status, by)
	}
}

func TestASlotIsOfNoUseToAnInstanceThatAPersonPutInStandby(t *testing.T) {
	t.Parallel()
	f, n := switchesInStandby(t)
	n.standby, n.dead = true, false
	f.until("the slot is taken back", func() bool { return !f.rollout().Parts[n.id].Open() })
	f.until("the end", f.ended(rollout.Succeeded))
	if !n.standby {
		t.Error("it was brought back")
	}
	n.standby = false
	f.until("it takes the release, once it is back", func() bool { return n.serving == release(2) })
}

func TestARollbackWaitsForNobodyThatAPersonPutInStandby(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.put(release(2))
	f.until("one on the candidate", func() bool { return len(f.slots()) == 0 && f.rollout().Parts["i-0"].State == rollout.Done })
	f.agents[0].standby = true
	f.seconds(2) // the leader sees it
	f.operate(rollout.AbortRollout(f.rollout(), rollout.Stable{Release: stableOne}, "ann", ""))
	f.until("the end", f.ended(rollout.Aborted))
	if f.agents[0].serving != release(2) {
		t.Error("it was switched in standby")
	}
	f.agents[0].standby = false
	f.until("it returns, once it is back", func() bool { return f.agents[0].serving.ID == stableOne.ID })
}

func TestARolloutSaysWhyAnInstanceCanNotEnterStandby(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.policy.Restart = true
	f.policy.ProgressDeadline = rollout.Duration(2 * time.Minute)
	for _, n := range f.agents {
		n.hindered = "group shop wants 2 in service, and its MinSize is 2"
	}
	f.put(release(2))
	f.until("the end", f.ended(rollout.RolledBack))
	if cause := f.rollout().State.Cause; !strings.Contains(cause, "i-0 (group shop wants 2") {
		t.Errorf("it says %q", cause)
	}
	if f.records[rollout.FailedKey(release(2).Revision)].Attributes != nil {
		t.Error("the revision is blamed for it")
	}
	if why := f.rollout().Parts["i-0"].Why; why != "" {
		t.Errorf("its part, whose slot is given back, still says %q", why)
	}
}

// Who opens a record takes the marks of the old one over, also one that is written in the same moment.
func TestANewRecordLosesNoMarkOfStandby(t *testing.T) {
	t.Parallel()
	f, n := switchesInStandby(t)
	f.steps(n) // its slot is renewed
	f.now += time.Second
	f.put(release(3))
	other := f.agents[0]
	if other == n {
		other = f.agents[1]
	}
	var opening []rollout.Write
	for range 3 { // it asks for the records that it needs, then opens
		d, memory := rollout.Step(f.view(other), other.memory, f.now+other.offset)
		other.memory, other.read = memory, d.Read
		opening = d.Writes
	}
	n.aside = true
	f.step(n)
	f.write(other.id, opening)
	f.until("the new record", func() bool { return f.rollout().Release == release(3) })
	if !f.rollout().Parts[n.id].Aside {
		t.Errorf("the mark is lost: %+v", f.rollout().Parts[n.id])
	}
}

// The write that takes the mark out may be on its way while the next switch begins: the mark is then no word to enter standby on.
func TestAMarkThatIsBeingTakenOutIsNoneToEnterStandbyOn(t *testing.T) {
	t.Parallel()
	f, n := switchesInStandby(t)
	n.aside = true
	if f.steps(n); !n.last.Aside {
		t.Fatal("it may not enter standby")
	}
	written := f.records[rollout.RolloutKey]
	n.aside = false
	if f.step(n); n.last.Aside {
		t.Error("it takes the mark out, and may enter standby on it")
	}
	f.records[rollout.RolloutKey] = written // that write is late
	n.aside = true
	if f.step(n); n.last.Aside {
		t.Error("it may enter standby on a mark that a late write takes out")
	}
	if f.steps(n); !n.last.Aside || f.rollout().Parts[n.id].Counter == 0 {
		t.Error("it does not write the mark anew")
	}
}
