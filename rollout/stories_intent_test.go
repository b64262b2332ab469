package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

func TestAReplacedFleetOfOneWaitsToBeToldAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0) // its store was seeded from the label
	f.records["stable"] = rollout.Record{Key: "stable", Attributes: map[string]string{"schema": "1", "epoch": "0", "number": "1", "revision": `"` + stableOne.Revision + `"`}}
	n := f.launch()
	f.put(release(2))
	f.published.Seeded = true
	f.until("the record", func() bool { return f.rollout().Release.Number == 2 })
	f.seconds(120)
	if got := f.rollout(); got.State.Status != rollout.Paused || got.Task.State != rollout.TaskUnknown || n.serving.Number != 1 {
		t.Fatalf("it is %+v, task %+v, and serves %s", got.State, got.Task, n.serving)
	}
	f.operate(rollout.ResumeRollout(f.rollout(), "ann"))
	f.until("success", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{2: 1})
}

func TestTheTableIsOutOfReachAtBoot(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	f.down = true
	n := f.launch()
	f.put(release(2))
	f.seconds(5)
	if !n.last.Goal.IsZero() || !strings.Contains(n.last.Tell, "can't be reached") {
		t.Errorf("it boots %s (%q) although nobody says what is stable", n.last.Goal, n.last.Tell)
	}
	f.published.Mirror = rollout.Release{ID: release(1).ID, Ref: "main"}
	if f.step(n); !n.last.Goal.IsZero() {
		t.Errorf("it boots %s, a ref that nobody has resolved", n.last.Goal)
	}
	f.published.Mirror = release(1)
	f.seconds(5)
	if n.serving.ID != release(1).ID || len(n.last.Writes) > 0 {
		t.Errorf("it serves %s, want what the mirror says", n.serving)
	}
}

func TestACLIDiesBetweenLockAndPut(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	lock := func() rollout.Record { return f.records[rollout.LockKey] }
	f.operate(rollout.TakeLock(lock(), "first", "ann", 0), nil)
	if other := rollout.TakeLock(lock(), "second", "bob", 29*time.Second); other != nil {
		t.Fatal("a lock that was seen for less than 30 s was taken over")
	}
	f.operate(rollout.TakeLock(lock(), "second", "bob", rollout.Lease), nil)
	f.put(release(2))
	f.published.Intent.Lock = "second"
	f.until("success", f.ended(rollout.Succeeded))
	if lock().Attributes != nil {
		t.Error("the lock was not consumed")
	}
	// The first wakes, and writes.
	f.put(release(3))
	f.published.Intent.Lock = "first"
	f.until("the refusal", func() bool { return f.outcome(3).What == rollout.OutcomeRefused })
	if !strings.Contains(f.outcome(3).Cause, "lost the lock") || f.rollout().Release.Number != 2 {
		t.Errorf("it was %+v, the record is of %s", f.outcome(3), f.rollout().Release)
	}
}

func TestADeployThatWasPutTwiceIsOne(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.operate(rollout.TakeLock(rollout.Record{}, "n", "ann", 0), nil)
	f.put(release(2))
	f.published.Intent.Lock = "n"
	f.until("the canary", func() bool { return len(f.slots()) == 1 })
	f.put(release(3))
	f.published.Intent.Lock = "n"
	f.until("the refusal", func() bool { return f.outcome(3).What == rollout.OutcomeRefused })
	f.until("success", f.ended(rollout.Succeeded))
	f.wants(f.serve(), map[int64]int{2: 2})
}

func TestTwoHandWritesAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	// One agent reads the first, late, while another has read and opened the second.
	f.put(release(2))
	var d rollout.Decision
	for memory := f.agents[0].memory; len(d.Writes) == 0 && f.now < 2*time.Hour; f.now += time.Second {
		d, memory = rollout.Step(f.view(f.agents[0]), memory, f.now)
		f.agents[0].read = d.Read
	}
	if len(d.Writes) != 1 || !strings.HasPrefix(d.Writes[0].Why, "open release 2") {
		t.Fatalf("got %+v", d)
	}
	f.agents[0].dead = true
	f.put(release(3))
	f.until("the record of the second", func() bool { return f.rollout().Release.Number == 3 })
	f.write("i-0", d.Writes)
	if f.rollout().Release.Number != 3 {
		t.Fatal("the first write opened over the second")
	}
	f.agents[0].dead = false
	f.until("success", f.ended(rollout.Succeeded))
	if f.outcome(2).What != "" {
		t.Errorf("the version that was skipped is %+v", f.outcome(2))
	}
}

func TestARefWrittenByHandIsResolvedOnceByWhoeverHasTheClaim(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.agents[0].resolves, f.agents[1].resolves, f.agents[2].resolves = strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)
	f.put(rollout.Release{ID: rollout.ID{Number: 2}, Ref: "main"})
	f.agents[0].resolves = "" // the one that has the claim can't reach the repository, and dies
	f.until("the claim", func() bool { return f.records[rollout.ResolveKey(rollout.ID{Number: 2})].Attributes != nil })
	f.seconds(5)
	f.agents[0].dead = true
	f.until("the record", func() bool { return f.rollout().Release.Number == 2 })
	revision := f.rollout().Release.Revision
	f.agents[0].dead = false
	f.until("success", f.ended(rollout.Succeeded))
	for _, n := range f.agents {
		if n.serving.Revision != revision {
			t.Errorf("%s serves %s, and the record says %s", n.id, n.serving.Revision, revision)
		}
	}
}

func TestARollbackDuringARolloutIsAnAbort(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.put(release(2))
	f.until("batches", func() bool { return f.rollout().State.Phase == rollout.BatchPhase })
	abort := func() ([]rollout.Change, error) {
		return rollout.AbortRollout(f.rollout(), must(rollout.DecodeStable(f.records["stable"])), "ann", "")
	}
	f.operate(abort())
	if again := must(abort()); again != nil {
		t.Error("a second abort does something")
	}
	f.until("the end", f.ended(rollout.Aborted))
	f.wants(f.serve(), map[int64]int{1: 4})
	if again := must(abort()); again != nil || f.records[rollout.FailedKey(release(2).Revision)].Attributes != nil {
		t.Error("an abort marks a revision as bad, or does something after the end")
	}
}

func TestARollbackRunsNoTaskAndIsNotRolledBackByItself(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	for _, n := range f.agents {
		n.task = rollout.Candidate{Task: true}
	}
	f.put(release(2))
	f.published.Intent.RollbackOf = 1
	f.until("the canary's bake", f.ended(rollout.Baking))
	f.agents[0].sick, f.agents[1].sick = true, true
	f.until("the pause", f.ended(rollout.Paused))
	if f.agents[0].runs+f.agents[1].runs > 0 {
		t.Error("a rollback ran the release task")
	}
}

func TestAnOlderAgentBesideANewerRecordServesOnAndSaysSo(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.records[rollout.RolloutKey] = rollout.Record{Key: rollout.RolloutKey, Attributes: map[string]string{"schema": "2", "shape": `"another"`}}
	f.put(release(2))
	booting := f.launch()
	f.seconds(100)
	for _, n := range f.agents {
		if len(n.last.Writes) > 0 || n.serving.Number != 1 || !strings.Contains(n.last.Tell, "upgrade") {
			t.Errorf("%s serves %s and says %q", n.id, n.serving, n.last.Tell)
		}
	}
	if booting.serving.ID != stableOne.ID {
		t.Error("an instance that boots does not take stable, whose shape never changes")
	}
}

func TestAValueWrittenByHandWaitsForTheThawAndARollbackDoesNot(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	freeze := func() rollout.Record { return f.records[rollout.FreezeKey] }
	f.operate(rollout.FreezeDeploys(freeze(), "ann", "holidays"), nil)
	f.put(release(2))
	f.seconds(60)
	if f.rollout().Release.Number == 2 || !strings.Contains(f.agents[0].last.Tell, "unfreeze") {
		t.Fatalf("it did not wait: %q", f.agents[0].last.Tell)
	}
	f.published.Intent.RollbackOf = 1
	f.until("the rollback", f.ended(rollout.Succeeded))
	f.put(release(3))
	f.seconds(30)
	f.operate(rollout.UnfreezeDeploys(freeze()), nil)
	if rollout.UnfreezeDeploys(freeze()) != nil {
		t.Error("a second unfreeze does something")
	}
	f.until("what waited", func() bool { return f.rollout().Release.Number == 3 })
}

func TestAParameterThatWasMadeAnewIsRefusedUntilANewEpoch(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.put(release(5))
	f.until("success", f.ended(rollout.Succeeded))
	other := release(9)
	other.Number = 1
	f.put(other)
	f.published.Anew = true
	f.seconds(60)
	if f.rollout().Release.Number != 5 || !strings.Contains(f.agents[0].last.Tell, "--new-epoch") {
		t.Fatalf("told %q", f.agents[0].last.Tell)
	}
	f.operate(rollout.TakeLock(rollout.Record{}, "n", "ann", 0), nil)
	other.Number = 2
	f.put(other)
	f.published.Anew, f.published.Intent.Epoch, f.published.Intent.Lock = false, 1, "n"
	f.until("the new epoch's success", func() bool { return f.stable().Epoch == 1 })
	if f.stable().ID != (rollout.ID{Epoch: 1, Number: 2}) {
		t.Errorf("stable is %s", f.stable())
	}
}

// Records are read one after the other. An agent that reads the rollout, and then what became of the newest version, may find it
// opened in between: that is no refusal, and nothing to rest on, or the agent would never see the slot that it is given.
func TestAReleaseThatIsOpenedWhileTheRecordsAreReadIsNotTakenForRefused(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.put(release(2))
	f.until("an end", f.ended(rollout.Succeeded))
	f.seconds(30)
	slow := f.agents[2]
	slow.dead = true
	f.put(release(3))
	d, memory := rollout.Step(f.view(slow), slow.memory, f.now+slow.offset) // it asks for the records of release 3
	slow.memory, slow.read = memory, d.Read
	torn := f.view(slow)
	f.until("an opening", func() bool { return f.rollout().Release.Number == 3 })
	for _, key := range slow.read {
		record := f.records[key]
		record.Key = key
		torn.Records[key] = record
	}
	if d, memory = rollout.Step(torn, slow.memory, f.now+slow.offset); d.Idle || d.Tell != "" {
		t.Errorf("it rests, and tells %q", d.Tell)
	}
	slow.memory, slow.read, slow.dead = memory, nil, false
	f.until("the end of release 3", f.ended(rollout.Succeeded))
	if !f.allServe(3) {
		t.Errorf("served: %v", f.serve())
	}
}
