package operator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Without a table there is one instance, which keeps its records for itself: from elsewhere only the release parameter is seen, and the
// label stable on it says how a release ended that did well.

// admitAlone is what can be looked at without records.
func (o *Operator) admitAlone(ctx context.Context, w *wish) error {
	if w.NewEpoch {
		return refuse(Wrong, "--new-epoch is for a fleet with a table, and this one has none: leave it out")
	}
	if _, err := o.Parameter.Read(ctx); err != nil && !errors.Is(err, model.ErrNoRelease) {
		return err
	}
	return nil
}

// watchLabel waits until the label stable is on the version that was put.
func (o *Operator) watchLabel(ctx context.Context, release rollout.Release, w wish) (Result, error) {
	result := Result{Release: release, Outcome: rollout.OutcomeOpen}
	if w.NoWait {
		o.Screen.Say("the instance takes it by itself; bootagent status on the instance shows how far it is")
		return result, nil
	}
	patience := 2 * (time.Duration(w.policy.ProgressDeadline) + time.Duration(w.policy.Bake))
	began, sighted := o.Clock.Now(), o.Clock.Now()
	for {
		published, err := o.Parameter.Read(ctx)
		now := o.Clock.Now()
		switch {
		case err != nil && ctx.Err() == nil && (isConfiguration(err) || now-sighted > blindness):
			return result, fmt.Errorf("%s goes on, and can't be watched any more: %w", release.ID, err)
		case err != nil:
		case published.Stable != nil && published.Stable.Number == release.Number:
			result.Outcome = string(rollout.Succeeded)
			o.Screen.Say(sentence(result))
			return result, nil
		case published.Newest.Number > release.Number:
			result.Outcome = rollout.OutcomeSuperseded
			return result, refuse(Failed, "%s", sentence(result))
		default:
			sighted = now
			o.Screen.Show([]string{fmt.Sprintf("%s is on its way: the label stable is not on it yet", release)})
		}
		if now-began >= patience {
			return result, refuse(Failed, "the label stable has not come to version %d of the release parameter within %s, so that it failed or waits: "+
				"bootagent status on the instance says why", release.Number, patience)
		}
		if err := o.Clock.Sleep(ctx, look); err != nil {
			return result, refuse(Failed, "interrupted: %s goes on by itself; bootagent status on the instance shows how far it is, bootagent abort there ends it", release.ID)
		}
	}
}

// needsRecords refuses what only the instance itself can do where there is no table.
func (o *Operator) needsRecords(command string) error {
	if o.Store != nil {
		return nil
	}
	return refuse(Wrong, "%s has no table, so its records are in a file of its one instance: run bootagent %s there, or make a table (%s) and name it in fleet.table",
		o.name(), command, o.MakeTable)
}

// versionRelease is the release that a version of the parameter asked for, with its revision where the value has it.
func versionRelease(v model.Version) (rollout.Release, rollout.Intent, error) {
	intent, err := rollout.ParseIntent(v.Value)
	if err != nil {
		return rollout.Release{}, intent, fmt.Errorf("version %s of the release parameter is no release: %w", strconv.FormatInt(v.Number, 10), err)
	}
	return rollout.Release{ID: rollout.ID{Epoch: intent.Epoch, Number: v.Number}, Revision: intent.Revision, Ref: intent.Ref}, intent, nil
}
