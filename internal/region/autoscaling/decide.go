package autoscaling

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// verb is what a step does.
type verb string

const (
	doLaunch     verb = "launch"      // a new instance, in zone
	doHold       verb = "hold"        // open the transition's hooks: Pending:Wait, Terminating:Wait
	doExpire     verb = "expire"      // a hook whose time is over gets its default result
	doProceed    verb = "proceed"     // no hook holds any more: Pending:Proceed, Terminating:Proceed
	doRegister   verb = "register"    // in the target group arn, or leave it out of that one while skip
	doDeregister verb = "deregister"  // from the target group arn
	doEnter      verb = "enter"       // InService
	doStandby    verb = "standby"     // Standby
	doTerminate  verb = "terminate"   // Terminating
	doSwitchOff  verb = "switch off"  // end the machine: Terminated
	doDetach     verb = "detach"      // the target group arn has no instance left
	doForget     verb = "forget"      // the group is deleted
	doFullHealth verb = "full health" // nothing is left to be replaced
)

// step is the next thing that a group does.
type step struct {
	do       verb
	instance string
	arn      string // target group
	skip     bool
	token    string // of the lifecycle action
	zone     string
	cause    string // of the scaling activity
	replace  bool   // launch: instead of an unhealthy one; terminate: to be replaced
}

// next decides what the group does now. It changes nothing and asks nobody. If there is no step, it is to be asked
// again at wake, if that is not zero, and whenever something has happened to the group.
func next(g *group, now time.Time) (steps []step, wake time.Time) {
	for _, i := range g.instances {
		s, at := advance(g, i, now)
		if s.do != "" {
			s.instance = i.ID
			steps = append(steps, s)
		} else {
			wake = sooner(wake, at)
		}
	}
	for _, a := range g.attachments {
		if a.removing && !slices.ContainsFunc(g.instances, func(i *instance) bool { return i.targets[a.arn] }) {
			steps = append(steps, step{do: doDetach, arn: a.arn})
		}
	}
	if len(steps) > 0 {
		return steps, time.Time{} // what they change is decided upon afterwards
	}
	steps, at := resize(g, now)
	return steps, sooner(wake, at)
}

// advance decides about one instance, apart from the group's size.
func advance(g *group, i *instance, now time.Time) (step, time.Time) {
	if i.busy {
		return step{}, time.Time{}
	}
	if now.Before(i.retryAt) {
		return step{}, i.retryAt
	}
	if s := out(g, i, now); s.do != "" {
		return s, time.Time{}
	}
	switch i.state {
	case model.LifecyclePending:
		if !i.returning && len(g.hooksAt(Launching)) > 0 {
			return step{do: doHold}, time.Time{}
		}
		return enter(g, i), time.Time{}
	case model.LifecyclePendingWait, model.LifecycleTerminatingWait:
		return wait(i, now)
	case model.LifecyclePendingProceed:
		return enter(g, i), time.Time{}
	case model.LifecycleInService:
		if s := place(g, i); s.do != "" {
			return s, time.Time{}
		}
		if end := g.graceEnd(i); i.failed && now.Before(end) {
			return step{}, end
		}
	case model.LifecycleEnteringStandby:
		return leave(g, i, now, step{do: doStandby})
	case model.LifecycleTerminating:
		last := step{do: doSwitchOff}
		if len(g.hooksAt(Terminating)) > 0 && !i.hooked && !g.deleting {
			last = step{do: doHold}
		}
		return leave(g, i, now, last)
	case model.LifecycleTerminatingProceed:
		return step{do: doSwitchOff}, time.Time{}
	}
	return step{}, time.Time{}
}

// out decides whether the instance must go because of what became of it.
func out(g *group, i *instance, now time.Time) step {
	at := now.UTC().Format(time.RFC3339)
	switch {
	case i.leaving(), i.state == model.LifecycleStandby, i.state == model.LifecycleEnteringStandby:
		// Auto Scaling checks no health in standby.
		// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
		return step{}
	case i.abandoned != "":
		return step{do: doTerminate, replace: true, cause: fmt.Sprintf(
			"At %s an instance was taken out of service in response to a launch failure.", at)}
	case g.suspends(processTerminate), g.suspends(processReplaceUnhealthy):
		return step{}
	case i.gone || i.state == model.LifecycleInService:
		if why := g.unhealthy(i, now); why != "" {
			return step{do: doTerminate, replace: true, cause: fmt.Sprintf(
				"At %s an instance was taken out of service in response to %s.", at, why)}
		}
	}
	return step{}
}

// wait decides about an instance whose hooks are open.
func wait(i *instance, now time.Time) (step, time.Time) {
	var wake time.Time
	for _, a := range i.actions {
		if !now.Before(a.deadline) {
			return step{do: doExpire, token: a.token}, time.Time{}
		}
		wake = sooner(wake, a.deadline)
	}
	if len(i.actions) == 0 {
		return step{do: doProceed}, time.Time{}
	}
	return step{}, wake
}

// enter decides about an instance at the end of Pending: it is registered with the attached target groups first,
// and is in service then.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
func enter(g *group, i *instance) step {
	if s := place(g, i); s.do != "" {
		return s
	}
	return step{do: doEnter}
}

// place keeps an instance that serves in the target groups that are attached, and in no other.
func place(g *group, i *instance) step {
	for _, a := range g.attachments {
		in, known := i.targets[a.arn]
		switch {
		case a.removing && in:
			return step{do: doDeregister, arn: a.arn}
		case !a.removing && !known:
			return step{do: doRegister, arn: a.arn, skip: g.suspends(processAddToBalancer)}
		}
	}
	return step{}
}

// leave takes an instance out of its target groups, waits until they have drained, and goes on with last.
func leave(g *group, i *instance, now time.Time, last step) (step, time.Time) {
	for _, a := range g.attachments {
		if i.targets[a.arn] {
			return step{do: doDeregister, arn: a.arn}, time.Time{}
		}
	}
	if now.Before(i.drainUntil) && !i.gone && !g.deleting {
		return step{}, i.drainUntil
	}
	return last, time.Time{}
}

// resize decides whether the group has too few instances or too many.
func resize(g *group, now time.Time) ([]step, time.Time) {
	if g.deleting {
		return wipe(g, now), time.Time{}
	}
	have := g.capacity()
	at := now.UTC().Format(time.RFC3339)
	switch {
	case have < g.Desired && !g.suspends(processLaunch):
		if now.Before(g.launchAfter) {
			return nil, g.launchAfter
		}
		var steps []step
		used := zonesInUse(g)
		for n := range g.Desired - have {
			s := step{do: doLaunch, zone: emptiest(g.Zones, used), replace: n < g.replacing}
			used[s.zone]++
			if s.replace {
				s.cause = fmt.Sprintf("At %s an instance was launched in response to an unhealthy instance needing to be replaced.", at)
			} else {
				s.cause = fmt.Sprintf("%sAt %s an instance was started in response to a difference between desired and "+
					"actual capacity, increasing the capacity from %d to %d.", g.request, at, have, g.Desired)
			}
			steps = append(steps, s)
		}
		return steps, time.Time{}
	case have > g.Desired && !g.suspends(processTerminate):
		var steps []step
		for _, i := range victims(g, have-g.Desired) {
			steps = append(steps, step{do: doTerminate, instance: i.ID, cause: fmt.Sprintf(
				"%sAt %s an instance was taken out of service in response to a difference between desired and actual capacity, "+
					"shrinking the capacity from %d to %d.  At %s instance %s was selected for termination.",
				g.request, at, have, g.Desired, at, i.ID)})
		}
		return steps, time.Time{}
	case have == g.Desired && g.replacing > 0:
		return []step{{do: doFullHealth}}, time.Time{}
	}
	return nil, time.Time{}
}

// wipe decides about a group that is being deleted.
func wipe(g *group, now time.Time) []step {
	if len(g.instances) == 0 {
		return []step{{do: doForget}}
	}
	var steps []step
	for _, i := range g.instances {
		if !i.leaving() {
			steps = append(steps, step{do: doTerminate, instance: i.ID, cause: fmt.Sprintf(
				"%sAt %s an instance was taken out of service in response to a difference between desired and actual capacity, "+
					"shrinking the capacity from %d to 0.", g.request, now.UTC().Format(time.RFC3339), g.capacity())})
		}
	}
	return steps
}

// victims are the n instances that scale in ends: those launched first, or last under NewestInstance. Protected ones
// are never chosen, so there may be fewer.
func victims(g *group, n int) []*instance {
	var candidates []*instance
	for _, i := range g.instances {
		if i.counts() && !i.protected {
			candidates = append(candidates, i)
		}
	}
	if len(g.TerminationPolicies) > 0 && g.TerminationPolicies[0] == "NewestInstance" {
		slices.Reverse(candidates)
	}
	return candidates[:min(n, len(candidates))]
}

// zonesInUse counts the instances by zone.
func zonesInUse(g *group) map[string]int {
	used := map[string]int{}
	for _, i := range g.instances {
		if i.counts() {
			used[i.Zone]++
		}
	}
	return used
}

// emptiest is the zone with the fewest instances, the first of several.
func emptiest(zones []string, used map[string]int) string {
	return slices.MinFunc(zones, func(a, b string) int { return used[a] - used[b] })
}

// sooner is the earlier of two times, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
