package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// result is how a step ended, and what the loop learns from it at once
// instead of at its next look.
type result struct {
	Outcome
	learn func(*world)
}

func failed(err error) result { return result{Outcome: Outcome{Err: err}} }

// write is the deadline of one write to AWS, the SDK's retries included.
const write = 30 * time.Second

// perform takes one step. From top to bottom the cases are an instance's life:
// a release is prepared, started and checked, registered, found
// healthy by the balancer, put in service; the launch hook is completed; what
// it replaces is deregistered, drained and stopped.
func (a *Agent) perform(ctx context.Context, on scene, step Step) result {
	switch s := step.(type) {
	case Prepare:
		return result{Outcome{Err: a.prepare(ctx, s)}, func(w *world) { w.stale = true }}
	case Start:
		ended := a.howItEnded(ctx, on, s)
		return result{Outcome: Outcome{Err: a.start(ctx, on, s), Ended: ended}}
	case Check:
		passed := Incarnation{Unit: s.Unit, PID: s.PID}
		return result{Outcome{Err: a.check(ctx, on, s)}, func(w *world) { w.observed.Passed[passed] = true }}
	case Register:
		ctx, cancel := context.WithTimeout(ctx, write)
		defer cancel()
		return result{Outcome{Err: a.Balancer.Register(ctx, on.id.InstanceID, s.Port)}, func(w *world) {
			w.moved, w.observed.Targets[s.Port] = a.Now(), Target{Registered: true, Everywhere: true}
		}}
	case AwaitBalancer:
		return result{Outcome{Err: a.awaitBalancer(ctx, on, s)}, func(w *world) {
			w.moved, w.observed.Targets[s.Port] = a.Now(), Target{Registered: true, Everywhere: true, Healthy: true}
		}}
	case Promote:
		return result{Outcome{Err: a.promote(ctx, on, s)}, func(w *world) {
			w.stale = true
			a.keepLater(s.Release.Number)
		}}
	case CompleteHook:
		ctx, cancel := context.WithTimeout(ctx, write)
		defer cancel()
		return result{Outcome{Err: a.Group.Complete(ctx, on.membership, on.id.InstanceID, s.Result)}, func(w *world) {
			w.observed.Membership.Lifecycle = model.LifecyclePendingProceed
			a.nudge("membership")
		}}
	case CompleteTermination:
		ctx, cancel := context.WithTimeout(ctx, write)
		defer cancel()
		return result{Outcome{Err: a.Group.Complete(ctx, on.membership, on.id.InstanceID, model.HookContinue)}, func(w *world) {
			w.observed.Membership.Lifecycle = model.LifecycleTerminatingProceed
			a.nudge("membership")
		}}
	case EnterStandby:
		ctx, cancel := context.WithTimeout(ctx, write)
		defer cancel()
		return result{Outcome{Err: a.Standby.EnterStandby(ctx, on.membership.Group, on.id.InstanceID)}, a.movedTo(model.LifecycleEnteringStandby)}
	case ExitStandby:
		ctx, cancel := context.WithTimeout(ctx, write)
		defer cancel()
		return result{Outcome{Err: a.Standby.ExitStandby(ctx, on.membership.Group, on.id.InstanceID)}, a.movedTo(model.LifecyclePending)}
	case Deregister:
		return result{Outcome{Err: a.deregister(ctx, on, s)}, func(w *world) {
			w.moved, w.observed.Targets[s.Port] = a.Now(), Target{Draining: a.Rules.Balanced}
			a.nudge("targets")
		}}
	case Drain:
		return failed(a.drain(ctx, on, s))
	case Stop:
		return failed(a.Runner.Stop(ctx, s.Unit, on.grace(s.Release, s.Unit)))
	case Replace:
		ctx, cancel := context.WithTimeout(ctx, write)
		defer cancel()
		return failed(a.Group.SetUnhealthy(ctx, on.id.InstanceID))
	default:
		return failed(fmt.Errorf("the step %v is not one this agent can take", step))
	}
}

// prepare brings the release onto the disk, and reads meanwhile what its start needs.
func (a *Agent) prepare(ctx context.Context, s Prepare) error {
	a.goes(func() { a.readAhead(ctx, s.Release) })
	prepared, err := a.Preparer.Prepare(ctx, s.Release, a.Spans)
	if err != nil {
		return err
	}
	if _, ok := webOf(prepared.Recipe); !ok {
		return &deploy.RevisionError{Phase: "recipe", Err: errors.New(
			"no process of the app has a port, so there is nothing to put into service: an app of workers alone is not supported by this version; give it a process named web")}
	}
	return nil
}

// start starts one process of the release.
func (a *Agent) start(ctx context.Context, on scene, s Start) error {
	prepared := on.prepared[s.Release.Number]
	process, _ := on.process(s.Release, s.Process)
	if err := a.enoughMemory(on, s); err != nil {
		return err
	}
	secrets, err := a.secretsFor(ctx, on.memory, s.Release)
	if err != nil {
		return fmt.Errorf("read the app's environment: %w", err)
	}
	spec := a.spec(on.id, prepared, s.Port, secrets)
	spec.Name, spec.Process, spec.Command = UnitName(a.Rules.App, s.Release.Number, s.Process), s.Process, process.Run
	spec.Release, spec.Port, spec.StopTimeout = s.Release, s.Port, process.StopTimeout
	err = a.Runner.Start(ctx, spec)
	if err == nil && s.Port != 0 && on.memory.Serving && on.memory.InService.Number != s.Release.Number {
		a.yield(ctx, spec.Name, true)
	}
	var unfit *unit.CommandError
	if errors.As(err, &unfit) {
		return &deploy.RevisionError{Phase: "start", Err: errors.New(a.masked(ctx, err.Error()))}
	}
	return err
}

// yield lets a candidate go before what serves when memory runs out, and a release that is in service stand with the rest.
// It is a precaution: a machine that refuses it runs the app all the same.
func (a *Agent) yield(ctx context.Context, name string, yields bool) {
	if err := a.Runner.Yield(ctx, name, yields); err != nil {
		a.Log.Warn("which process goes first when memory runs out could not be said", zap.String("unit", name), zap.Bool("yields", yields), zap.Error(err))
	}
}

// promote makes the release the one in service on this machine.
func (a *Agent) promote(ctx context.Context, on scene, s Promote) error {
	for _, u := range on.units {
		if isThe(u.Release, s.Release) {
			a.yield(ctx, u.Name, false)
		}
	}
	return a.Preparer.Promote(ctx, s.Release.Number)
}

// deregister takes a port out of the balancer.
func (a *Agent) deregister(ctx context.Context, on scene, s Deregister) error {
	if !a.Rules.Balanced {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, write)
	defer cancel()
	return a.Balancer.Deregister(ctx, on.id.InstanceID, s.Port)
}

// movedTo notes what Auto Scaling was just told to do with the instance, until it tells itself how far it has come.
func (a *Agent) movedTo(state model.Lifecycle) func(*world) {
	return func(w *world) {
		w.shifted, w.moved = a.Now(), a.Now()
		w.observed.Membership.Lifecycle, w.observed.TargetsKnown = state, false
		a.nudge("membership")
		a.nudge("targets")
	}
}
