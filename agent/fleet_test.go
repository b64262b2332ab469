package agent

import (
	"context"

	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/health"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

func TestNumbersOfTwoEpochsDoNotMeetOnAMachine(t *testing.T) {
	t.Parallel()
	for _, r := range []rollout.Release{
		{}, {ID: rollout.ID{Number: 7}, Revision: one.Revision, Ref: "main"}, {ID: rollout.ID{Epoch: 1, Number: 7}, Ref: "v1"},
	} {
		if got := FleetRelease(LocalRelease(r)); got != r {
			t.Errorf("%v comes back as %v", r, got)
		}
	}
	old, anew := LocalRelease(rollout.Release{ID: rollout.ID{Number: 900}}), LocalRelease(rollout.Release{ID: rollout.ID{Epoch: 1, Number: 1}})
	if old.Number >= anew.Number {
		t.Errorf("%d of the old epoch does not come before %d", old.Number, anew.Number)
	}
	if got := LocalRelease(rollout.Release{ID: rollout.ID{Number: 7}}).Number; got != 7 {
		t.Errorf("in the first epoch a number is the parameter's own, got %d", got)
	}
}

func TestWhatChangesTheReleaseThatServesWantsAFreshWord(t *testing.T) {
	t.Parallel()
	serving := Memory{Serving: true, InService: one, Port: 8080}
	for _, c := range []struct {
		name string
		step Step
		m    Memory
		want bool
	}{
		{"a start of another release", Start{two, web, 8081}, serving, true},
		{"its registration", Register{two, 8081}, serving, true},
		{"taking the old one out", Deregister{one, 8080, "release 2 is in service"}, serving, true},
		{"a boot", Start{one, web, 8080}, Memory{}, true},
		{"what serves crashed", Start{one, web, 8080}, serving, false},
		{"what serves is registered again", Register{one, 8080}, serving, false},
		{"what serves fails", Deregister{one, 8080, Unhealthy}, serving, false},
		{"the instance leaves", Deregister{one, 8080, "it leaves"}, Memory{Serving: true, InService: one, Leaving: Terminating}, false},
		{"a fetch", Prepare{two}, serving, false},
		{"a stop", Stop{one, "x", 8080}, serving, false},
	} {
		if got := NeedsFresh(c.step, c.m); got != c.want {
			t.Errorf("%s: got %t", c.name, got)
		}
	}
}

func TestAFailureOfAnotherAttemptIsForgiven(t *testing.T) {
	t.Parallel()
	first, second := rollout.Attempt{Rollout: rollout.ID{Number: 2}}, rollout.Attempt{Rollout: rollout.ID{Number: 2}, Number: 1}
	m := Memory{Failed: map[string]Failure{two.Revision: {Release: two, Reason: "bad", At: noon, Attempt: first}}, LastFailed: two.Revision}
	if got := m.forgiven(Desired{Known: true, Goal: two, Attempt: first}); !got.failed(two) {
		t.Error("in the same attempt it is not tried again")
	}
	if got := m.forgiven(Desired{Known: true, Goal: two, Attempt: second}); got.failed(two) {
		t.Error("the fleet gave it another slot, and it is not tried")
	}
	again := two
	again.Number = 3
	if got := m.forgiven(Desired{Known: true, Goal: again, Attempt: first}); got.failed(again) {
		t.Error("somebody forced the revision under a new number, and it is not tried")
	}
	if f := m.LastFailure(); f.Release.Number != 2 || f.Attempt != first || f.Cause != "bad" {
		t.Errorf("the fleet is told %+v", f)
	}
}

func TestOnlyAThirdLowerNumberIsLookedUp(t *testing.T) {
	t.Parallel()
	var l lookback
	opened := rollout.ID{Number: 4}
	for i, c := range []struct {
		number int64
		ask    bool
	}{{5, false}, {3, false}, {3, false}, {5, false}, {3, false}, {2, false}, {1, true}, {1, true}} {
		if got := l.saw(c.number, opened); got != c.ask {
			t.Errorf("read %d gave %d: got %t", i, c.number, got)
		}
	}
	if l.anew = true; l.saw(1, opened) {
		t.Error("what is known is asked again")
	}
	if l.saw(2, rollout.ID{Epoch: 1, Number: 2}) || l.anew {
		t.Error("a new epoch has begun, and the old numbers still count")
	}
}

// kept is a store that keeps records, and no more.
type kept struct {
	noRecords
	records map[string]rollout.Record
}

func (k kept) Get(_ context.Context, key string) (rollout.Record, error) {
	r := k.records[key]
	r.Key = key
	return r, nil
}

func (k kept) Apply(_ context.Context, changes ...rollout.Change) error {
	made, err := rollout.MakeAll(k.records, changes)
	for _, r := range made {
		k.records[r.Key] = r
	}
	return err
}

func TestAnInstanceThatTakesAnothersPlaceBeginsWithTheMirror(t *testing.T) {
	t.Parallel()
	store := kept{records: map[string]rollout.Record{}}
	a := New(Options{Log: zap.NewNop(), Records: store, Preparer: &box{}})
	made, err := a.plant(t.Context(), model.Version{Number: 4, Value: "main"}, 6)
	if err != nil {
		t.Fatal(err)
	}
	stable, err := rollout.DecodeStable(made)
	if seeded := rollout.DecodeSeeded(made); err != nil || seeded.Release.Number != 4 || seeded.Newest != 6 || stable.Release.Revision != one.Revision || stable.Release.Ref != "main" {
		t.Errorf("it begins with %+v, seeded %+v (%v)", stable, seeded, err)
	}
	if again, err := a.plant(t.Context(), model.Version{Number: 4, Value: "main"}, 6); err != nil || again.Attributes == nil {
		t.Errorf("a second time: %v, %v", again, err)
	}
	if none, err := a.plant(t.Context(), model.Version{Number: 5, Value: "--upload-pack=x"}, 6); err != nil || none.Attributes != nil {
		t.Errorf("a value that is no release gave %v, %v", none, err)
	}
}

func TestWithoutATableAGroupMayNotGrow(t *testing.T) {
	t.Parallel()
	grown := model.Membership{Group: "shop", Most: 3}
	err := New(Options{Log: zap.NewNop(), MakeTable: "aws dynamodb create-table …"}).ungrown(grown)
	if err == nil || !strings.Contains(err.Error(), "create-table") || !strings.Contains(err.Error(), "fleet.table") {
		t.Errorf("got %v", err)
	}
	if err := New(Options{Log: zap.NewNop(), Shared: true}).ungrown(grown); err != nil {
		t.Error(err)
	}
	if err := New(Options{Log: zap.NewNop()}).ungrown(model.Membership{Group: "shop", Most: 1}); err != nil {
		t.Error(err)
	}
}

// A switch by restart, or in standby, takes its time, and all of it the app is down.
func TestHowLongTheOldReleaseWasDownIsNotHeldAgainstTheNewOne(t *testing.T) {
	t.Parallel()
	a := New(Options{Log: zap.NewNop()})
	w := &world{memory: Memory{InService: one, Serving: true, Port: 8080}}
	a.sense(w)
	long := a.mono() - time.Hour
	w.fleet.down = &long
	a.sense(w)
	if s := a.self(w, rollout.Release{}, false); !s.Failing {
		t.Fatal("it is down for an hour, and fails not")
	}
	w.memory.InService = two
	a.sense(w)
	w.desired.Rules.UnhealthyGrace = time.Minute
	if s := a.self(w, rollout.Release{}, false); s.Failing {
		t.Error("the new release fails at once")
	}
}

func TestAReleaseThatWasNotYetAskedInServiceIsNotDown(t *testing.T) {
	t.Parallel()
	a := New(Options{Log: zap.NewNop()})
	w := &world{memory: Memory{InService: one, Serving: true, Port: 8080}, monitor: &monitor{health: health.NewMonitor(health.MonitorOptions{})}}
	a.sense(w)
	if w.fleet.down != nil || w.fleet.passing != nil {
		t.Error("nobody has asked it, and it is said to be down, or to pass")
	}
	w.monitor = nil
	if a.sense(w); w.fleet.down == nil {
		t.Error("nothing runs, and it is not down")
	}
}
