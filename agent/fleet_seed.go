package agent

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// seed gives the empty store of an instance that took another one's place, in a fleet of one without a table, what the
// mirror knows: the release under the label stable. Whether a newer version was tried by the one before is not known.
func (a *Agent) seed(ctx context.Context, read model.Published) error {
	if a.Shared || read.Stable == nil {
		return nil
	}
	record, err := a.Records.Get(ctx, rollout.StableKey)
	if err != nil {
		return err
	}
	if record.Attributes == nil {
		current, err := a.Records.Get(ctx, rollout.RolloutKey)
		if err != nil {
			return err
		}
		if current.Attributes != nil {
			return nil // the first release ever is on its way
		}
		if record, err = a.plant(ctx, *read.Stable, read.Newest.Number); err != nil || record.Attributes == nil {
			return err
		}
	}
	seeded := rollout.DecodeSeeded(record)
	if seeded.Release.IsZero() {
		return nil
	}
	return a.tell(ctx, func(w *world) { w.fleet.seeded = seeded })
}

// plant writes the first record.
func (a *Agent) plant(ctx context.Context, v model.Version, newest int64) (rollout.Record, error) {
	intent, err := a.intent(v)
	if err != nil {
		a.Log.Warn("the version under the label stable names no release that this instance could begin with", zap.Error(err))
		return rollout.Record{}, nil
	}
	release := rollout.Release{ID: rollout.ID{Epoch: intent.Epoch, Number: v.Number}, Revision: intent.Revision, Ref: intent.Ref}
	if release.Revision == "" {
		if release.Revision, err = a.Preparer.Resolve(ctx, intent.Ref); err != nil {
			return rollout.Record{}, fmt.Errorf("resolve the ref under the label stable: %w", err)
		}
	}
	a.Log.Info("this instance takes another one's place: it begins with what the label stable names", zap.Stringer("release", release))
	if err := a.Records.Apply(ctx, rollout.Seed(release, newest)); err != nil && !errors.Is(err, rollout.ErrConflict) {
		return rollout.Record{}, err
	}
	return a.Records.Get(ctx, rollout.StableKey)
}
