package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// watch follows a release that was put to its end. It keeps the lock until an agent has consumed it.
func (o *Operator) watch(ctx context.Context, release rollout.Release, w wish) (Result, error) {
	var (
		result  = Result{Release: release, Outcome: rollout.OutcomeOpen}
		began   = o.Clock.Now()
		renewed = began
		sighted = began // when the records were read last
		pace    pace
	)
	for {
		came, r, err := o.seen(ctx, release.ID)
		switch {
		case err != nil && ctx.Err() == nil:
			if isConfiguration(err) || o.Clock.Now()-sighted > blindness {
				return result, fmt.Errorf("%s goes on, and can't be watched any more (bootagent status): %w", release.ID, err)
			}
			o.Screen.Show([]string{fmt.Sprintf("%s goes on, and can't be seen just now: %v", release.ID, err)})
		case err != nil: // told below
		default:
			sighted = o.Clock.Now()
		}
		result.Outcome, result.Cause = orText(came.What, result.Outcome), came.Cause
		if r != nil && r.Release.ID == release.ID {
			result.Failure = r.Failure
		}
		switch {
		case err != nil:
		case came.What == "":
			if ended, err := o.unopened(ctx, release, w, o.Clock.Now()-began); ended || err != nil {
				return result, err
			}
			if o.Clock.Now()-renewed >= rollout.Renew {
				renewed = o.Clock.Now()
				if _, err := o.renewLock(ctx); err != nil && ctx.Err() == nil && isConfiguration(err) {
					return result, err
				}
			}
		case came.What != rollout.OutcomeOpen:
			return result, o.ended(ctx, result, r)
		case w.NoWait:
			o.Screen.Say(fmt.Sprintf("%s is being rolled out; bootagent status shows how far it is, bootagent abort ends it", release.ID))
			return result, nil
		case r != nil && r.Release.ID == release.ID:
			p := o.progress(ctx, r, &pace)
			o.Screen.Show(p.Lines())
			if r.State.Status == rollout.Paused {
				result.Outcome, result.Cause = string(rollout.Paused), r.State.Cause
				return result, o.paused(r)
			}
			if err := o.leaderless(ctx, r); err != nil {
				return result, err
			}
		}
		if err := o.Clock.Sleep(ctx, look); err != nil {
			return result, refuse(Failed, "interrupted: %s goes on by itself; bootagent status shows how far it is, bootagent abort ends it", release.ID)
		}
	}
}

// seen reads what became of a release, and the rollout record.
func (o *Operator) seen(ctx context.Context, id rollout.ID) (rollout.Outcome, *rollout.Rollout, error) {
	record, err := o.Store.Get(ctx, rollout.RolloutKey)
	if err != nil {
		return rollout.Outcome{}, nil, err
	}
	r, err := rollout.DecodeRollout(record)
	if err != nil {
		return rollout.Outcome{}, nil, err
	}
	came, err := o.outcome(ctx, id)
	return came, r, err
}

// unopened waits for an agent that opens the record, and says whether there is nothing more to wait for.
func (o *Operator) unopened(ctx context.Context, release rollout.Release, w wish, waited time.Duration) (bool, error) {
	h, err := o.health(ctx, lookAtGroup)
	switch {
	case err == nil && h.empty():
		o.Screen.Say(fmt.Sprintf("the group %s has no instances: the first that boots opens %s, unless another is deployed before", h.Name, release.ID))
		return true, nil
	case w.NoWait && waited >= rollout.Lease:
		o.Screen.Say(fmt.Sprintf("no agent has opened %s within %s; the first that reads the parameter will, unless another is deployed before (bootagent status)", release.ID, rollout.Lease))
		return true, nil
	case waited >= openPatience:
		return true, refuse(Failed, "no agent has opened %s within %s: do the agents run, and do their logs say why not (bootagent status on an instance)? It stays the newest version, and the first that can opens it",
			release.ID, openPatience)
	}
	o.Screen.Show([]string{fmt.Sprintf("%s is put, and waits for an agent that opens it", release.ID)})
	return false, nil
}

// ended says how a release ended.
func (o *Operator) ended(ctx context.Context, result Result, r *rollout.Rollout) error {
	say := because("%s", sentence(result))
	switch result.Outcome {
	case string(rollout.Succeeded):
		o.Screen.Say(sentence(result))
		return nil
	case string(rollout.RolledBack):
		return refuse(RolledBack, "%s", say(result.Cause))
	case rollout.OutcomeRefused:
		kind := Failed
		lock, err := o.Store.Get(ctx, rollout.LockKey)
		if r != nil && r.State.Live() || err == nil && lock.Attributes != nil { // somebody else was quicker
			kind = Held
		}
		return refuse(kind, "%s", say(result.Cause))
	}
	return refuse(Failed, "%s", say(result.Cause))
}

// sentence says what became of a release.
func sentence(r Result) string {
	switch r.Outcome {
	case string(rollout.Succeeded):
		return fmt.Sprintf("%s is stable: the whole fleet has it", r.Release)
	case string(rollout.RolledBack):
		return fmt.Sprintf("%s was rolled back, and the fleet serves what it did before", r.Release)
	case string(rollout.Aborted):
		return fmt.Sprintf("%s was aborted", r.Release)
	case rollout.OutcomeSuperseded:
		return fmt.Sprintf("%s was superseded by another release", r.Release)
	case rollout.OutcomeRefused:
		return fmt.Sprintf("the agents refused %s", r.Release)
	}
	return fmt.Sprintf("%s failed", r.Release)
}

// paused says why a rollout waits, and how it goes on. One that only waits to be promoted has done what was asked.
func (o *Operator) paused(r *rollout.Rollout) error {
	if r.State.Baked && r.Policy.Promote == rollout.Manual {
		o.Screen.Say(fmt.Sprintf("%s serves everywhere and has baked: bootagent promote makes it stable, bootagent abort goes back", r.Release))
		return nil
	}
	cause := orText(r.State.Cause, "an operator asked for it")
	if r.State.By != "" {
		cause += " (" + r.State.By + ")"
	}
	return refuse(Failed, "%s is paused: %s; go on with bootagent resume, back with bootagent abort, or deploy a fix with --force", r.Release, cause)
}

// leaderless says that nobody leads a rollout, and ends one on a group without instances.
func (o *Operator) leaderless(ctx context.Context, r *rollout.Rollout) error {
	silent := o.still("lease", leaseOf(r))
	if silent < 2*rollout.Lease {
		return nil
	}
	if ended, err := o.endIfOrphan(ctx); err != nil || ended {
		return err
	}
	hint := "do the agents run?"
	if !o.group.is.Known {
		hint = "do the agents run? Where the group has no instances any more, --group with its name lets this command end the rollout"
	}
	if silent >= openPatience {
		return refuse(Failed, "nobody has led %s for %s, so it stands still; it goes on as soon as an agent runs: %s", r.Release.ID, openPatience, hint)
	}
	o.warnOnce(fmt.Sprintf("warning: nobody has led %s for %s: %s", r.Release.ID, silent.Round(time.Second), hint))
	return nil
}

func leaseOf(r *rollout.Rollout) string {
	return fmt.Sprint(r.Release.ID, r.Lead.By, r.Lead.Term, r.Lead.Counter, r.State.Serial)
}

func (o *Operator) warnOnce(line string) {
	if o.still("warned/"+line[:min(len(line), 40)], "") == 0 {
		o.Screen.Say(line)
	}
}

// endOrphan ends the rollout that is under way where nobody is there to carry it out: the group has no instances, and its lease was watched
// until it was dead. Otherwise it leaves it alone.
func (o *Operator) endOrphan(ctx context.Context) error {
	h, err := o.health(ctx, lookAtGroup)
	if err != nil || !h.empty() {
		return err
	}
	o.Screen.Say(fmt.Sprintf("a rollout is under way on the group %s, which has no instances: its lease is watched for %s", h.Name, rollout.Lease))
	for {
		r, err := o.read(ctx)
		if err != nil || r.live() == nil {
			return err
		}
		silent := o.still("lease", leaseOf(r.rollout))
		if silent >= rollout.Lease || r.rollout.Lead.By == "" {
			if _, err := o.endIfOrphan(ctx); err != nil {
				return err
			}
		}
		if h, err := o.health(ctx, lookAtGroup); err != nil || !h.empty() {
			return err
		}
		if err := o.Clock.Sleep(ctx, look); err != nil {
			return err
		}
	}
}

// endIfOrphan ends the rollout if the group, looked at just now, has no instances, and says whether it did.
func (o *Operator) endIfOrphan(ctx context.Context) (bool, error) {
	h, err := o.health(ctx, 0)
	if err != nil || !h.empty() {
		return false, err
	}
	ended, err := o.change(ctx, "end the rollout", func() ([]rollout.Change, error) {
		r, err := o.read(ctx)
		if err != nil || r.live() == nil {
			return nil, err
		}
		changes, err := rollout.EndOrphan(r.rollout, h.asGroup(o.Clock.Now()), o.still("lease", leaseOf(r.rollout)), o.By)
		if err != nil { // somebody has come back meanwhile
			return nil, errAlive
		}
		return changes, nil
	})
	if errors.Is(err, errAlive) {
		return false, nil
	}
	if ended {
		o.Screen.Say("the rollout was ended: the group has no instances")
	}
	return ended, err
}

var errAlive = errors.New("somebody carries the rollout out")

func orText(one, other string) string {
	if one == "" {
		return other
	}
	return one
}
