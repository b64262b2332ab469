package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// shelf is a cache that takes what the test lets it.
type shelf struct {
	keep func(ctx context.Context, number int64) error
}

func (s shelf) Keep(ctx context.Context, number int64) error { return s.keep(ctx, number) }
func (s shelf) CacheProblem() error                          { return nil }
func (s shelf) Warm(context.Context)                         {}

// keeping runs the keeper of what was built, in synctest's time, and gives the numbers that were tried.
func keeping(t *testing.T, keep func(ctx context.Context, number int64) error, test func(a *Agent)) (tried []int64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Log: zap.NewNop(), Cache: shelf{func(ctx context.Context, number int64) error {
			tried = append(tried, number)
			return keep(ctx, number)
		}}})
		ctx, cancel := context.WithCancel(t.Context())
		a.goes(func() { a.keepBuilt(ctx) })
		test(a)
		cancel()
		a.wait.Wait()
	})
	return tried
}

func TestWhatIsInServiceIsKeptAndTriedOnceMore(t *testing.T) {
	t.Parallel()
	fails := 1
	tried := keeping(t, func(context.Context, int64) error {
		if fails--; fails >= 0 {
			return errors.New("the bucket is away")
		}
		return nil
	}, func(a *Agent) {
		a.keepLater(1)
		time.Sleep(time.Hour)
		a.keepLater(2)
		time.Sleep(time.Hour)
	})
	if !slices.Equal(tried, []int64{1, 1, 2}) {
		t.Errorf("tried: %v", tried)
	}
	tried = keeping(t, func(context.Context, int64) error { return errors.New("the bucket is away") }, func(a *Agent) {
		a.keepLater(1)
		time.Sleep(time.Hour)
	})
	if !slices.Equal(tried, []int64{1, 1}) {
		t.Errorf("tried again and again: %v", tried)
	}
}

func TestOfReleasesThatWaitToBeKeptTheNewestIs(t *testing.T) {
	t.Parallel()
	tried := keeping(t, func(context.Context, int64) error { time.Sleep(time.Minute); return nil }, func(a *Agent) {
		a.keepLater(1)
		synctest.Wait()
		for _, n := range []int64{2, 3, 4} {
			a.keepLater(n)
		}
		time.Sleep(time.Hour)
	})
	if !slices.Equal(tried, []int64{1, 4}) {
		t.Errorf("tried: %v", tried)
	}
}

func TestKeepingEndsWithTheAgent(t *testing.T) {
	t.Parallel()
	keeping(t, func(ctx context.Context, _ int64) error { <-ctx.Done(); return ctx.Err() }, func(a *Agent) {
		a.keepLater(1)
		synctest.Wait()
	})
}
