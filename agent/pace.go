package agent

import "time"

// Pace is how often one agent of a group asks whom, so that all of them together stay below what an account is given.
// Jitter comes on top.
type Pace struct {
	// Group is the group's desired number of instances.
	Group int
	// Leads says that this agent leads the rollout, and Slot that it has a slot, or runs the release task.
	Leads, Slot bool
}

const (
	// A fleet of up to twenty looks every two seconds; larger ones share ten requests a second: Parameter Store gives an
	// account forty, at no cost. https://docs.aws.amazon.com/general/latest/gr/ssm.html
	pollLeast   = 2 * time.Second
	pollRelease = 110 * time.Millisecond // for each instance of the group; a nudge now and then comes on top
	// The records are two reads each time, of a partition that has 3,000 read units a second; the rollout of a
	// thousand instances is some twenty units. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
	pollRecords = 40 * time.Millisecond // for each instance of the group
	// Who must renew a lease within ten seconds looks that often.
	pollSlot = 5 * time.Second
	// The leader alone looks at the group and the balancer, whose Describe calls have ten requests a second or so.
	pollGroup = 5 * time.Second
	// Of those ten the instances that wait for nothing take less than half: that way only what somebody changed by hand is found.
	pollTargets = 30 * time.Second
	eachTargets = 250 * time.Millisecond // for each instance of the group
	// What waits for its targets looks sooner: a batch of them, and after a scale-out everybody.
	eachWaiting  = 100 * time.Millisecond
	firstWaiting = 5 * time.Millisecond
	eachFailed   = 50 * time.Millisecond
	// ELBv2's default between two checks of a target.
	usualInterval = 30 * time.Second
)

// Release is the pause between two reads of the release parameter.
func (p Pace) Release() time.Duration { return p.share(pollRelease) }

// Records is the pause between two reads of the fleet's records, while there is something to be read there.
func (p Pace) Records() time.Duration {
	pause := p.share(pollRecords)
	if p.Leads || p.Slot {
		return min(pause, pollSlot)
	}
	return pause
}

// Look is the pause between two looks of the leader at the group.
func (p Pace) Look() time.Duration {
	if p.Group <= 20 {
		return pollLeast
	}
	return pollGroup
}

// Targets is the pause between two looks of an instance at its own targets; urgent where it waits for them to change.
func (p Pace) Targets(urgent bool) time.Duration {
	if urgent {
		return max(pollLifecycle, p.each(eachWaiting))
	}
	return max(pollTargets, p.each(eachTargets))
}

// Later is the pause before an instance that boots asks for what it does not need at once: who boots with it needs more.
func (p Pace) Later() time.Duration { return p.each(eachTargets) }

// Again is the least pause after a look at the targets that failed: where it was throttled many were, and would be again.
func (p Pace) Again() time.Duration { return p.each(eachFailed) }

// Await gives the pauses between two looks at a target that is to become healthy: the first, and the longest that it grows to. Interval is
// that of the health check it waits for, 0 where nobody knows: a new target is healthy after the first check that it passes, which
// comes within one interval, so to look a few times in each is to lose little of it.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
func (p Pace) Await(interval time.Duration) (first, longest time.Duration) {
	if interval <= 0 {
		interval = usualInterval
	}
	first = min(max(interval/50, 100*time.Millisecond), 500*time.Millisecond)
	longest = min(max(interval/6, 500*time.Millisecond), 5*time.Second)
	return max(first, p.each(firstWaiting)), max(longest, p.each(eachWaiting))
}

func (p Pace) share(each time.Duration) time.Duration { return max(pollLeast, p.each(each)) }

func (p Pace) each(d time.Duration) time.Duration { return time.Duration(p.Group) * d }
