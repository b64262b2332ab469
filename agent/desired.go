package agent

import (
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Desired is what should be: the release that the fleet wants here, and the rules for this instance.
type Desired struct {
	// Known says that the fleet's word is known since the agent started. Until then only what served on
	// this machine before may be started, and nothing is registered that was not on this boot.
	Known bool
	// Goal is the release that this instance is to serve, or to go on serving; Ready is one to be prepared and not yet
	// started. Zero for none.
	Goal, Ready model.Release
	// Attempt is the one that Goal is tried in: a failure in another one is forgiven.
	Attempt rollout.Attempt
	// Marked says that the fleet's records tell that this agent has put its instance in standby, or is about to.
	Marked bool
	// ShutDown says that the machine goes down.
	ShutDown bool
	Rules    Rules
}

// Rules are what the configuration says of how this instance serves.
type Rules struct {
	App string
	// Balanced says that there are target groups (balancer.mode self).
	Balanced bool
	// Attached says that Auto Scaling registers the instance, with the target groups' own port, and takes it out again
	// (balancer.mode asg): the launch hook is the gate. It goes with Restart.
	Attached bool
	// Restart says that two releases of the app must never run at the same time (switch: restart).
	Restart bool
	// FirstPort and LastPort bound the ports that releases are given, both included.
	FirstPort, LastPort int
	// UnhealthyGrace is how long the app in service may fail its checks before it is taken out.
	UnhealthyGrace time.Duration
	// HoldOnFailure is how long a boot that failed waits for a better release before the instance is given up.
	HoldOnFailure time.Duration
}

// goal is the release that this instance should come to serve: the fleet's, unless it failed here. Then it is what
// serves already, or what served before this boot, if that is what somebody wants.
func goal(o Observed, d Desired, m Memory) model.Release {
	if !d.Known || o.rejoins(m) {
		return m.InService // and then, as everything in service, it gives way in its turn
	}
	return best(d, m)
}

// best is the release that is wanted, or what serves where it has failed here.
func best(d Desired, m Memory) model.Release {
	switch {
	case d.Goal.IsZero():
		return model.Release{}
	case d.Goal.Number == m.InService.Number, !m.failed(d.Goal):
		return d.Goal
	case m.Serving:
		return m.InService
	}
	return model.Release{} // the machine slept, and what it served may not be registered any more
}

// current says whether a release still is the one that somebody wants: what a boot may register.
func (d Desired) current(rel model.Release) bool {
	return d.Known && !rel.IsZero() && rel.Number == d.Goal.Number
}

// rejoins says whether what was in service before this boot was registered on it, and may have requests already, although it is not
// in service again yet.
func (o Observed) rejoins(m Memory) bool {
	if m.Serving || m.InService.IsZero() || m.failed(m.InService) {
		return false
	}
	for port, use := range m.Ports {
		if o.Targets[port].Registered && use.Release.Number == m.InService.Number && use.Deregistered.IsZero() && use.Condemned == "" {
			return true
		}
	}
	return false
}

func (m Memory) failed(rel model.Release) bool {
	_, bad := m.Failed[rel.Revision]
	return bad && rel.Revision != ""
}

// forgiven forgets that the goal failed here where that was in another attempt, or another release of the same revision: the fleet
// has decided to try it anew.
func (m Memory) forgiven(d Desired) Memory {
	f, bad := m.Failed[d.Goal.Revision]
	if bad && d.Known && (f.Release.Number != d.Goal.Number || f.Attempt != d.Attempt) {
		m.Failed = without(m.Failed, d.Goal.Revision)
	}
	return m
}

// hindered is why this instance can't begin to serve a release, or leave service for it, where AWS refuses that; "" where it does not.
func (m Memory) hindered(r Rules) (cause string) {
	moves := []Step{EnterStandby{}, ExitStandby{}}
	for port := r.FirstPort; port <= r.LastPort; port++ {
		moves = append(moves, Register{Port: port})
	}
	for _, step := range moves {
		if retry, fails := m.Retries[step.String()]; fails {
			cause = retry.Cause
		}
	}
	return cause
}

// LastFailure is what failed here last on the way into service, unless that is forgiven.
func (m Memory) LastFailure() rollout.LocalFailure {
	f, ok := m.Failed[m.LastFailed]
	if !ok {
		return rollout.LocalFailure{}
	}
	return rollout.LocalFailure{Release: FleetRelease(f.Release).ID, Attempt: f.Attempt, Cause: f.Reason}
}
