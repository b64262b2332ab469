package rollout

import (
	"fmt"
	"time"
)

// What operators ask of a rollout. Each gives the change that does it, none where there is nothing to do, or a sentence that says why
// it can't be done. The change expects the state as it was read; where that is over the records are to be read again.

// PauseRollout holds a rollout: no slot is granted any more. Slots that are out are used.
func PauseRollout(r *Rollout, by, message string) ([]Change, error) {
	if r == nil || !r.State.Live() || r.State.Status == Paused {
		return nil, nil
	}
	if r.State.Status == RollingBack {
		return nil, fmt.Errorf("%s is on its way back to stable, which can't be paused: wait until it has ended", r.Release.ID)
	}
	state := r.State
	state.Was, state.Status, state.By, state.Cause = state.Status, Paused, by, message
	return r.changeState(state), nil
}

// ResumeRollout lets a paused rollout go on, with a fresh failure budget; instances that failed are tried again. A release task whose result
// is unknown, or that failed, counts as done: it is never run twice.
func ResumeRollout(r *Rollout, by string) ([]Change, error) {
	if r == nil || r.State.Status != Paused {
		return nil, nil
	}
	state := r.State
	state.Status, state.Was, state.By, state.Cause = orStatus(state.Was, Pending), "", by, ""
	state.Forgiven, state.Round, state.Bad, state.Baked = r.Failures, state.Round+1, false, false
	changes := r.changeState(state)
	changes[0].Expect["failures"] = r.text["failures"]
	if r.Task.State == TaskUnknown || r.Task.State == TaskFailed {
		task := r.Task
		task.State = TaskDone
		changes[0].Expect["task"], changes[0].Set["task"] = r.text["task"], text(task)
	}
	return changes, nil
}

// PromoteRollout says that stable may move. Where that is what a rollout waits for it moves at once; where it has not baked
// yet it won't wait for it then.
func PromoteRollout(r *Rollout, by string) ([]Change, error) {
	switch {
	case r == nil || !r.State.Live() || r.State.Approved || r.Policy.Promote == Auto && r.State.Status != Paused:
		return nil, nil
	case r.State.Status == RollingBack:
		return nil, fmt.Errorf("%s is on its way back to stable: deploy it again", r.Release.ID)
	case r.State.Status == Paused && !r.State.Baked:
		return nil, fmt.Errorf("%s is paused before all instances have taken it, and stable moves only after that: resume it (it is paused because %s)",
			r.Release.ID, orText(r.State.Cause, "an operator asked for it"))
	}
	state := r.State
	state.Approved, state.By = true, by
	if state.Status == Paused {
		state.Status, state.Was, state.Cause = Baking, "", ""
	}
	return r.changeState(state), nil
}

// AbortRollout ends a rollout by bringing the fleet back to stable.
func AbortRollout(r *Rollout, stable Stable, by, message string) ([]Change, error) {
	if r == nil || !r.State.Live() || r.State.Status == RollingBack {
		return nil, nil
	}
	state := r.State
	state.By, state.Cause, state.Was = by, orText(message, "aborted by "+by), ""
	if stable.Release.IsZero() { // there is nothing to go back to
		state.Status = Aborted
		return append(r.changeState(state), outcome(r.Release, string(Aborted), state.Cause)), nil
	}
	state.Status, state.Ends = RollingBack, Aborted
	return r.changeState(state), nil
}

// EndOrphan ends a rollout that nobody leads, on a group without members: a fleet of zero must not block the next deploy. Silent is
// for how long the caller has seen the lease as it is, on its own monotonic clock.
func EndOrphan(r *Rollout, group Group, silent time.Duration, by string) ([]Change, error) {
	switch {
	case r == nil || !r.State.Live():
		return nil, nil
	case !group.Known || len(group.Members) > 0:
		return nil, fmt.Errorf("%s has instances that carry it out", r.Release.ID)
	case r.Lead.By != "" && silent < Lease:
		return nil, fmt.Errorf("%s led %s not long ago: it is watched for %s", r.Lead.By, r.Release.ID, Lease)
	}
	state := r.State
	state.Status, state.By, state.Cause = Aborted, by, "the group has no instances"
	changes := append(r.changeState(state), outcome(r.Release, string(Aborted), state.Cause))
	changes[0].Expect["lease"] = r.text["lease"]
	return changes, nil
}

// FreezeDeploys lets nobody deploy from now on.
func FreezeDeploys(now Record, by, message string) []Change {
	if now.Attributes != nil {
		return nil
	}
	return []Change{{Key: FreezeKey, New: true, Set: map[string]string{"schema": text(Schema), "by": text(by), "message": text(message)}}}
}

// UnfreezeDeploys takes that back.
func UnfreezeDeploys(now Record) []Change {
	if now.Attributes == nil {
		return nil
	}
	return []Change{{Key: FreezeKey, Delete: true, Expect: expect(now.Attributes, "by")}}
}

// TakeLock takes the lock for a deploy, or gives nil while another has it. Silent is for how long the caller has seen that one's
// lock as it is, on its own monotonic clock.
func TakeLock(now Record, nonce, by string, silent time.Duration) []Change {
	set := map[string]string{"schema": text(Schema), "nonce": text(nonce), "by": text(by), "counter": "0"}
	switch {
	case now.Attributes == nil:
		return []Change{{Key: LockKey, New: true, Set: set}}
	case silent >= Lease:
		return []Change{{Key: LockKey, Expect: expect(now.Attributes, "nonce", "counter"), Set: set}}
	}
	return nil
}

// RenewLock shows that the lock's holder lives.
func RenewLock(now Record, nonce string) []Change {
	lock, err := DecodeLock(now)
	if err != nil || lock.Nonce != nonce {
		return nil
	}
	return []Change{{Key: LockKey, Expect: expect(now.Attributes, "nonce", "counter"), Set: map[string]string{"counter": text(lock.Counter + 1)}}}
}

// GiveLock gives the lock back, if it still is the one with that nonce.
func GiveLock(now Record, nonce string) []Change {
	lock, err := DecodeLock(now)
	if err != nil || lock.Nonce != nonce {
		return nil
	}
	return []Change{{Key: LockKey, Delete: true, Expect: expect(now.Attributes, "nonce")}}
}

func (r *Rollout) changeState(state State) []Change {
	state.Serial = r.State.Serial + 1
	return []Change{{Key: RolloutKey, Expect: expect(r.text, "schema", "release", "state"), Set: map[string]string{"state": text(state)}}}
}

func orStatus(one, other Status) Status {
	if one == "" {
		return other
	}
	return one
}
