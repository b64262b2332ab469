package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/rollout"
)

func TestAForecastIsWhatTheRolloutThenDoes(t *testing.T) {
	t.Parallel()
	minute := rollout.Duration(time.Minute)
	for name, c := range map[string]struct {
		members, canary int
		first           bool
		want            []rollout.Stage
		least           time.Duration
	}{
		"one instance is its own canary": {1, 1, false, []rollout.Stage{
			{Phase: rollout.CanaryPhase, Instances: 1, AtOnce: 1}, {Phase: rollout.FinalPhase, Bake: minute}}, 70 * time.Second},
		"nine": {9, 1, false, []rollout.Stage{
			{Phase: rollout.CanaryPhase, Instances: 1, AtOnce: 1, Bake: minute},
			{Phase: rollout.BatchPhase, Instances: 8, AtOnce: 2}, {Phase: rollout.FinalPhase, Bake: minute}}, 170 * time.Second},
		"without a canary": {3, 0, false, []rollout.Stage{
			{Phase: rollout.BatchPhase, Instances: 3, AtOnce: 1}, {Phase: rollout.FinalPhase, Bake: minute}}, 90 * time.Second},
		"the first ever": {3, 1, true, []rollout.Stage{{Phase: rollout.FinalPhase, Bake: minute}}, time.Minute},
		"nobody":         {0, 1, false, []rollout.Stage{{Phase: rollout.FinalPhase, Bake: minute}}, time.Minute},
	} {
		p := rollout.DefaultPolicy()
		p.Canary = c.canary
		got := p.Forecast(c.members, c.first)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if least := p.AtLeast(got); least != c.least {
			t.Errorf("%s: at least %s, want %s", name, least, c.least)
		}
	}
}

func TestAsManySwitchAtOnceAsTheLargestStageHas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ members, canary, batch, want int }{
		{0, 1, 25, 0}, {1, 1, 25, 1}, {9, 1, 25, 2}, {9, 5, 25, 5}, {9, 1, 100, 8}, {1000, 1, 25, 50}, {2, 3, 25, 2},
	} {
		p := rollout.DefaultPolicy()
		p.Canary, p.Batch = c.canary, rollout.Percent(c.batch)
		if got := p.AtOnce(c.members); got != c.want {
			t.Errorf("of %d, with %d canaries and batches of %d%%: %d, want %d", c.members, c.canary, c.batch, got, c.want)
		}
	}
}

// The fleet of the stories steps in no time: it can't be faster than its forecast, nor much slower.
func TestAFleetTakesAsLongAsItsForecast(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 9)
	stages := f.policy.Forecast(9, false)
	f.put(release(2))
	f.until("an open record", func() bool { return f.rollout().Release.Number == 2 })
	began := f.now
	f.until("the end", f.ended(rollout.Succeeded))
	took, least := f.now-began, f.policy.AtLeast(stages)
	if took < least || took > 2*least+time.Minute {
		t.Errorf("it took %s, and at least %s were forecast", took, least)
	}
}
