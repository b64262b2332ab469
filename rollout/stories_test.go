package rollout_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

func TestAReleaseGoesToACanaryThenInBatchesThenBakesAndIsStable(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 8) // a batch of 25% is two
	f.put(release(2))
	f.until("the canary", func() bool { return len(f.slots()) == 1 })
	f.until("the canary's bake", f.ended(rollout.Baking))
	f.wants(f.serve(), map[int64]int{1: 7, 2: 1})
	began, most := f.now, 0
	f.until("batches", f.ended(rollout.Running))
	if baked := f.now - began; baked < 20*time.Second {
		t.Errorf("the canary baked for %s, want 20s", baked)
	}
	f.until("success", func() bool { most = max(most, len(f.slots())); return f.ended(rollout.Succeeded)() })
	if most != 2 || !f.allServe(2) || f.stable().ID != release(2).ID || f.outcome(2).What != "succeeded" {
		t.Errorf("at most %d slots, stable %s, served %v, outcome %+v", most, f.stable(), f.serve(), f.outcome(2))
	}
	f.seconds(60)
	for _, n := range f.agents {
		if !n.last.Idle || n.last.Mirror.Number != 2 {
			t.Errorf("%s is not at rest: %+v", n.id, n.last)
		}
	}
	if got := f.records["stable"].Attributes["previous"]; !strings.Contains(got, `"number":1`) {
		t.Errorf("previous is %s", got)
	}
}

func TestTheFirstReleaseEver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	for range 3 {
		f.launch()
	}
	f.seconds(30)
	if f.records[rollout.RolloutKey].Attributes != nil || !f.agents[0].last.Goal.IsZero() {
		t.Fatal("something was begun although nobody asked for a release")
	}
	f.agents[2].breaks = func(rollout.Release) bool { return f.now < time.Hour+2*time.Minute } // it is slow
	f.put(release(1))
	f.until("the bake", f.ended(rollout.Baking))
	if len(f.slots()) > 0 || !f.rollout().Origin.First {
		t.Errorf("slots %v at the first release", f.slots())
	}
	f.agents[2].dead = true
	f.seconds(60) // the group wants three, and two are healthy: nothing bakes
	if f.rollout().State.Status != rollout.Baking {
		t.Fatalf("it is %+v before the group's desired number is healthy", f.rollout().State)
	}
	f.agents[2].dead, f.agents[2].breaks = false, nil
	f.until("success", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{1: 3})
}

func TestTheFirstReleaseEverThatFailsEndsAndMarksNoRevision(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	f.launch().breaks = func(r rollout.Release) bool { return r.Number == 1 }
	f.put(release(1))
	f.until("the end", f.ended(rollout.FailedState))
	if f.records[rollout.FailedKey(release(1).Revision)].Attributes != nil {
		t.Error("the very first release marked its revision as bad")
	}
	late := f.launch()
	f.seconds(10)
	if !late.last.Goal.IsZero() {
		t.Errorf("an instance that boots then takes %s", late.last.Goal)
	}
	f.put(release(2))
	f.until("the next one's success", f.ended(rollout.Succeeded))
}

func TestALeaderDiesWhileGranting(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.put(release(2))
	f.until("the canary's slot", func() bool { return len(f.slots()) == 1 })
	leader, term, died := f.leader(), f.rollout().Lead.Term, f.now
	leader.dead = true
	f.until("another leader", func() bool { return f.leader() != nil && f.leader() != leader })
	if took := f.now - died; took < rollout.Lease || f.rollout().Lead.Term != term+1 {
		t.Errorf("the lease was taken after %s, term %d; a lease is %s", took, f.rollout().Lead.Term, rollout.Lease)
	}
	leader.dead = false
	f.until("success", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{2: 4})
}

func TestAValueWrittenByHandInMidRolloutSupersedesIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.put(release(2))
	f.until("the canary's slot", func() bool { return len(f.slots()) == 1 })
	holder := f.slots()[0]
	f.put(release(3))
	f.until("the next record", func() bool { return f.rollout().Release.Number == 3 })
	if got := f.slots(); len(got) != 1 || got[0] != holder {
		t.Errorf("slots %v, want the one that was out, of %s", got, holder)
	}
	if got := f.outcome(2); got.What != rollout.OutcomeSuperseded {
		t.Errorf("release 2 is %+v", got)
	}
	f.until("success", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{3: 4})
}

func TestStableMovesWhileAnInstanceBoots(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.put(release(2))
	f.until("the last bake", func() bool { return f.rollout().State.Phase == rollout.FinalPhase })
	late := f.launch()
	f.step(late)
	if late.last.Goal.ID != release(1).ID {
		t.Fatalf("an instance that launches during a rollout boots %s, want stable", late.last.Goal)
	}
	late.serving = rollout.Release{} // it boots slowly
	late.dead = true
	f.until("success", f.ended(rollout.Succeeded))
	if f.step(late); late.last.Goal.ID != release(2).ID {
		t.Errorf("it looks again before it registers, and takes %s", late.last.Goal)
	}
}

func TestASucceededRolloutKeepsGranting(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.agents[2].inService = false // it boots, and sleeps through all of it
	f.agents[2].dead = true
	f.put(release(2))
	f.until("success", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{1: 1, 2: 2})
	f.agents[2].inService, f.agents[2].dead = true, false
	f.until("everybody on it", func() bool { return f.allServe(2) })
	f.seconds(30)
	if lead := f.rollout().Lead.By; lead != "" || !f.agents[2].last.Idle {
		t.Errorf("%q leads still", lead)
	}
}

func TestAReleaseThatFailsIsRolledBackAndNotTriedAgainWithoutForce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.put(release(2))
	f.until("batches", func() bool { return f.rollout().State.Phase == rollout.BatchPhase })
	for _, n := range f.agents {
		n.breaks = func(r rollout.Release) bool { return r.Number == 2 }
	}
	f.until("the way back", f.ended(rollout.RollingBack))
	f.until("the end", f.ended(rollout.RolledBack))
	f.wants(f.serve(), map[int64]int{1: 4})
	if f.stable().ID != release(1).ID || f.outcome(2).What != "rolled_back" || !strings.Contains(f.outcome(2).Cause, "GET /up: 500") {
		t.Errorf("stable %s, outcome %+v", f.stable(), f.outcome(2))
	}
	again := release(3)
	again.Revision = release(2).Revision
	f.put(again)
	f.until("the refusal", func() bool { return f.outcome(3).What == rollout.OutcomeRefused })
	if !strings.Contains(f.outcome(3).Cause, "--force") {
		t.Errorf("it was refused with %q", f.outcome(3).Cause)
	}
	f.seconds(3)
	if !f.agents[0].last.Idle {
		t.Error("an agent that knows that goes on reading the table")
	}
	for _, n := range f.agents {
		n.breaks = nil
	}
	again.Number = 4
	f.put(again)
	f.published.Intent.Force = true
	f.until("success by force", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{4: 4})
}

func TestAReleaseWhoseHealthTurnsBadDuringTheBakeIsRolledBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.put(release(2))
	f.until("the last bake", func() bool { return f.rollout().State.Phase == rollout.FinalPhase })
	f.agents[1].sick = true
	f.until("the way back", f.ended(rollout.RollingBack))
	f.agents[1].sick = false
	f.until("the end", f.ended(rollout.RolledBack))
	f.wants(f.serve(), map[int64]int{1: 2})
}

func TestWhatAFailureDoesIsThePolicys(t *testing.T) {
	t.Parallel()
	for policy, want := range map[rollout.OnFailure]rollout.Status{rollout.RollBack: rollout.RolledBack, rollout.Stop: rollout.FailedState, rollout.Pause: rollout.Paused} {
		f := newFleet(t, 3)
		f.policy.OnFailure = policy
		f.put(release(2))
		f.until("the canary's bake", f.ended(rollout.Baking))
		f.agents[1].breaks = func(r rollout.Release) bool { return r.Number == 2 }
		f.until("what "+string(policy)+" does", f.ended(want))
		f.seconds(60)
		if served := f.serve()[2]; policy != rollout.RollBack && served != 1 || policy == rollout.RollBack && served != 0 {
			t.Errorf("%s: %d instances serve the candidate", policy, served)
		}
	}
}

func TestAFailureAfterAnIrreversibleTaskPauses(t *testing.T) {
	t.Parallel()
	for _, reversible := range []bool{false, true} {
		t.Run(fmt.Sprintf("reversible=%t", reversible), func(t *testing.T) {
			f := newFleet(t, 3)
			for _, n := range f.agents {
				n.task = rollout.Candidate{Task: true, Reversible: reversible}
			}
			f.put(release(2))
			f.until("the canary's bake", f.ended(rollout.Baking))
			for _, n := range f.agents {
				n.breaks = func(r rollout.Release) bool { return r.Number == 2 }
			}
			if reversible {
				f.until("the end", f.ended(rollout.RolledBack))
				f.wants(f.serve(), map[int64]int{1: 3})
			} else {
				f.until("the pause", f.ended(rollout.Paused))
				if cause := f.rollout().State.Cause; !strings.Contains(cause, "release task") {
					t.Errorf("it is paused because %q", cause)
				}
				f.operate(rollout.AbortRollout(f.rollout(), must(rollout.DecodeStable(f.records["stable"])), "ann", ""))
				f.until("the end", f.ended(rollout.Aborted))
			}
			runs := 0
			for _, n := range f.agents {
				runs += n.runs
			}
			if runs != 1 {
				t.Errorf("the release task ran %d times", runs)
			}
		})
	}
}

func TestAReleaseTaskWhoseRunnerDiesIsUnknownAndNeverRunAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	for _, n := range f.agents {
		n.task = rollout.Candidate{Task: true}
	}
	f.put(release(2))
	f.until("the claim", func() bool { return f.rollout().Task.State == rollout.TaskRunning })
	for _, n := range f.agents {
		if n.id == f.rollout().Task.By {
			n.dead = true
		}
	}
	f.until("the pause", f.ended(rollout.Paused))
	if got := f.rollout().Task.State; got != rollout.TaskUnknown {
		t.Errorf("the task is %s", got)
	}
	for _, n := range f.agents {
		n.dead, n.memory = false, rollout.Memory{} // its agent starts again, and remembers nothing
	}
	f.operate(rollout.ResumeRollout(f.rollout(), "ann"))
	f.until("success", f.ended(rollout.Succeeded))
	for _, n := range f.agents {
		if n.runs > 0 {
			t.Errorf("%s ran the task", n.id)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAReleaseTaskThatFailsFailsTheRolloutWhateverTheBudget(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.policy.MaxFailures = 3
	for _, n := range f.agents {
		n.task, n.taskErr = rollout.Candidate{Task: true, Reversible: true}, errors.New("exit status 1")
	}
	f.put(release(2))
	f.until("the end", f.ended(rollout.RolledBack))
	f.wants(f.serve(), map[int64]int{1: 3})
	if cause := f.outcome(2).Cause; !strings.Contains(cause, "exit status 1") {
		t.Errorf("it failed because %q", cause)
	}
}

func TestAReleaseTaskThatTakesLongIsNoLackOfProgress(t *testing.T) {
	f := newFleet(t, 3)
	f.policy.ProgressDeadline = rollout.Duration(time.Minute)
	for _, n := range f.agents {
		n.task, n.taskTakes = rollout.Candidate{Task: true}, 10*time.Minute
	}
	f.put(release(2))
	f.until("the end", f.ended(rollout.Succeeded))
	runs := 0
	for _, n := range f.agents {
		runs += n.runs
	}
	if runs != 1 || !f.allServe(2) {
		t.Errorf("the task ran %d times, and served are %v", runs, f.serve())
	}
}
