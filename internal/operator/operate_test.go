package operator_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/operator"
	"github.com/bootagent/bootagent/rollout"
)

func TestRollbackIsANewReleaseOfTheOneBefore(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.good("v2")
	f.freeze() // which does not hold a rollback back
	got, err := f.operator().Rollback(t.Context(), operator.Back{})
	if err != nil || got.Outcome != "succeeded" || got.Release.Number != 3 || f.stable().Revision != sha(1) || !f.allServe(3) {
		t.Fatalf("%+v, %v, stable is %s\n%s", got, err, f.stable(), f.said())
	}
	intent, err := rollout.ParseIntent(f.versions[2].Value)
	if err != nil || intent.RollbackOf != 2 || intent.Revision != sha(1) || intent.Ref != "v1" || intent.Message != "back to release 1" {
		t.Errorf("put was %s (%v)", f.versions[2].Value, err)
	}
	if f.rollout().Task.State != rollout.NoTask {
		t.Errorf("a rollback has no release task: %+v", f.rollout().Task)
	}
}

func TestRollbackToANumber(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.good("v2")
	f.good("v3")
	f.good("v4")
	if got, err := f.operator().Rollback(t.Context(), operator.Back{Number: 2}); err != nil || f.stable().Revision != sha(2) {
		t.Fatalf("%+v, %v, stable is %s", got, err, f.stable())
	}
	versions := len(f.versions)
	if got, err := f.operator().Rollback(t.Context(), operator.Back{Number: f.stable().Number}); err != nil || got.Release != f.stable() {
		t.Errorf("back to what is stable: %+v, %v", got, err)
	}
	f.says("is stable: nothing to do")
	_, err := f.operator().Rollback(t.Context(), operator.Back{Number: 77})
	f.wants(err, operator.Wrong, "no record of a release 77", "bootagent history")
	if len(f.versions) != versions {
		t.Error("a version was put")
	}
}

func TestThereIsNothingBeforeTheFirstRelease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	_, err := f.operator().Rollback(t.Context(), operator.Back{})
	f.wants(err, operator.Failed, "release 1", "none before it")
}

func TestRollbackDuringARolloutIsAbort(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.begin("v2")
	f.seconds(15)
	_, err := f.operator().Rollback(t.Context(), operator.Back{Number: 7})
	f.wants(err, operator.Held, "end it with bootagent abort", "then roll back to 7")
	got, err := f.operator().Rollback(t.Context(), operator.Back{})
	if err != nil || got.Outcome != "aborted" || len(f.versions) != 2 || !f.allServe(1) {
		t.Fatalf("%+v, %v\n%s", got, err, f.said())
	}
}

func TestAbortBringsTheFleetBackAndIsWatched(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.begin("v2")
	f.seconds(40)
	if f.allServe(1) {
		t.Fatal("nobody has it yet")
	}
	got, err := f.operator().Abort(t.Context(), operator.Ask{Message: "the cart is empty"})
	if err != nil || got.Outcome != "aborted" || got.Cause != "the cart is empty" || f.stable().Number != 1 || !f.allServe(1) {
		t.Fatalf("%+v, %v\n%s", got, err, f.said())
	}
	f.says("release 2 is aborted: the fleet goes back to release 1", "returns to stable")
}

func TestAnAbortedDeployEndsWithOne(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.after(20*time.Second, func() {
		if _, err := f.operator().Abort(t.Context(), operator.Ask{NoWait: true, Message: "wrong branch"}); err != nil {
			t.Error(err)
		}
	})
	_, err := f.deploy("v2")
	f.wants(err, operator.Failed, "release 2", "was aborted", "wrong branch")
}

// Each of them, where there is nothing to do, says so, writes nothing, and is no error.
func TestThereIsNothingToDo(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.good("v2")
	f.seconds(30)
	for _, n := range f.nodes {
		n.dead = true
	}
	before := f.records()
	for name, do := range map[string]func(*operator.Operator) error{
		"pause":    func(o *operator.Operator) error { return o.Pause(t.Context(), operator.Ask{}) },
		"resume":   func(o *operator.Operator) error { return o.Resume(t.Context()) },
		"promote":  func(o *operator.Operator) error { return o.Promote(t.Context()) },
		"abort":    func(o *operator.Operator) error { _, err := o.Abort(t.Context(), operator.Ask{}); return err },
		"unfreeze": func(o *operator.Operator) error { return o.Unfreeze(t.Context()) },
	} {
		f.lines = nil
		if err := do(f.operator()); err != nil || len(f.lines) != 1 || !strings.Contains(f.lines[0], "nothing to do") {
			t.Errorf("%s: %v, said %q", name, err, f.lines)
		}
	}
	if f.records() != before {
		t.Error("something was written")
	}
}

func TestAPauseHoldsARolloutUntilItIsResumed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.begin("v2")
	for range 2 { // the second time there is nothing to do
		if err := f.operator().Pause(t.Context(), operator.Ask{Message: "lunch"}); err != nil {
			t.Fatal(err)
		}
	}
	f.seconds(120)
	if s := f.rollout().State; s.Status != rollout.Paused || s.Cause != "lunch" || s.By != "ann@laptop" {
		t.Errorf("the state is %+v", s)
	}
	if err := f.operator().Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.seconds(300)
	if f.stable().Number != 2 {
		t.Errorf("stable is %s, the rollout %+v", f.stable(), f.rollout().State)
	}
	f.says("release 2 is paused: no instance begins to switch any more", "release 2 goes on")
}

func TestAManualPromotionEndsTheWatchWellAndPromoteMovesStable(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	got, err := f.deploy("v2", func(r *operator.Request) { r.Policy = json.RawMessage(`{"promote":"manual"}`) })
	if err != nil || got.Outcome != "paused" || f.stable().Number != 1 {
		t.Fatalf("%+v, %v, stable is %s\n%s", got, err, f.stable(), f.said())
	}
	f.says("serves everywhere and has baked: bootagent promote makes it stable")
	if err := f.operator().Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.seconds(90)
	if f.stable().Number != 2 {
		t.Errorf("stable is %s", f.stable())
	}
}

func TestPromoteOfARolloutOnItsWayBackIsRefused(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.policy.Promote = rollout.Manual
	f.begin("v2")
	if _, err := f.operator().Abort(t.Context(), operator.Ask{NoWait: true}); err != nil {
		t.Fatal(err)
	}
	f.wants(f.operator().Promote(t.Context()), operator.Failed, "on its way back to stable")
	f.wants(f.operator().Pause(t.Context(), operator.Ask{}), operator.Failed, "on its way back to stable")
}

func TestAFreezeNamesWhoFroze(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.freeze()
	before := f.records()
	if err := f.operator().Freeze(t.Context(), operator.Ask{Message: "mine"}); err != nil {
		t.Fatal(err)
	}
	f.says("nobody deploys to shop prod now", "nothing to do: bob@laptop froze shop prod already: holidays")
	if f.records() != before {
		t.Error("it was frozen twice")
	}
	if err := f.operator().Unfreeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.good("v2")
}

func TestStatusShowsTheFleetInMidRollout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.begin("v2")
	f.seconds(8)
	f.freeze()
	s, err := f.operator().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := s.Text()
	for _, w := range []string{
		"shop prod", "release 1 (000000000000), ref v1", "shop-asg: 4 wanted, 4 in service, 4 of them healthy", "by bob@laptop: holidays", "release 2 (000000000000)", "asked for by ann@laptop",
		"done", "waiting", "leads",
	} {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
	if !s.Live || s.Rollout == nil || s.Rollout.Members != 4 || len(s.Instances) != 4 || s.Lock != nil {
		t.Errorf("the status is %+v", s)
	}
}

func TestHistoryJoinsWhatWasAskedForWithWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.good("v2")
	f.nodes[0].broken[sha(3)] = true
	_, err := f.deploy("v3", func(r *operator.Request) { r.Message = "a new cart" })
	f.wants(err, operator.RolledBack)
	f.put("v4")
	f.put("v5") // before anybody has read the one before
	f.seconds(300)
	for _, n := range f.nodes {
		n.dead = true
	}
	f.put("v1")
	past, err := f.operator().History(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range past {
		got = append(got, p.Outcome)
	}
	if want := "waiting succeeded skipped rolled_back succeeded skipped"; strings.Join(got, " ") != want {
		t.Errorf("the outcomes are %v, want %s", got, want)
	}
	text := operator.HistoryText(past)
	for _, w := range []string{"user/ann", "ann@laptop", "rolled back", "a new cart (i-0: GET /up: 500", "stable", "v5"} {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
	if few, err := f.operator().History(t.Context(), 2); err != nil || len(few) != 2 {
		t.Errorf("two of them: %v, %v", few, err)
	}
}
