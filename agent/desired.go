package agent

import (
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// Desired is what should be: the releases somebody wants, and the rules for this instance.
type Desired struct {
	// Known says that the parameter has been read since the agent started. Until then only what served on
	// this machine before may be started, and nothing is registered that was not on this boot.
	Known bool
	// Newest is the newest release that is wanted; Stable is the one a fresh instance boots. Zero for none.
	Newest model.Release
	Stable model.Release
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

// goal is the release that this instance should come to serve: the newest
// that has not failed here. A fresh instance starts with the stable one.
// Nothing is known of a revision before its ref is resolved.
func goal(d Desired, m Memory) model.Release {
	if !d.Known || d.Rules.Attached && m.Serving { // what takes traffic is not switched where it can't be taken out: held
		return m.InService
	}
	return best(d, m)
}

// best is the newest release that is wanted and has not failed here.
func best(d Desired, m Memory) model.Release {
	for _, wish := range wishes(d, m) {
		if wish.Number == m.InService.Number || !m.failed(wish) {
			return wish
		}
	}
	return model.Release{}
}

// wishes are the releases worth serving, best first, resolved as far as is known.
func wishes(d Desired, m Memory) []model.Release {
	newest := m.resolved(d.Newest)
	if newest.Number < m.Highest {
		newest = model.Release{} // a stale read, or the parameter was made anew
	}
	order := []model.Release{newest, m.InService, m.resolved(d.Stable)}
	switch {
	case m.InService.IsZero() && d.Rules.Attached: // its first release is the one it keeps: replacing instances is how a new one comes
		order = []model.Release{newest, m.resolved(d.Stable)}
	case m.InService.IsZero():
		order = []model.Release{m.resolved(d.Stable), newest}
	case d.Rules.Attached && !m.Serving && d.current(m.InService, m): // after a reboot: its target has been registered all the while
		order = []model.Release{m.InService, newest, m.resolved(d.Stable)}
	case !m.Serving && !d.current(m.InService, m): // the machine slept, and what it served may not be registered any more
		order = []model.Release{newest, m.resolved(d.Stable)}
	}
	var out []model.Release
	for _, rel := range order {
		if !rel.IsZero() {
			out = append(out, rel)
		}
	}
	return out
}

// current says whether a release is still one that somebody wants: what a
// boot may register.
func (d Desired) current(rel model.Release, m Memory) bool {
	if !d.Known {
		return false
	}
	for _, wanted := range []model.Release{m.resolved(d.Newest), m.resolved(d.Stable)} {
		if wanted.Number == rel.Number && !rel.IsZero() {
			return true
		}
	}
	return false
}

func (m Memory) resolved(rel model.Release) model.Release {
	if rel.Revision == "" && !rel.IsZero() {
		rel.Revision = m.Resolved[rel.Number]
	}
	return rel
}

func (m Memory) failed(rel model.Release) bool {
	_, bad := m.Failed[rel.Revision]
	return bad && rel.Revision != ""
}
