package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// watchMembership asks Auto Scaling for this instance's place.
func (a *Agent) watchMembership(ctx context.Context, id model.Identity, heart chan model.Membership, end context.CancelCauseFunc) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, write)
	defer cancel()
	began := a.Now()
	m, err := a.Group.Membership(ctx, id.InstanceID)
	if err != nil {
		return 0, err
	}
	select { // only the newest counts
	case <-heart:
	default:
	}
	heart <- m
	mismatch, refused, err := a.mismatch(ctx, m)
	if err != nil {
		return 0, err
	}
	if err := mismatch; err != nil && refused {
		if m.Lifecycle == model.LifecyclePending || m.Group == "" && a.Now().Sub(a.started) < groupless {
			return 0, err // the launch hook opens in a moment, and must be completed; who is in no group may be in one in a moment
		}
		// Told before the hook is completed, which ends the instance, and its log with it.
		a.Log.Error("this configuration does not fit the Auto Scaling group; the agent ends", zap.Error(err))
		if m.Lifecycle == model.LifecyclePendingWait && m.LaunchHook != "" {
			err = errors.Join(err, a.Group.Complete(ctx, m, id.InstanceID, model.HookAbandon))
		}
		end(&TerminalError{err})
		return 0, err
	}
	pause := pollMembership
	err = a.tell(ctx, func(w *world) {
		if w.shifted.After(began) { // it was asked to be elsewhere meanwhile
			a.nudge("membership")
			return
		}
		if w.observed.Membership.Lifecycle != m.Lifecycle {
			a.Log.Info("lifecycle", zap.String("group", m.Group), zap.String("state", string(m.Lifecycle)))
			a.nudge("targets")
		}
		w.observed.Membership = m
		if !w.placed {
			w.placed = true
			a.nudge("fleet")
		}
		var missing error
		if m.Group != "" && m.LaunchHook == "" && a.Rules.Balanced {
			missing = fmt.Errorf("the Auto Scaling group %s has no launch lifecycle hook: it takes an instance that still boots for one that serves; create it with one (autoscaling:EC2_INSTANCE_LAUNCHING, default result ABANDON)", m.Group)
		}
		a.problem(w, "hook", missing)
		a.problem(w, "termination hook", a.unhooked(m))
		a.problem(w, "mode", mismatch) // what serves goes on serving: an agent less would mend nothing
		if inTransition(w.observed) {
			pause = pollLifecycle
		}
	})
	if err != nil {
		return 0, err
	}
	return pause, nil
}

// inTransition says whether Auto Scaling is about to move the instance on by itself.
func inTransition(o Observed) bool {
	switch state := o.Membership.Lifecycle; state {
	case model.LifecyclePendingWait, model.LifecycleTerminatingWait: // it waits for us
		return false
	default:
		return strings.HasPrefix(string(state), "Pending") || state == model.LifecycleEnteringStandby || o.terminating() && state != model.LifecycleNone
	}
}

// unhooked says that the group gives an instance that it ends no time.
func (a *Agent) unhooked(m model.Membership) error {
	if m.Group == "" || m.TerminateHook != "" || a.Balancer == nil {
		return nil
	}
	return fmt.Errorf("the Auto Scaling group %s has no termination lifecycle hook: an instance that it ends has only the machine's shutdown to drain in; give it one (autoscaling:EC2_INSTANCE_TERMINATING, default result CONTINUE)", m.Group)
}

// groupless is how long an instance that just started may be in no group although it is launched by one.
const groupless = time.Minute

// mismatch says why balancer.mode is not the one in force, and whether that is to end the agent: during the launch, and in
// mode asg, where traffic has no other gate, also later as long as nothing has served here. What serves goes on serving.
func (a *Agent) mismatch(ctx context.Context, m model.Membership) (mismatch error, refused bool, err error) {
	refused = strings.HasPrefix(string(m.Lifecycle), "Pending")
	if err := a.ungrown(m); err != nil {
		return err, refused, nil
	}
	if a.Rules.Attached {
		groups, err := a.Balancer.Groups(ctx)
		if err != nil {
			return nil, false, err
		}
		if mismatch = unfit(m, groups); mismatch == nil || refused {
			return mismatch, refused, nil
		}
		if err := a.tell(ctx, func(w *world) { refused = w.memory.InService.IsZero() }); err != nil {
			return nil, false, err
		}
		return mismatch, refused, nil
	}
	if len(m.TargetGroups) == 0 {
		return nil, false, nil
	}
	return fmt.Errorf("the Auto Scaling group %s has target groups attached (%s), so it registers instances before they are ready, and balancer.mode is not asg: detach them from the group, and let bootagent register, or set balancer.mode: asg",
		m.Group, strings.Join(m.TargetGroups, ", ")), refused, nil
}

// watchLifecycle looks at IMDS for a change of the target state, and has
// Auto Scaling asked for the current one then: once a transition. That the instance is to end it takes from IMDS itself,
// which needs no permission.
func (a *Agent) watchLifecycle(ctx context.Context) {
	var last model.Lifecycle
	for first := true; ; first = false {
		if state, err := a.Metadata.TargetLifecycle(ctx); err == nil && state != last {
			last = state
			a.post(ctx, func(w *world) { w.observed.TargetLifecycle = state })
			if !first {
				a.nudge("membership")
				a.nudge("targets")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pollLifecycle):
		}
	}
}

// heartbeat keeps the hook that the instance waits for open while it is: three beats a time-out,
// so that one may be lost.
func (a *Agent) heartbeat(ctx context.Context, id model.Identity, heart <-chan model.Membership) {
	var m model.Membership
	var next time.Time // zero while the hook is not known to be open: how long it has been already nobody knows, so the first beat is sent at once
	for {
		var beat <-chan time.Time
		if waits(m) {
			beat = time.After(time.Until(next))
		} else {
			next = time.Time{}
		}
		select {
		case <-ctx.Done():
			return
		case m = <-heart:
			a.post(ctx, func(w *world) { a.problem(w, "heartbeat", nil) })
		case <-beat:
			limit, cancel := context.WithTimeout(ctx, min(write, period(m)/2))
			err := a.Group.Heartbeat(limit, m, id.InstanceID)
			cancel()
			next = time.Now().Add(period(m))
			a.post(ctx, func(w *world) { a.problem(w, "heartbeat", err) })
			if err != nil {
				a.nudge("membership") // the hook may be over
			}
		}
	}
}

// waits says whether Auto Scaling waits for this instance to complete a hook.
func waits(m model.Membership) bool {
	return m.Lifecycle == model.LifecyclePendingWait && m.LaunchHook != "" ||
		m.Lifecycle == model.LifecycleTerminatingWait && m.TerminateHook != ""
}

// period is the time between two heartbeats.
func period(m model.Membership) time.Duration {
	timeout := m.HookTimeout
	if m.Lifecycle == model.LifecycleTerminatingWait {
		timeout = m.TerminateTimeout
	}
	return max(hookPeriod(timeout)/3, 100*time.Millisecond)
}
