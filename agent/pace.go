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
	pollRelease = 100 * time.Millisecond // for each instance of the group
	// The records are two reads each time, of a partition that has 3,000 read units a second; the rollout of a
	// thousand instances is some twenty units. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
	pollRecords = 40 * time.Millisecond // for each instance of the group
	// Who must renew a lease within ten seconds looks that often.
	pollSlot = 5 * time.Second
	// The leader alone looks at the group and the balancer, whose Describe calls have ten requests a second or so.
	pollGroup = 5 * time.Second
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

func (p Pace) share(each time.Duration) time.Duration {
	return max(pollLeast, time.Duration(p.Group)*each)
}
