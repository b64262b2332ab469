package deploy

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/releases"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
)

// releasing is how long it may take to say that this instance does not build any more. Where that fails the others find out by its silence.
const releasing = 10 * time.Second

// builder waits for another instance that builds the same, and gives what it made; or it is this one's turn, which is an ErrMiss.
func (m *Machine) builder(ctx context.Context, rel model.Release, wanted artifact.Wanted, spans *timeline.Spans) (artifact.Found, error) {
	end := func(error) {}
	found, err := m.Cache.Turn(ctx, wanted, func(instance string) {
		end = m.phase("wait", rel, spans, zap.String("builds_it", instance))
	})
	end(err)
	return found, err
}

// makeForAll fetches and builds, and lets the others know that it goes on.
func (m *Machine) makeForAll(ctx context.Context, rel model.Release, attempt *releases.Attempt, spans *timeline.Spans) (c made, err error) {
	if m.Cache == nil {
		return m.make(ctx, rel, attempt, spans)
	}
	wanted, err := m.wanted(rel, attempt.App())
	if err != nil {
		return m.make(ctx, rel, attempt, spans) // the cache has told of it
	}
	err = m.Cache.Claimed(ctx, wanted, func() (err error) {
		c, err = m.make(ctx, rel, attempt, spans)
		return err
	})
	if err != nil {
		m.release(ctx, wanted, nil)
	}
	return c, err
}

// handOver puts what was built here into the cache, and lets go of the claim: where that can't be done nobody has to wait for it.
func (m *Machine) handOver(ctx context.Context, wanted artifact.Wanted, put func() error) error {
	err := m.Cache.Claimed(ctx, wanted, put)
	if ctx.Err() == nil { // else the next start of the agent goes on with it
		m.release(ctx, wanted, err)
	}
	return err
}

func (m *Machine) release(ctx context.Context, wanted artifact.Wanted, useless error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasing)
	defer cancel()
	if err := m.Cache.Release(ctx, wanted, useless); err != nil {
		m.log.Warn("that this instance builds no more could not be said: others may wait for it a while", zap.Error(err))
	}
}
