package rollout_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

func TestAPolicyIsFrozenAsJSONAndReadTheSame(t *testing.T) {
	t.Parallel()
	policy := rollout.DefaultPolicy()
	policy.MinHealthy, policy.Restart = rollout.Percent(50), true
	text, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	var back rollout.Policy
	if err := json.Unmarshal(text, &back); err != nil || back != policy {
		t.Errorf("%s reads as %+v, %v", text, back, err)
	}
}

func TestAnIntentChangesSomeOfThePolicy(t *testing.T) {
	t.Parallel()
	got, err := rollout.DefaultPolicy().With(json.RawMessage(`{"canary":2,"batch":"10%","min_healthy":3,"bake":"5m","on_failure":"pause"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got.Canary != 2 || got.Batch != rollout.Percent(10) || got.MinHealthy != (rollout.Amount{N: 3}) || got.Bake != rollout.Duration(5*time.Minute) ||
		got.OnFailure != rollout.Pause || got.Promote != rollout.Auto {
		t.Errorf("got %+v", got)
	}
	if kept, err := rollout.DefaultPolicy().With(json.RawMessage(`{"restart":true}`)); err != nil || kept.Restart {
		t.Errorf("an intent says how the app switches: %+v, %v", kept, err)
	}
}

func TestNonsenseInAPolicyIsRefusedInWords(t *testing.T) {
	t.Parallel()
	restart := rollout.DefaultPolicy()
	restart.Restart = true
	for text, want := range map[string]string{
		`{"canary":-1}`:               "policy.canary",
		`{"bake":"-1s"}`:              "policy.bake",
		`{"bake":"soon"}`:             "is no duration",
		`{"batch":0}`:                 "policy.batch",
		`{"batch":"0%"}`:              "policy.batch",
		`{"batch":"101%"}`:            "policy.batch",
		`{"batch":"a few"}`:           "is no amount",
		`{"min_healthy":"100%"}`:      "no instance could ever",
		`{"max_failures":-1}`:         "policy.max_failures",
		`{"progress_deadline":"10s"}`: "policy.progress_deadline",
		`{"min_healthy_time":"10m","progress_deadline":"10m"}`: "must be shorter",
		`{"on_failure":"hope"}`:                                "rollback, stop or pause",
		`{"promote":"later"}`:                                  "auto or manual",
		`{"cannary":1}`:                                        "cannary",
	} {
		if got, err := restart.With(json.RawMessage(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v; want an error about %q", text, got, err, want)
		}
	}
}

func TestReleasesSortByTheirKeys(t *testing.T) {
	t.Parallel()
	order := []rollout.ID{{Number: 2}, {Number: 10}, {Epoch: 1, Number: 1}, {Epoch: 1, Number: 3}, {Epoch: 12}}
	for i := 1; i < len(order); i++ {
		if order[i-1].Compare(order[i]) >= 0 || rollout.ReleaseKey(order[i-1]) >= rollout.ReleaseKey(order[i]) {
			t.Errorf("%s does not come before %s", order[i-1], order[i])
		}
	}
}

// DynamoDB bills and throttles a write by the size of the item.
func TestAThousandPartsStayBelowAHundredKilobytes(t *testing.T) {
	t.Parallel()
	size := 0
	for i := range 1000 {
		part, err := json.Marshal(rollout.Part{ID: rollout.ID{Number: 1234}, State: rollout.Granted, Counter: 60, Attempt: 1, Astray: true})
		if err != nil {
			t.Fatal(err)
		}
		size += len(fmt.Sprintf("part/i-%017x", i)) + len(part)
	}
	if size > 80_000 {
		t.Errorf("a thousand parts have %d bytes", size)
	}
}

func TestAttributesOfALaterVersionSurviveEveryWrite(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.put(release(2))
	f.until("the canary's slot", func() bool { return len(f.slots()) > 0 })
	record := f.records[rollout.RolloutKey]
	attributes := maps.Clone(record.Attributes)
	attributes["of_the_future"] = `{"x":1}`
	f.records[rollout.RolloutKey] = rollout.Record{Key: record.Key, Attributes: attributes}
	f.until("success", func() bool { return f.rollout().State.Status == rollout.Succeeded })
	if got := f.records[rollout.RolloutKey].Attributes["of_the_future"]; got != `{"x":1}` {
		t.Errorf("it reads %q", got)
	}
}
