package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// Request is what a person asks of Deploy.
type Request struct {
	// Ref is a branch, a tag or a full SHA.
	Ref     string
	Message string
	// Policy is a JSON object of the keys that are to differ from the configuration's; nil for none.
	Policy json.RawMessage
	// Force deploys over a rollout that is under way, a revision that failed before, and to a fleet that is not healthy.
	Force bool
	// NewEpoch says that the release parameter was deleted and made anew, and that this is meant.
	NewEpoch bool
	// NoWait ends the command as soon as the agents have taken the release up.
	NoWait bool
}

// Result is what became of it.
type Result struct {
	Release rollout.Release `json:"release"`
	// Outcome is what it ended in: succeeded, rolled_back, failed, aborted, superseded, refused; "paused" or "open" where it has not ended.
	Outcome string           `json:"outcome"`
	Cause   string           `json:"cause,omitempty"`
	Failure *rollout.Failure `json:"failure,omitempty"`
}

// Deploy rolls a release out, and watches it to its end. The put of the parameter is the commit point: an error before it has changed nothing, and
// after it the rollout goes on by itself, whatever becomes of this command. Errors are *Error.
func (o *Operator) Deploy(ctx context.Context, r Request) (Result, error) {
	w, err := o.preflight(ctx, r)
	if err != nil {
		return Result{}, settle(unchanged(ctx, err))
	}
	return o.commit(ctx, w)
}

// commit takes the lock, looks again, puts the parameter, and watches.
func (o *Operator) commit(ctx context.Context, w wish) (Result, error) {
	number, err := o.locked(ctx, &w)
	if err != nil {
		return Result{}, settle(err)
	}
	release := rollout.Release{ID: rollout.ID{Epoch: w.epoch, Number: number}, Revision: w.revision, Ref: w.Ref}
	o.Screen.Say(fmt.Sprintf("%s%s is put: from here on the agents carry it out", release, refOf(release)))
	if o.Store == nil {
		result, err := o.watchLabel(ctx, release, w)
		return result, settle(err)
	}
	result, err := o.watch(ctx, release, w)
	return result, settle(err)
}

// locked puts the parameter while it holds the lock. Where it does not come to that the lock is given back.
func (o *Operator) locked(ctx context.Context, w *wish) (number int64, err error) {
	if o.Store != nil {
		if err := o.takeLock(ctx); err != nil {
			_ = o.giveLock(ctx) // an answer may have been lost; where there is no reaching the table it dies by itself
			return 0, unchanged(ctx, err)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, o.giveLock(ctx))
			}
		}()
	}
	if err := o.admit(ctx, w); err != nil {
		return 0, unchanged(ctx, err)
	}
	if err := o.fits(*w); err != nil {
		return 0, err
	}
	if o.Store != nil { // what was looked at may have taken longer than a lease
		mine, err := o.renewLock(ctx)
		if err != nil {
			return 0, unchanged(ctx, err)
		}
		if !mine {
			return 0, refuse(Held, "another deploy to %s took the lock over while this one was slow: nothing was changed; deploy again", o.name())
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, unchanged(ctx, err)
	}
	return o.put(ctx, *w)
}

// put is the commit point. It is not interrupted: what is not known to be put could neither be watched nor taken back.
func (o *Operator) put(ctx context.Context, w wish) (int64, error) {
	value, err := o.value(w)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	number, err := o.Parameter.Put(ctx, value)
	if err == nil {
		return number, nil
	}
	if published, readErr := o.Parameter.Read(ctx); readErr == nil && published.Newest.Value == value && o.Store != nil {
		return published.Newest.Number, nil // the answer was lost
	}
	return 0, fmt.Errorf("put the release: %w", err)
}

// unchanged says of an interrupt before the commit point that nothing has come of it.
func unchanged(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return refuse(Failed, "interrupted before anything was put: nothing was changed")
}
