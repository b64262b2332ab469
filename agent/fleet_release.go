package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// watchRelease reads the parameter.
func (a *Agent) watchRelease(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, write)
	defer cancel()
	read, missing := a.Parameters.Read(ctx)
	if errors.Is(missing, model.ErrNoRelease) {
		read = model.Published{}
	} else if missing != nil {
		return 0, missing
	}
	if err := a.seed(ctx, read); err != nil {
		return 0, err
	}
	published := a.published(read)
	var pause time.Duration
	var ask bool
	if err := a.tell(ctx, func(w *world) {
		pause = a.pace(w).Release()
		if ask = w.fleet.history.saw(published.Number, w.fleet.opened); !ask {
			a.learn(w, published, missing)
		}
	}); err != nil || !ask {
		return pause, err
	}
	history, err := a.Parameters.History(ctx, 1)
	if err != nil && !errors.Is(err, model.ErrNoRelease) {
		return 0, err
	}
	return pause, a.tell(ctx, func(w *world) {
		w.fleet.history.anew = len(history) == 0 || history[0].Number < w.fleet.history.highest
		a.learn(w, published, missing)
	})
}

// learn takes what the parameter says into the world; what is new wakes who decides on it.
func (a *Agent) learn(w *world, p rollout.Published, missing error) {
	f := &w.fleet
	p.Anew = f.history.anew
	if p.Number < f.history.highest && !p.Anew {
		p.Number, p.Intent, p.Err, p.Newer = f.published.Number, f.published.Intent, f.published.Err, f.published.Newer // a stale read
	}
	was := f.published
	f.published, f.seen = p, true
	if was.Number != p.Number && p.Number != 0 {
		a.Log.Info("the parameter asks for a release", zap.Int64("release", p.Number), zap.String("ref", p.Intent.Ref))
	}
	if was.Number != p.Number || was.Mirror.ID != p.Mirror.ID || was.Anew != p.Anew || !f.known {
		a.nudge("records")
	}
	a.problem(w, "intent", cmp.Or(p.Err, missing))
}

// published makes sense of the parameter's versions, whose values are untrusted.
func (a *Agent) published(read model.Published) rollout.Published {
	p := rollout.Published{Number: read.Newest.Number}
	if p.Number != 0 {
		p.Intent, p.Err = a.intent(read.Newest)
		var newer *rollout.SchemaError
		p.Newer = errors.As(p.Err, &newer)
	}
	if read.Stable != nil {
		p.Mirror.Number = read.Stable.Number
		if intent, err := a.intent(*read.Stable); err == nil { // one that can't be read names nothing that could be booted
			p.Mirror = rollout.Release{ID: rollout.ID{Epoch: intent.Epoch, Number: read.Stable.Number}, Revision: intent.Revision, Ref: intent.Ref}
		}
	}
	return p
}

// intent reads a version's value; an error says that it is no release.
func (a *Agent) intent(v model.Version) (rollout.Intent, error) {
	intent, err := rollout.ParseIntent(v.Value)
	if err != nil {
		return rollout.Intent{}, fmt.Errorf("version %d of the release parameter is not a release, and is passed over: %w", v.Number, err)
	}
	if intent.Repository != "" && intent.Repository != a.Repository {
		return rollout.Intent{}, fmt.Errorf("version %d of the release parameter names the repository %q, and this instance serves %q (source.url): it is passed over", v.Number, intent.Repository, a.Repository)
	}
	return intent, nil
}
