package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// idle is how long the records are left alone by an agent that nothing but a new version of the parameter can give something to do.
const idle = 24 * time.Hour

// unseen is for how long an agent that has just started waits for the parameter before it does without.
const unseen = 10 * time.Second

// contended bounds the pause after a write that somebody else's came before.
const contended = 500 * time.Millisecond

// watchRecords is the agent's part in its fleet: it reads the records, has the next step decided on, and writes what was decided.
func (a *Agent) watchRecords(ctx context.Context) (time.Duration, error) {
	life := ctx
	ctx, cancel := context.WithTimeout(ctx, write)
	defer cancel()
	var read []string
	if err := a.tell(ctx, func(w *world) { read = w.fleet.decision.Read }); err != nil {
		return 0, err
	}
	at := a.mono()
	view, failed := a.view(ctx, read)
	if errors.Is(failed, model.ErrConfiguration) {
		return 0, failed // asking the mirror instead would hide it
	}
	var d rollout.Decision
	var pause time.Duration
	if err := a.tell(ctx, func(w *world) {
		a.problem(w, "table", failed)
		f := &w.fleet
		switch {
		case !f.seen && at < unseen: // learn wakes it
		case view.Reached, at-f.at >= unreached:
			d = a.decide(life, w, view, at)
		}
		switch pause = a.pace(w).Records(); {
		case !f.seen:
			pause = min(pause, unseen/4)
		case d.Idle:
			pause = idle
		}
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return min(pause, rollout.Renew/2), nil
	}
	if err := errors.Join(a.keepMirror(ctx, d.Mirror), a.restore(ctx, d.Restore)); err != nil {
		return 0, err
	}
	wrote, err := a.apply(ctx, d.Writes)
	switch {
	case errors.Is(err, rollout.ErrConflict):
		return rand.N(contended), nil
	case err != nil:
		return 0, err
	case wrote, len(d.Read) > 0:
		return 0, nil
	}
	return pause, nil
}

// view reads the records. Where they can't be reached the view is not reached, and the error says why.
func (a *Agent) view(ctx context.Context, more []string) (rollout.View, error) {
	v := rollout.View{Records: map[string]rollout.Record{}}
	current, err := a.Records.Get(ctx, rollout.RolloutKey)
	if err != nil {
		return v, err
	}
	stable, err := a.Records.Get(ctx, rollout.StableKey)
	if err != nil {
		return v, err
	}
	for _, key := range more {
		if v.Records[key], err = a.Records.Get(ctx, key); err != nil {
			return v, err
		}
	}
	v.Reached = true
	if v.Rollout, err = rollout.DecodeRollout(current); err != nil {
		v.Broken = err
	}
	if v.Stable, err = rollout.DecodeStable(stable); err != nil {
		v.Broken = errors.Join(v.Broken, err)
	}
	return v, nil
}

// apply writes what was decided, one after the other until one fails, and says whether anything was written.
func (a *Agent) apply(ctx context.Context, writes []rollout.Write) (wrote bool, err error) {
	for _, w := range writes {
		if err := a.Records.Apply(ctx, w.Changes...); err != nil {
			if errors.Is(err, rollout.ErrConflict) {
				a.Log.Debug("somebody was there first", zap.String("write", w.Why), zap.Error(err))
				return wrote, err
			}
			return wrote, fmt.Errorf("%s: %w", w.Why, err)
		}
		a.Log.Debug("fleet", zap.String("write", w.Why))
		wrote = true
	}
	return wrote, nil
}

// restore brings back from standby what agents that are gone have left there.
func (a *Agent) restore(ctx context.Context, instances []string) error {
	if len(instances) == 0 || a.Standby == nil {
		return nil
	}
	var group string
	if err := a.tell(ctx, func(w *world) { group = w.observed.Membership.Group }); err != nil {
		return err
	}
	var errs []error
	for _, id := range instances {
		a.Log.Warn("an instance was left in standby by an agent that is gone: it is brought back", zap.String("left", id))
		errs = append(errs, a.Standby.ExitStandby(ctx, group, id))
	}
	return errors.Join(errs...)
}

// keepMirror sets the label stable where a decision asks for it.
func (a *Agent) keepMirror(ctx context.Context, to rollout.ID) error {
	if to.IsZero() {
		return nil
	}
	end := a.phase("label", to)
	err := a.Parameters.Label(ctx, to.Number)
	if end(err); err != nil {
		return fmt.Errorf("label version %d of the release parameter stable: %w", to.Number, err)
	}
	return a.tell(ctx, func(w *world) { w.fleet.published.Mirror = rollout.Release{ID: to} }) // its revision comes with the next read
}

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

// watchFleet looks at the group while this agent leads.
func (a *Agent) watchFleet(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, write)
	defer cancel()
	var watch bool
	var name string
	var pause time.Duration
	if err := a.tell(ctx, func(w *world) {
		watch, name, pause = w.fleet.decision.Watch, w.observed.Membership.Group, a.pace(w).Look()
		watch = watch && w.placed
	}); err != nil {
		return 0, err
	}
	if !watch {
		return idle, nil
	}
	at := a.mono()
	var group model.ScalingGroup
	var targets []model.TargetHealth
	var err error
	if name != "" {
		if group, err = a.Lookout.Describe(ctx, name); err != nil {
			return 0, err
		}
	}
	groups := 0
	if a.Balancer != nil {
		if targets, err = a.Lookout.Targets(ctx); err != nil {
			return 0, err
		}
		groups = a.TargetGroups
	}
	return pause, a.tell(ctx, func(w *world) {
		if name == "" {
			w.fleet.group = a.standing(w, targets, groups, at)
		} else {
			w.fleet.group = rollout.Look(group, targets, groups, at)
		}
		a.nudge("records")
	})
}

// pace is how often this agent asks whom.
func (a *Agent) pace(w *world) Pace {
	d := w.fleet.decision
	slot := false
	if r := w.fleet.rollout; r != nil {
		p, ok := r.Parts[w.id.InstanceID]
		slot = ok && p.Open()
	}
	return Pace{Group: w.observed.Membership.Desired, Slot: slot || d.RunTask || w.fleet.tasking, Leads: d.Leads}
}
