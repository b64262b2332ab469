package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
)

// targetsOf folds what the balancer says of each (group, port) into one state
// a port. A port that stands in some groups only is registered, but not everywhere.
func targetsOf(health []model.TargetHealth) map[int]Target {
	out := map[int]Target{}
	for _, h := range health {
		t, seen := out[h.Port]
		if !seen {
			t = Target{Everywhere: true, Healthy: true}
		}
		// A target of a group that no listener uses is called unused, although it is registered.
		registered := h.State.Registered() || h.Reason == "Target.NotInUse"
		t.Registered = t.Registered || registered
		t.Everywhere = t.Everywhere && registered
		t.Healthy = t.Healthy && h.State == model.TargetHealthy
		t.Draining = t.Draining || h.State == model.TargetDraining
		out[h.Port] = t
	}
	return out
}

// balancerPatience is how long the balancer may take to find a target healthy
// that passes its checks here: long enough for the slowest interval AWS allows
// (300 s) to come round once, and more where it is usual (30 s).
func balancerPatience(groups []model.TargetGroup) time.Duration {
	return max(2*time.Minute, 3*checkInterval(groups))
}

// checkInterval is the longest between two checks of the balancer, 0 while that is not known: a target is healthy once it is in every group.
func checkInterval(groups []model.TargetGroup) time.Duration {
	longest := 0
	for _, g := range groups {
		longest = max(longest, g.HealthCheckInterval)
	}
	return time.Duration(longest) * time.Second
}

// awaitBalancer polls the target until it is healthy in every group. A target
// that stays unhealthy is the revision's failure; a balancer that can't be
// asked is the world's.
func (a *Agent) awaitBalancer(ctx context.Context, on scene, s AwaitBalancer) error {
	patience := balancerPatience(on.groups)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pause, longest := Pace{Group: on.membership.Desired}.Await(checkInterval(on.groups))
	var last error
	for {
		health, err := a.Balancer.Health(ctx, on.id.InstanceID, []int{s.Port})
		switch {
		case errors.Is(err, model.ErrConfiguration):
			return err // a person has to change something, and must not have to wait to be told
		case err != nil && ctx.Err() == nil:
			last = err
		case err == nil && targetsOf(health)[s.Port].Healthy:
			return nil
		case err == nil:
			last = unhealthy(health, s.Port)
		}
		select {
		case <-ctx.Done():
			var bad *deploy.RevisionError
			if errors.As(last, &bad) {
				return &deploy.RevisionError{Phase: bad.Phase, Err: fmt.Errorf(
					"passes its checks here, but after %s %w; the target group's health check and the security groups must fit the app", patience, bad.Err)}
			}
			if last == nil {
				last = context.Cause(ctx)
			}
			return fmt.Errorf("wait for the balancer to find port %d healthy: %w", s.Port, last)
		case <-time.After(pause):
		}
		pause = min(pause*5/4, longest)
	}
}

// unhealthy says which groups do not find the port healthy, and why.
func unhealthy(health []model.TargetHealth, port int) error {
	for _, h := range health {
		if h.Port != port || h.State == model.TargetHealthy {
			continue
		}
		reason := h.Description
		if reason == "" {
			reason = h.Reason
		}
		err := fmt.Errorf("the balancer says of port %d in %s: %s (%s)", port, h.Group, h.State, reason)
		if h.State == model.TargetUnhealthy { // it has asked the app; any other state is the balancer's own
			return &deploy.RevisionError{Phase: "balancer", Err: err}
		}
		return err
	}
	return fmt.Errorf("the balancer says nothing of port %d", port)
}
