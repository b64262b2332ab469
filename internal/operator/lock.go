package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// takeLock takes the lock for this deploy. One that another deploy holds is watched: it is taken over where nobody moves it for a
// lease, and where somebody does that one is under way.
func (o *Operator) takeLock(ctx context.Context) error {
	told := false
	var found rollout.Lock
	for {
		record, err := o.Store.Get(ctx, rollout.LockKey)
		if err != nil {
			return err
		}
		lock, err := rollout.DecodeLock(record)
		if err != nil {
			return err
		}
		if lock.Nonce == o.Nonce { // the answer to taking it was lost
			return nil
		}
		switch {
		case record.Attributes == nil:
		case !told:
			told, found = true, lock
			o.Screen.Say(fmt.Sprintf("%s holds the lock: it is watched for %s, and taken over if nobody moves it", named(lock.By), rollout.Lease))
		case lock != found:
			return refuse(Held, "%s deploys to %s just now and holds the lock: wait for it, then deploy again", named(lock.By), o.name())
		}
		changes := rollout.TakeLock(record, o.Nonce, o.By, o.still(rollout.LockKey, fmt.Sprint(lock)))
		if changes != nil {
			err := o.Store.Apply(ctx, changes...)
			if err == nil {
				return nil
			}
			if !errors.Is(err, rollout.ErrConflict) {
				return err
			}
			found, told = rollout.Lock{}, true // whoever was there first is alive
			continue
		}
		if err := o.Clock.Sleep(ctx, look); err != nil {
			return err
		}
	}
}

// giveLock gives the lock back, if it is this deploy's still; also where the context has ended.
func (o *Operator) giveLock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	_, err := o.change(ctx, "give the lock back", func() ([]rollout.Change, error) {
		record, err := o.Store.Get(ctx, rollout.LockKey)
		if err != nil {
			return nil, err
		}
		return rollout.GiveLock(record, o.Nonce), nil
	})
	if err != nil {
		return fmt.Errorf("the lock could not be given back; the next deploy takes it over after %s: %w", rollout.Lease, err)
	}
	return nil
}

// renewLock shows that this deploy lives, and says whether the lock still is its own. An answer that was lost shows at the next time.
func (o *Operator) renewLock(ctx context.Context) (mine bool, err error) {
	record, err := o.Store.Get(ctx, rollout.LockKey)
	if err != nil {
		return true, err
	}
	changes := rollout.RenewLock(record, o.Nonce)
	if changes == nil {
		return false, nil
	}
	if err := o.Store.Apply(ctx, changes...); err != nil && !errors.Is(err, rollout.ErrConflict) {
		return true, err
	}
	return true, nil
}

func named(by string) string {
	if by == "" {
		return "another deploy"
	}
	return by
}
