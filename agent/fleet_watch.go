package agent

import (
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
	wrote, err := a.apply(ctx, d.Writes)
	if errors.Is(err, rollout.ErrConflict) {
		return rand.N(contended), nil
	}
	a.post(ctx, func(w *world) { a.problem(w, "table writes", err) })
	switch kept := a.chores(ctx, d); {
	case err != nil: // who leads, or has a slot, must not be silent for long
		return min(pause, rollout.Renew/2), nil
	case wrote, len(d.Read) > 0:
		return 0, nil
	case !kept:
		return min(pause, choresPause), nil
	}
	return pause, nil
}

// choresPause is how long what could not be done beside the rollout waits until it is tried again.
const choresPause = 30 * time.Second

// chores keeps the mirror, and brings back what others left in standby. Where that fails it is told, and stands in no rollout's way; it
// says whether nothing is left to do.
func (a *Agent) chores(ctx context.Context, d rollout.Decision) (kept bool) {
	var group string
	now, due := a.mono(), false
	wanted := !d.Mirror.IsZero() || len(d.Restore) > 0
	if err := a.tell(ctx, func(w *world) {
		if group, due = w.observed.Membership.Group, now >= w.fleet.chores; !wanted {
			a.problem(w, "label", nil)
		}
	}); err != nil || !wanted || !due {
		return !wanted
	}
	failed := errors.Join(a.keepMirror(ctx, d.Mirror), a.restore(ctx, group, d.Restore))
	a.post(ctx, func(w *world) {
		a.problem(w, "label", failed)
		if failed != nil {
			w.fleet.chores = now + choresPause
		} else if !d.Mirror.IsZero() {
			w.fleet.published.Mirror = rollout.Release{ID: d.Mirror.ID} // its revision comes with the next read
		}
	})
	return failed == nil
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
func (a *Agent) restore(ctx context.Context, group string, instances []string) error {
	if a.Standby == nil {
		return nil
	}
	var errs []error
	for _, id := range instances {
		a.Log.Warn("an instance was left in standby by an agent that is gone: it is brought back", zap.String("left", id))
		errs = append(errs, a.Standby.ExitStandby(ctx, group, id))
	}
	return errors.Join(errs...)
}

// keepMirror sets the label stable where a decision asks for it, unless the version with that number is another one's: who boots from the
// label would boot something that was never stable.
func (a *Agent) keepMirror(ctx context.Context, to rollout.Release) error {
	if to.IsZero() {
		return nil
	}
	end := a.phase("label", to.ID)
	err := a.label(ctx, to)
	if end(err); err != nil {
		return fmt.Errorf("label version %d of the release parameter stable: %w", to.Number, err)
	}
	return nil
}

func (a *Agent) label(ctx context.Context, to rollout.Release) error {
	history, err := a.Parameters.History(ctx, 0)
	if err != nil {
		return err
	}
	for _, v := range history {
		if v.Number != to.Number {
			continue
		}
		if intent, err := a.intent(v); err != nil || !intent.Names(to) {
			return fmt.Errorf("it is not the release that is stable (%s): the parameter was deleted and made anew; the next release that succeeds gets the label", to)
		}
	}
	return a.Parameters.Label(ctx, to.Number)
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
