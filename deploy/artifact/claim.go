package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"
)

// Claims is where an instance says that it builds, so that the others wait for what it makes: the fleet's records.
type Claims interface {
	// Claim gives what stands there of a key; the zero value where nothing does.
	Claim(ctx context.Context, key string) (Claim, error)
	// Swap replaces what was there, which must be as it was read: else it is an fs.ErrExist. The zero value takes it away.
	Swap(ctx context.Context, key string, was, is Claim) error
}

// Claim is an instance's word that it builds a key's artifact.
type Claim struct {
	Instance string
	Serial   int // grows with each time it says so again: one that stands still is a dead one's
	// Useless is why there will be no artifact, "" while there may be one: nobody waits for it then.
	Useless string
}

// Patience is how a claim is kept, and waited for. What is zero is as it says there.
type Patience struct {
	Renew time.Duration // between two words of who builds: 15 s
	// Dead is after how long without a word its claim is anybody's: 75 s, for between its build and its upload it starts the release, and has
	// it found healthy, and says nothing.
	Dead time.Duration
	Look time.Duration // between two looks of who waits, on the average: 3 s. A look is one small read of the table
	// Most is how long anybody waits altogether, before building all the same: 5 min.
	Most time.Duration
}

func (p Patience) withDefaults() Patience {
	or := func(d, usual time.Duration) time.Duration {
		if d == 0 {
			return usual
		}
		return d
	}
	return Patience{or(p.Renew, 15*time.Second), or(p.Dead, 75*time.Second), or(p.Look, 3*time.Second), or(p.Most, 5*time.Minute)}
}

// Turn is for who found nothing: it says who builds. Either this instance does, which is an ErrMiss, or another one: then waiting is told of
// that once, and it gives what was made. It may wait for as long as Patience says; what goes wrong with claims, or takes longer, is an
// ErrMiss as well, and told in its text.
func (c *Cache) Turn(ctx context.Context, w Wanted, waiting func(instance string)) (Found, error) {
	if c.Claims == nil {
		return Found{}, ErrMiss
	}
	key := w.Inputs.Key(w.Revision)
	began := c.Now()
	last := sight{since: began}
	for waited := false; ; waited = true {
		var err error
		if last, err = c.look(ctx, key, last); err != nil {
			return Found{}, fmt.Errorf("%w, and whether another instance builds one is not known: %w", ErrMiss, err)
		}
		claim, busy := last.claim, c.busy(last)
		switch {
		case claim.Useless != "":
			return Found{}, fmt.Errorf("%w, and there will be none: %s", ErrMiss, claim.Useless)
		case !busy && waited: // who had it may be done
			if found, err := c.Find(ctx, w); !errors.Is(err, ErrMiss) {
				return found, err
			}
		case busy && c.Now().Sub(began) >= c.Patience.Most:
			return Found{}, fmt.Errorf("%w yet: %s has been at it for longer than %s", ErrMiss, claim.Instance, c.Patience.Most)
		}
		if !busy {
			if err := c.Claims.Swap(ctx, key, claim, Claim{Instance: c.Instance, Serial: claim.Serial + 1}); !isTaken(err) {
				return Found{}, missing(err)
			}
			continue // somebody else was first
		}
		waiting(claim.Instance)
		waiting = func(string) {}
		if err := pause(ctx, c.Patience.Look*4/5+rand.N(c.Patience.Look*2/5+1)); err != nil {
			return Found{}, err
		}
	}
}

// sight is what was last read of a claim, and since when it has stood like that.
type sight struct {
	claim Claim
	since time.Time
}

// busy says whether another instance is at work, for all that is known.
func (c *Cache) busy(s sight) bool {
	return s.claim != (Claim{}) && s.claim.Instance != c.Instance && c.Now().Sub(s.since) < c.Patience.Dead
}

// look reads a claim. A look that fails tells nothing new of another instance that was at work: if it ended the wait, a fleet would build all
// at once where a table is short of breath.
func (c *Cache) look(ctx context.Context, key string, last sight) (sight, error) {
	claim, err := c.Claims.Claim(ctx, key)
	switch {
	case err != nil && (ctx.Err() != nil || !c.busy(last)):
		return last, err
	case err != nil || claim == last.claim:
		return last, nil
	}
	return sight{claim, c.Now()}, nil
}

// missing is a miss, and what went wrong beside it.
func missing(err error) error {
	if err == nil {
		return ErrMiss
	}
	return fmt.Errorf("%w, and that it is built here can't be said: %w", ErrMiss, err)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Claimed does what this instance has the claim for, and says so again and again meanwhile.
func (c *Cache) Claimed(ctx context.Context, w Wanted, do func() error) error {
	if c.Claims == nil {
		return do()
	}
	renewing, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.renew(renewing, w.Inputs.Key(w.Revision))
	}()
	defer func() {
		stop()
		<-ended
	}()
	return do()
}

// renew says again and again that this instance is at work on a key, for as long as the claim is its own.
func (c *Cache) renew(ctx context.Context, key string) {
	for {
		claim, err := c.Claims.Claim(ctx, key)
		if err == nil {
			if claim.Instance != c.Instance {
				return
			}
			more := claim
			more.Serial++
			err = c.Claims.Swap(ctx, key, claim, more)
		}
		if isTaken(err) || pause(ctx, c.Patience.Renew) != nil {
			return
		}
	}
}

// Release ends this instance's claim: there is an artifact, or there will be none of its making. Useless says why there can't be any, so that
// nobody else waits for one; nil where the next may try. A claim of another instance stays.
func (c *Cache) Release(ctx context.Context, w Wanted, useless error) error {
	if c.Claims == nil {
		return nil
	}
	key := w.Inputs.Key(w.Revision)
	claim, err := c.Claims.Claim(ctx, key)
	if err != nil || claim.Instance != c.Instance {
		return err
	}
	var is Claim
	if useless != nil {
		is = Claim{Instance: c.Instance, Serial: claim.Serial + 1, Useless: useless.Error()}
	}
	if err := c.Claims.Swap(ctx, key, claim, is); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("end the claim on an artifact: %w", err)
	}
	return nil
}
