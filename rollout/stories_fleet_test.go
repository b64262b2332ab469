package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

func TestASlotHolderThatLeavesTheGroupIsLostAndNoFailure(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.put(release(2))
	f.until("the canary's slot", func() bool { return len(f.slots()) == 1 })
	for _, n := range f.agents {
		if n.id == f.slots()[0] {
			n.dead = true
		}
	}
	f.seconds(100) // silent, it counts as disrupted, and nobody else is granted a slot
	if len(f.slots()) != 1 || f.rollout().Failures != 0 {
		t.Fatalf("slots %v, failures %d", f.slots(), f.rollout().Failures)
	}
	for _, n := range f.agents {
		n.gone = n.dead
	}
	f.until("success", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{2: 3})
}

func TestASlotHolderThatStaysSilentFailsTheRolloutAtTheDeadlineAndMarksNoRevision(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.put(release(2))
	f.until("the canary's slot", func() bool { return len(f.slots()) == 1 })
	var silent *node
	for _, n := range f.agents {
		if n.id == f.slots()[0] {
			silent = n
		}
	}
	silent.dead = true
	f.until("the way back", f.ended(rollout.RollingBack))
	f.until("its deadline", f.ended(rollout.FailedState))
	if cause := f.rollout().State.Cause; !strings.Contains(cause, silent.id) || f.records[rollout.FailedKey(release(2).Revision)].Attributes != nil {
		t.Errorf("it failed because %q", cause)
	}
}

func TestAnOperatorPausesResumesAndPromotes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.policy.Promote = rollout.Manual
	f.put(release(2))
	f.until("the canary's bake", f.ended(rollout.Baking))
	f.operate(rollout.PauseRollout(f.rollout(), "ann", "lunch"))
	f.seconds(120)
	if got := f.rollout(); got.State.Status != rollout.Paused || got.Lead.By != "" {
		t.Fatalf("it is %+v, led by %q", got.State, got.Lead.By)
	}
	if _, err := rollout.PromoteRollout(f.rollout(), "ann"); err == nil || !strings.Contains(err.Error(), "resume") {
		t.Errorf("a rollout that has reached one instance was promoted: %v", err)
	}
	f.operate(rollout.ResumeRollout(f.rollout(), "ann"))
	f.until("the wait for an operator", func() bool { return f.rollout().State.Baked })
	f.wants(f.serve(), map[int64]int{2: 3})
	if f.stable().Number != 1 {
		t.Error("stable moved by itself")
	}
	f.operate(rollout.PromoteRollout(f.rollout(), "ann"))
	f.until("success", f.ended(rollout.Succeeded))
}

func TestAFleetOfZeroDoesNotBlockTheNextDeploy(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.put(release(2))
	f.until("the canary's slot", func() bool { return len(f.slots()) == 1 })
	empty := rollout.Group{Known: true}
	if _, err := rollout.EndOrphan(f.rollout(), empty, 10*time.Second, "ann"); err == nil {
		t.Error("a rollout whose leader was seen a moment ago was ended")
	}
	if _, err := rollout.EndOrphan(f.rollout(), f.group(f.agents[0]), time.Hour, "ann"); err == nil {
		t.Error("a rollout with members was ended")
	}
	f.agents[0].gone = true
	f.operate(rollout.EndOrphan(f.rollout(), empty, rollout.Lease, "ann"))
	if f.rollout().State.Status != rollout.Aborted {
		t.Errorf("it is %+v", f.rollout().State)
	}
}

func TestAFixGoesToAFleetWhoseStableCannotBootAnyMore(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	f.records["stable"] = rollout.Record{Key: "stable", Attributes: map[string]string{"schema": "1", "epoch": "0", "number": "1", "revision": `"` + stableOne.Revision + `"`}}
	for range 3 {
		f.launch().breaks = func(r rollout.Release) bool { return r.Number == 1 }
	}
	f.put(release(2))
	f.until("success", f.ended(rollout.Succeeded))
	f.until("everybody on it", func() bool { return f.allServe(2) })
}

// It came up on stable, which broke before its group took the instance into service: it is no member yet, and there is no other.
func TestAFixGoesToAnInstanceWhoseStableBrokeWhileItLaunched(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	n := f.agents[0]
	n.inService, n.sick = false, true
	f.put(release(2))
	f.until("success", f.ended(rollout.Succeeded))
	f.until("everybody on it", func() bool { return f.allServe(2) })
}

// A leader that slept between its decision and its write has not seen the release bake meanwhile.
func TestABakeBeginsWhenItIsWritten(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.put(release(2))
	f.until("the last write before the bake", func() bool { return f.allServe(2) })
	n, late := f.agents[0], []rollout.Write(nil)
	for late == nil && f.now < 2*time.Hour {
		f.now += time.Second
		d, memory := rollout.Step(f.view(n), n.memory, f.now+n.offset)
		if n.memory = memory; len(d.Writes) > 0 && strings.Contains(d.Writes[0].Why, "bake") {
			late = d.Writes
			continue
		}
		f.write(n.id, d.Writes)
		n.group = f.group(n)
	}
	f.now += 25 * time.Second // the bake takes 20
	f.write(n.id, late)
	began := f.now
	f.until("success", f.ended(rollout.Succeeded))
	if baked := f.now - began; baked < 20*time.Second {
		t.Errorf("it baked for %s, want 20s", baked)
	}
}

// The way back does not depend on the release task any more, so who ran it is not waited for, nor asked to begin.
func TestAnAbortWhileTheReleaseTaskRunsIsCarriedOutWhoeverDies(t *testing.T) {
	t.Parallel()
	for _, befalls := range []string{"nothing", "its agent dies", "its app fails"} {
		f := newFleet(t, 3)
		for _, n := range f.agents {
			n.task, n.taskTakes = rollout.Candidate{Task: true}, 10*time.Hour
		}
		f.put(release(2))
		f.until("the claim", func() bool { return f.rollout().Task.State == rollout.TaskRunning })
		f.operate(rollout.AbortRollout(f.rollout(), must(rollout.DecodeStable(f.records["stable"])), "ann", ""))
		for _, n := range f.agents {
			n.dead = befalls == "its agent dies" && n.id == f.rollout().Task.By
			n.sick = befalls == "its app fails" && n.id == f.rollout().Task.By
		}
		f.until("the end", func() bool { return !f.rollout().State.Live() || f.rollout().State.Status == rollout.Paused })
		want := rollout.Aborted
		if befalls != "nothing" {
			want = rollout.FailedState // its slot is open still
		}
		if got := f.rollout().State; got.Status != want {
			t.Errorf("%s: it is %+v, want %s", befalls, got, want)
		}
		for _, n := range f.agents {
			if n.last.RunTask {
				t.Errorf("%s is asked to run the task of a release that was aborted", n.id)
			}
		}
	}
}
