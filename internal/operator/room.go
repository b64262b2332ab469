package operator

import (
	"context"
	"fmt"
)

// roomy refuses a rollout that the balancer has no room for: an instance that switches has two targets for a while in each target group,
// that of the old release and that of the new, and AWS lets a load balancer have so many. Without the room each registration
// above it fails, until nothing has got on for the rollout's deadline.
func (o *Operator) roomy(ctx context.Context, w wish) error {
	if o.Balancer == nil || w.policy.Restart {
		return nil // the new target takes the old one's place
	}
	h, err := o.health(ctx, lookAtGroup)
	if err != nil || !h.Known {
		return err
	}
	most, err := o.Balancer.MostTargets(ctx)
	switch {
	case isConfiguration(err):
		o.Screen.Say(fmt.Sprintf("warning: it is not known whether the load balancer has room for the targets of this rollout: %v", err))
		return nil
	case err != nil || most == 0:
		return err
	}
	once := 0
	for _, stage := range w.policy.Forecast(h.inService(), false) {
		once = max(once, stage.AtOnce)
	}
	// Whatever else is behind the same load balancer is not known from here.
	needs := func(instances int) int { return (instances + once) * o.TargetGroups }
	const raise = "raise the quota targets-per-application-load-balancer"
	switch needed, later := needs(len(h.Members)), needs(h.Most); {
	case needed > most && w.rollbackOf != 0:
		o.Screen.Say(fmt.Sprintf("warning: the way back may take long: %d targets are needed, and AWS allows %d: %s", needed, most, raise))
	case needed > most:
		return refuse(Wrong, "the load balancer has no room for this rollout: %d instances, of which %d switch at once, in %s need %d targets, and AWS allows %d: %s, or let fewer switch at once (policy.batch, policy.canary)",
			len(h.Members), once, targetGroups(o.TargetGroups), needed, most, raise)
	case later > most:
		o.Screen.Say(fmt.Sprintf("warning: the group %s may grow to %d instances, and a rollout over those would need %d targets, where AWS allows %d: %s before",
			h.Name, h.Most, later, most, raise))
	}
	return nil
}

func targetGroups(n int) string {
	if n == 1 {
		return "1 target group"
	}
	return fmt.Sprintf("%d target groups", n)
}
