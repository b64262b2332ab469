package rolecreds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

const (
	// early is how long before their end keys are renewed. Botocore asks for new ones from 15 minutes before
	// the end, and while it gets the same it asks again at every call of the app; most other SDKs begin at
	// 5 minutes. It is also how long STS may be out of reach before the app notices.
	early = 20 * time.Minute
	// urgent is the life left from which on a request rather waits for new keys than takes the old ones.
	urgent = time.Minute
	// renewal bounds one call of Assume, which has a deadline of its own, of half a minute.
	renewal = time.Minute
	// After a failed renewal the next one is put off, for longer each time: an app may ask in a loop.
	shortestPause = time.Second
	longestPause  = 30 * time.Second
)

var errClosed = errors.New("the agent is ending: ask again in some seconds")

// keeper has the newest keys, and renews them when somebody asks for them and they are old.
type keeper struct {
	assume func(context.Context) (model.RoleCredentials, error)
	role   string
	log    *zap.Logger

	life    context.Context // of renewals, which outlive the request that wanted them
	end     context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	keys     model.RoleCredentials
	due      time.Time // when to renew them
	flight   *flight   // the renewal under way
	failures int       // in a row
	failed   error     // the last of them
	again    time.Time // not before
	closed   bool
}

// flight is a renewal. Its result may be read once done is closed.
type flight struct {
	done chan struct{}
	keys model.RoleCredentials
	err  error
}

func newKeeper(opts Options) *keeper {
	k := &keeper{assume: opts.Assume, role: opts.Role, log: opts.Log}
	k.life, k.end = context.WithCancel(context.Background())
	return k
}

// get gives keys that are good for a while, or says why there are none. Old ones are given while new ones are
// fetched; only who finds none waits, for as long as ctx says.
func (k *keeper) get(ctx context.Context) (model.RoleCredentials, error) {
	old, good, f, failed := k.look(time.Now())
	if good {
		return old, nil
	}
	if f != nil {
		select {
		case <-f.done:
			if f.err == nil {
				return f.keys, nil
			}
			failed = f.err
		case <-ctx.Done():
			if failed == nil {
				failed = fmt.Errorf("role %s: no answer from STS yet (%w)", k.role, ctx.Err())
			}
			failed = fmt.Errorf("%w; asking goes on: ask again in some seconds", failed)
		}
	}
	if time.Until(old.Expires) > 0 { // better than none
		return old, nil
	}
	return model.RoleCredentials{}, failed
}

// look gives the keys there are, whether they are good enough, and the renewal to wait for, if they are not.
func (k *keeper) look(now time.Time) (keys model.RoleCredentials, good bool, f *flight, failed error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	left := k.keys.Expires.Sub(now)
	if now.Before(k.due) && left > urgent {
		return k.keys, true, nil, nil
	}
	if k.flight == nil && !k.closed && !now.Before(k.again) {
		k.renew()
	}
	failed = k.failed
	if k.closed {
		failed = errClosed
	}
	return k.keys, left > urgent, k.flight, failed
}

// renew starts a renewal; the mutex is held.
func (k *keeper) renew() {
	f := &flight{done: make(chan struct{})}
	k.flight = f
	k.running.Go(func() {
		ctx, cancel := context.WithTimeout(k.life, renewal)
		defer cancel()
		f.keys, f.err = k.assume(ctx)
		if now := time.Now(); f.err == nil && !f.keys.Expires.After(now) {
			f.err = fmt.Errorf("role %s: STS gave keys that ended at %s, and it is %s here: is this machine's clock right?",
				k.role, f.keys.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		k.landed(f)
		close(f.done)
	})
}

// landed takes a renewal's result over.
func (k *keeper) landed(f *flight) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.flight = nil
	if f.err != nil {
		k.failed = f.err
		k.again = now.Add(min(longestPause, shortestPause<<min(k.failures, 10)))
		k.failures++
		if k.failures == 1 && !k.closed { // each further one is no news
			k.log.Warn("the role can't be assumed; it is tried again when the app asks",
				zap.String("role", k.role), zap.Time("keys_end", k.keys.Expires), zap.String("error", f.err.Error()))
		}
		return
	}
	life := f.keys.Expires.Sub(now)
	k.keys, k.due = f.keys, now.Add(max(life-early, life/2))
	k.log.Info("the role is assumed",
		zap.String("role", k.role), zap.Time("keys_end", f.keys.Expires), zap.Int("failures_before", k.failures))
	k.failures, k.failed, k.again = 0, nil, time.Time{}
}

// close ends a renewal under way, and waits for it. There are no new ones.
func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.end()
	k.running.Wait()
}
