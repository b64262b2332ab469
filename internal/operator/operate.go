package operator

import (
	"context"
	"fmt"

	"github.com/bootagent/bootagent/rollout"
)

// Ask is what a person asks of a rollout that is under way.
type Ask struct {
	Message string
	NoWait  bool
}

// Pause holds the rollout that is under way.
func (o *Operator) Pause(ctx context.Context, a Ask) error {
	return o.operate(ctx, "pause", func(r records) ([]rollout.Change, error) { return rollout.PauseRollout(r.rollout, o.By, a.Message) },
		func(r records) string {
			if live := r.live(); live != nil {
				return fmt.Sprintf("%s is paused: no instance begins to switch any more; bootagent resume lets it go on, bootagent abort goes back", live.Release.ID)
			}
			return o.nothing(r)
		})
}

// Resume lets a paused rollout go on, with a fresh failure budget.
func (o *Operator) Resume(ctx context.Context) error {
	return o.operate(ctx, "resume", func(r records) ([]rollout.Change, error) { return rollout.ResumeRollout(r.rollout, o.By) },
		func(r records) string {
			if live := r.live(); live != nil {
				return fmt.Sprintf("%s goes on (%s)", live.Release.ID, live.State.Status)
			}
			return o.nothing(r)
		})
}

// Promote makes a release stable that has baked and waits for that, or lets it become so as soon as it has.
func (o *Operator) Promote(ctx context.Context) error {
	return o.operate(ctx, "promote", func(r records) ([]rollout.Change, error) { return rollout.PromoteRollout(r.rollout, o.By) },
		func(r records) string {
			switch live := r.live(); {
			case live == nil:
				return o.nothing(r)
			case live.State.Status == rollout.RollingBack:
				return fmt.Sprintf("%s is on its way back to %s: nothing to do", live.Release.ID, r.stable.Release)
			case live.Policy.Promote == rollout.Auto:
				return fmt.Sprintf("%s becomes stable by itself once it has baked (%s)", live.Release.ID, live.State.Status)
			case live.State.Baked:
				return fmt.Sprintf("%s becomes stable now", live.Release.ID)
			default:
				return fmt.Sprintf("%s becomes stable as soon as it has baked (%s)", live.Release.ID, live.State.Status)
			}
		})
}

// operate makes one change of the rollout that is under way, and says how it is then. Where there is nothing to change it is as it was.
func (o *Operator) operate(ctx context.Context, command string, decide func(records) ([]rollout.Change, error), then func(records) string) error {
	if err := o.needsRecords(command); err != nil {
		return err
	}
	_, err := o.change(ctx, command, func() ([]rollout.Change, error) {
		r, err := o.read(ctx)
		if err != nil {
			return nil, err
		}
		return decide(r)
	})
	if err != nil {
		return settle(err)
	}
	r, err := o.read(ctx)
	if err != nil {
		return settle(err)
	}
	o.Screen.Say(then(r))
	return nil
}

func (o *Operator) nothing(r records) string {
	if r.stable.Release.IsZero() {
		return "no rollout is under way: nothing to do"
	}
	return fmt.Sprintf("no rollout is under way: nothing to do; %s is stable", r.stable.Release)
}

// Abort ends the rollout that is under way by bringing the fleet back to stable, and watches that.
func (o *Operator) Abort(ctx context.Context, a Ask) (Result, error) {
	if err := o.needsRecords("abort"); err != nil {
		return Result{}, err
	}
	var live *rollout.Rollout
	var stable rollout.Release
	asked, err := o.change(ctx, "abort", func() ([]rollout.Change, error) {
		r, err := o.read(ctx)
		if err != nil {
			return nil, err
		}
		live, stable = r.live(), r.stable.Release
		return rollout.AbortRollout(r.rollout, r.stable, o.By, a.Message)
	})
	switch {
	case err != nil:
		return Result{}, settle(err)
	case live == nil:
		o.Screen.Say("no rollout is under way: nothing to do")
		return Result{Release: stable}, nil
	case asked && !stable.IsZero():
		o.Screen.Say(fmt.Sprintf("%s is aborted: the fleet goes back to %s", live.Release.ID, stable))
	case !asked:
		o.Screen.Say(fmt.Sprintf("%s is on its way back to %s already", live.Release.ID, stable))
	}
	result := Result{Release: live.Release, Outcome: rollout.OutcomeOpen}
	if a.NoWait {
		return result, nil
	}
	result, err = o.watchBack(ctx, live.Release)
	return result, settle(err)
}

// watchBack waits until a rollout that was aborted has ended.
func (o *Operator) watchBack(ctx context.Context, release rollout.Release) (Result, error) {
	result := Result{Release: release, Outcome: rollout.OutcomeOpen}
	sighted, pace := o.Clock.Now(), pace{}
	for {
		came, r, err := o.seen(ctx, release.ID)
		switch {
		case err != nil && ctx.Err() == nil:
			if isConfiguration(err) || o.Clock.Now()-sighted > blindness {
				return result, fmt.Errorf("%s goes on, and can't be watched any more (bootagent status): %w", release.ID, err)
			}
		case err != nil:
		case came.What == string(rollout.Aborted), came.What == string(rollout.RolledBack):
			result.Outcome, result.Cause = came.What, came.Cause
			o.Screen.Say(sentence(result))
			return result, nil
		case came.What != "" && came.What != rollout.OutcomeOpen:
			result.Outcome, result.Cause = came.What, came.Cause
			return result, refuse(Failed, "%s", because("%s", sentence(result))(came.Cause))
		case r != nil && r.Release.ID == release.ID:
			sighted = o.Clock.Now()
			o.Screen.Show(o.progress(ctx, r, &pace).Lines())
			if err := o.leaderless(ctx, r); err != nil {
				return result, err
			}
		}
		if err := o.Clock.Sleep(ctx, look); err != nil {
			return result, refuse(Failed, "interrupted: the return of %s goes on by itself (bootagent status)", release.ID)
		}
	}
}

// Freeze lets nobody deploy from now on. Rollouts that are under way, abort and rollback pass.
func (o *Operator) Freeze(ctx context.Context, a Ask) error {
	if err := o.needsRecords("freeze"); err != nil {
		return err
	}
	var before rollout.Record
	froze, err := o.change(ctx, "freeze", func() (_ []rollout.Change, err error) {
		if before, err = o.Store.Get(ctx, rollout.FreezeKey); err != nil {
			return nil, err
		}
		return rollout.FreezeDeploys(before, o.By, a.Message), nil
	})
	switch {
	case err != nil:
		return settle(err)
	case froze:
		o.Screen.Say(fmt.Sprintf("nobody deploys to %s now; bootagent unfreeze ends that", o.name()))
	default:
		o.Screen.Say(because("nothing to do: %s froze %s already", named(worded(before, "by")), o.name())(worded(before, "message")))
	}
	return nil
}

// Unfreeze takes that back.
func (o *Operator) Unfreeze(ctx context.Context) error {
	if err := o.needsRecords("unfreeze"); err != nil {
		return err
	}
	thawed, err := o.change(ctx, "unfreeze", func() ([]rollout.Change, error) {
		now, err := o.Store.Get(ctx, rollout.FreezeKey)
		if err != nil {
			return nil, err
		}
		return rollout.UnfreezeDeploys(now), nil
	})
	switch {
	case err != nil:
		return settle(err)
	case thawed:
		o.Screen.Say(fmt.Sprintf("%s can be deployed to again", o.name()))
	default:
		o.Screen.Say(fmt.Sprintf("nothing to do: %s is not frozen", o.name()))
	}
	return nil
}
