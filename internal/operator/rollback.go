package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Back is what a person asks of Rollback.
type Back struct {
	// Number is the release to go back to; 0 is the one before stable.
	Number  int64
	Message string
	Policy  json.RawMessage
	Force   bool
	NoWait  bool
}

// Rollback undoes: a rollout that is under way is aborted, and otherwise the revision of an earlier release is rolled out as a new one, without
// its release task. A freeze does not hold it back.
func (o *Operator) Rollback(ctx context.Context, b Back) (Result, error) {
	w := wish{Request: Request{Message: b.Message, Policy: b.Policy, Force: b.Force, NoWait: b.NoWait}}
	if o.Store != nil {
		r, err := o.read(ctx)
		if err != nil {
			return Result{}, settle(err)
		}
		if live := r.live(); live != nil {
			if b.Number != 0 && b.Number != r.stable.Release.Number {
				return Result{}, refuse(Held, "%s is being rolled out: end it with bootagent abort, which goes back to %s, and then roll back to %d", live.Release, r.stable.Release.ID, b.Number)
			}
			o.Screen.Say(fmt.Sprintf("%s is being rolled out: it is aborted, and the fleet goes back to %s", live.Release, r.stable.Release))
			return o.Abort(ctx, Ask{Message: b.Message, NoWait: b.NoWait})
		}
	}
	to, of, err := o.earlier(ctx, b.Number)
	if err != nil {
		return Result{}, settle(unchanged(ctx, err))
	}
	if to.Number == of {
		o.Screen.Say(fmt.Sprintf("%s is stable: nothing to do", to))
		return Result{Release: to, Outcome: string(rollout.Succeeded)}, nil
	}
	w.Ref, w.revision, w.rollbackOf = orText(to.Ref, to.Revision), to.Revision, of
	if w.Message == "" {
		w.Message = fmt.Sprintf("back to release %d", to.Number)
	}
	if w.policy, err = o.Policy.With(b.Policy); err != nil {
		return Result{}, refuse(Wrong, "%w", err)
	}
	if err := o.needsTable(ctx); err != nil {
		return Result{}, settle(err)
	}
	if err := o.healthyEnough(ctx, w); err != nil {
		return Result{}, settle(unchanged(ctx, err))
	}
	if err := o.targetsFit(ctx, &w); err != nil {
		return Result{}, settle(unchanged(ctx, err))
	}
	o.Screen.Say(fmt.Sprintf("back to %s%s, in the place of release %d", to, refOf(to), of))
	return o.commit(ctx, w)
}

// earlier finds the release to go back to, and the number of the one that is stable now.
func (o *Operator) earlier(ctx context.Context, number int64) (rollout.Release, int64, error) {
	if o.Store == nil {
		return o.earlierAlone(ctx, number)
	}
	r, err := o.read(ctx)
	if err != nil {
		return rollout.Release{}, 0, err
	}
	stable := r.stable.Release
	switch {
	case stable.IsZero():
		return rollout.Release{}, 0, refuse(Failed, "no release of %s is stable yet: there is nothing to go back from", o.name())
	case number == 0 && r.stable.Previous.Revision == "":
		return rollout.Release{}, 0, refuse(Failed, "%s is the first one that was stable: there is none before it (bootagent history)", stable)
	case number == 0:
		return r.stable.Previous, stable.Number, nil
	case number == stable.Number:
		return stable, stable.Number, nil
	}
	id := rollout.ID{Epoch: stable.Epoch, Number: number}
	record, err := o.Store.Get(ctx, rollout.ReleaseKey(id))
	if err != nil {
		return rollout.Release{}, 0, err
	}
	to := rollout.Release{ID: id, Revision: worded(record, "revision"), Ref: worded(record, "ref")}
	if to.Revision == "" {
		return rollout.Release{}, 0, refuse(Wrong, "there is no record of a %s with a revision: bootagent history lists those that can be gone back to", id)
	}
	return to, stable.Number, nil
}

// earlierAlone finds it in the parameter's history.
func (o *Operator) earlierAlone(ctx context.Context, number int64) (rollout.Release, int64, error) {
	published, err := o.Parameter.Read(ctx)
	if errors.Is(err, model.ErrNoRelease) {
		return rollout.Release{}, 0, refuse(Failed, "no release of %s was asked for yet: there is nothing to go back to", o.name())
	}
	if err != nil {
		return rollout.Release{}, 0, err
	}
	if number == 0 {
		return rollout.Release{}, 0, refuse(Wrong, "%s has no table that says which release came before: give its number, bootagent rollback N (bootagent history lists them)", o.name())
	}
	versions, err := o.Parameter.History(ctx, 0)
	if err != nil {
		return rollout.Release{}, 0, err
	}
	for _, v := range versions {
		if v.Number != number {
			continue
		}
		to, _, err := versionRelease(v)
		if err != nil {
			return to, 0, refuse(Failed, "%w", err)
		}
		if to.Revision == "" {
			return to, 0, refuse(Failed, "%s was written as the ref %s, and what that was then is not known: deploy it, or a full SHA", to.ID, to.Ref)
		}
		return to, published.Newest.Number, nil
	}
	return rollout.Release{}, 0, refuse(Wrong, "the release parameter has no version %d: bootagent history lists those that it has", number)
}
