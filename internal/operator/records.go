package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bootagent/bootagent/rollout"
)

// records are the two that everything else hangs on. The rollout is read before stable, as agents do.
type records struct {
	rollout *rollout.Rollout
	stable  rollout.Stable
}

func (o *Operator) read(ctx context.Context) (r records, err error) {
	record, err := o.Store.Get(ctx, rollout.RolloutKey)
	if err != nil {
		return r, err
	}
	if r.rollout, err = rollout.DecodeRollout(record); err != nil {
		return r, err
	}
	if record, err = o.Store.Get(ctx, rollout.StableKey); err != nil {
		return r, err
	}
	if r.stable, err = rollout.DecodeStable(record); err != nil {
		return r, err
	}
	if r.rollout != nil && r.rollout.Schema > rollout.Schema || r.stable.Schema > rollout.Schema {
		return r, refuse(Failed, "the fleet's records were written by a newer bootagent than this one, which reads schema %d: upgrade it", rollout.Schema)
	}
	return r, nil
}

// opened is the newest release that has, or had, a record of its own.
func (r records) opened() rollout.ID { return rollout.Opened(r.rollout, r.stable) }

// live is the rollout that is under way; nil for none.
func (r records) live() *rollout.Rollout {
	if r.rollout == nil || !r.rollout.State.Live() {
		return nil
	}
	return r.rollout
}

// outcome is what became of a release.
func (o *Operator) outcome(ctx context.Context, id rollout.ID) (rollout.Outcome, error) {
	record, err := o.Store.Get(ctx, rollout.ReleaseKey(id))
	if err != nil {
		return rollout.Outcome{}, err
	}
	return rollout.DecodeOutcome(record)
}

// change makes a change that depends on the records as they are: where somebody else was there first they are read again. It says
// whether there was anything to change.
func (o *Operator) change(ctx context.Context, what string, decide func() ([]rollout.Change, error)) (bool, error) {
	var last error
	for range tries {
		changes, err := decide()
		if err != nil || len(changes) == 0 {
			return false, err
		}
		if last = o.Store.Apply(ctx, changes...); !errors.Is(last, rollout.ErrConflict) {
			return last == nil, last
		}
		if err := o.Clock.Sleep(ctx, again); err != nil {
			return false, err
		}
	}
	return false, refuse(Failed, "%s: others changed the records at the same time, %d times over: try again (%w)", what, tries, last)
}

// worded is a text attribute of a record, "" where there is none.
func worded(r rollout.Record, name string) (text string) {
	_ = json.Unmarshal([]byte(r.Attributes[name]), &text) // of another type: as if there were none
	return text
}

// because puts a cause behind a sentence, where there is one.
func because(format string, args ...any) func(cause string) string {
	return func(cause string) string {
		if cause == "" {
			return fmt.Sprintf(format, args...)
		}
		return fmt.Sprintf(format, args...) + ": " + cause
	}
}
