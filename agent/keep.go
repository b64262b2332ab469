package agent

import (
	"context"
	"time"
)

// keepAgain is when a release that could not be put into the cache is tried once more, and for the last time: another instance will.
const keepAgain = time.Minute

// keepLater has a release that is in service now put into the cache, in place of one that still waits for it.
func (a *Agent) keepLater(number int64) {
	for {
		select {
		case a.built <- number:
			return
		default:
		}
		select {
		case <-a.built:
		default:
		}
	}
}

// keepBuilt puts releases into the cache, one after the other, until ctx ends. What goes wrong is a problem that status tells, and nobody's
// failure.
func (a *Agent) keepBuilt(ctx context.Context) {
	for {
		var number int64
		select {
		case <-ctx.Done():
			return
		case number = <-a.built:
		}
		if a.Cache.Keep(ctx, number) == nil {
			continue
		}
		timer := time.NewTimer(keepAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			_ = a.Cache.Keep(ctx, number) // the problem stays until the next release is kept, or fetched
		}
	}
}
