package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/rollout"
)

// activity is a step in flight.
type activity struct {
	step   Step
	since  time.Time
	cancel context.CancelFunc
	// attempt is the fleet's at the goal as the step began.
	attempt rollout.Attempt
}

// reconcile lets exactly the planned steps be in flight: those that are not
// planned any more are cancelled, those that are new are begun, after what
// must survive them is on disk.
func (a *Agent) reconcile(ctx context.Context, w *world, steps []Step) {
	for step, act := range w.doing {
		if !slices.Contains(steps, step) && !w.landing(step, steps) {
			act.cancel()
		}
	}
	for _, step := range steps {
		if _, inFlight := w.doing[step]; inFlight || w.ending(step, steps) {
			continue
		}
		if a.stalled(w, step) {
			continue
		}
		if a.remember(w, w.memory.Before(step)) || w.vital(step) {
			a.begin(ctx, w, step)
		}
	}
}

// landing says whether what a step is for can be seen already, a moment before the step ends: a process that is just
// being started. To cancel it would take that back, and the next turn would begin again.
func (w *world) landing(step Step, planned []Step) bool {
	start, ok := step.(Start)
	if !ok {
		return false
	}
	u, there := w.observed.unit(start.Release, start.Process)
	return there && u.State == unit.Running && u.Port == start.Port &&
		!slices.ContainsFunc(planned, func(s Step) bool { stop, ok := s.(Stop); return ok && stop.Unit == u.Name })
}

// ending says whether a step that is not planned any more, of the same
// release or port, is still in flight: its effect may yet come, and what is to
// be done next is only known once it is remembered.
func (w *world) ending(next Step, planned []Step) bool {
	for step := range w.doing {
		if slices.Contains(planned, step) {
			continue
		}
		if w.desired.Rules.Restart && startsWeb(step) && startsWeb(next) {
			return true // what was to be started may run yet, and two must not
		}
		if step.For().Number == next.For().Number || portOf(step) != 0 && portOf(step) == portOf(next) {
			return true
		}
	}
	return false
}

func startsWeb(step Step) bool {
	s, ok := step.(Start)
	return ok && s.Port != 0
}

// vital says whether a step must be taken even where nothing can be remembered
// (a full disk): what was in service is started again, the group gets its
// answer, and old releases end and make room for a new one. Each is found out anew after a restart.
func (w *world) vital(step Step) bool {
	switch s := step.(type) {
	case CompleteHook, Check, Prepare, Stop:
		return true
	case Start:
		return w.memory.Serving && s.Release.Number == w.memory.InService.Number
	}
	return false
}

// begin takes a step in a goroutine of its own and hands its outcome to the loop.
func (a *Agent) begin(ctx context.Context, w *world, step Step) {
	ctx, cancel := context.WithCancel(ctx)
	act := &activity{step: step, since: a.Now(), cancel: cancel, attempt: w.desired.Attempt}
	w.doing[step] = act
	log := a.Log.With(zap.String("phase", step.Phase()))
	if rel := step.For(); !rel.IsZero() {
		log = log.With(zap.Int64("release", rel.Number), zap.String("revision", rel.Short()))
	}
	log.Info("start", zap.String("step", step.String()))
	scene := a.scene(w)
	a.goes(func() {
		defer cancel()
		done := func(error) {}
		if step.Phase() != "prepare" { // which has phases of its own: fetch, build
			done = a.Spans.Begin(step.Phase(), step.For().Number)
		}
		outcome := a.perform(ctx, scene, step)
		if ctx.Err() != nil && outcome.Err != nil {
			outcome.Err = errCancelled
		}
		done(outcome.Err)
		a.updates <- func(w *world) { a.ended(w, act, outcome, log) }
	})
}

// errCancelled is the outcome of a step that was no longer wanted.
var errCancelled = errors.New("no longer wanted")

// ended takes an outcome into the world.
func (a *Agent) ended(w *world, act *activity, outcome result, log *zap.Logger) {
	delete(w.doing, act.step)
	outcome.Attempt = act.attempt
	now := a.Now()
	took := zap.Duration("duration", now.Sub(act.since).Round(time.Millisecond))
	switch {
	case errors.Is(outcome.Err, errCancelled):
		log.Info("cancelled", took)
		a.doubt(w, act.step, now)
		return
	case outcome.Err == nil:
		log.Info("done", took)
		if outcome.learn != nil {
			outcome.learn(w)
		}
	case isRevision(outcome.Err), !same(w.memory.Retries[act.step.String()].Cause, outcome.Err.Error()):
		log.Error("failed", took, zap.Error(outcome.Err))
	default: // what fails the same way again is not news
		log.Debug("failed again", took, zap.Error(outcome.Err))
	}
	if outcome.Err != nil && !errors.Is(outcome.Err, model.ErrConfiguration) { // which was refused, and has changed nothing
		switch act.step.(type) {
		case EnterStandby, ExitStandby:
			a.doubt(w, act.step, now)
		}
	}
	a.remember(w, w.memory.After(act.step, outcome.Outcome, now))
	switch act.step.(type) {
	case Prepare, Promote, Check, AwaitBalancer: // the fleet waits for what came of it
		a.nudge("records")
	}
}

// doubt has the targets, or the instance's place in its group, read again before anything is decided on them: a step
// that was cancelled, or failed, may have changed them all the same.
func (a *Agent) doubt(w *world, step Step, now time.Time) {
	switch step.(type) {
	case Register, Deregister:
		w.moved, w.observed.TargetsKnown = now, false
		a.nudge("targets")
	case EnterStandby, ExitStandby:
		a.movedTo(model.LifecycleNone)(w)
	}
}

// remember writes the memory to disk if it changed, and says whether it is
// there. Where it is not (a full disk) no new step is taken that relies on it,
// what serves goes on serving, and the next turn tries again.
func (a *Agent) remember(w *world, m Memory) bool {
	w.memory = m
	if reflect.DeepEqual(w.saved, m) {
		return true
	}
	err := a.Store.Save(m)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("the disk is full, so nothing new is begun that must be remembered, and what serves goes on serving: make room there: %w", err)
	}
	a.problem(w, "memory", err)
	if err != nil {
		return false
	}
	w.saved = m
	return true
}

func isRevision(err error) bool {
	var bad *deploy.RevisionError
	return errors.As(err, &bad)
}
