package agent

import (
	"fmt"
	"maps"
	"slices"

	"github.com/bootagent/bootagent/internal/unit"
)

// retire takes away what should not be there: units of other releases, condemned ones, targets that no unit stands behind.
func (p *plan) retire() {
	behind := map[int]bool{}
	for _, u := range p.Units {
		if u.Port != 0 {
			behind[u.Port] = true
		}
		if !p.belongs(u) {
			p.retireUnit(u)
		}
	}
	for _, port := range slices.Sorted(maps.Keys(p.Targets)) {
		if p.Rules.Balanced && p.Targets[port].Registered && (!behind[port] || slices.Contains(p.Left, port)) {
			p.do(Deregister{Port: port, Release: p.Ports[port].Release, Cause: "no process of this boot stands behind it"})
		}
	}
}

// belongs says whether a unit should be here. Until the parameter has been
// read nothing new is taken away: what runs may be what is wanted.
func (p *plan) belongs(u unit.Status) bool {
	if p.Leaving != Stays || u.Port != 0 && p.Ports[u.Port].Condemned != "" {
		return false
	}
	if isThe(u.Release, p.InService) && !p.switching || isThe(u.Release, p.goal) {
		return true
	}
	return !p.Known && p.Ports[u.Port].Deregistered.IsZero()
}

// retireUnit takes one unit away: out of the balancer, drained, stopped. It is
// stopped at once if it never had traffic or has ended.
func (p *plan) retireUnit(u unit.Status) {
	use, used := p.Ports[u.Port]
	switch {
	case u.Port == 0 && (p.Leaving != Stays || p.Rules.Restart) && p.webRuns(u.Release):
		// What still answers requests may count on it.
	case u.Port == 0:
		p.stop(u)
	case p.Rules.Balanced && !p.TargetsKnown && u.State == unit.Running:
		// Whether it has traffic, and how long its requests may last, is not known yet.
	case !p.outOfTheWay(u, use):
		// Auto Scaling has the instance in service.
	case p.Rules.Attached && use.Condemned != "":
		p.stop(u) // only the balancer's own checks keep requests away
	case used && p.Leaving == Terminating && u.State == unit.Running && p.registeredByGroup(u.Port):
		// Auto Scaling is about to take it out.
	case p.Rules.Balanced && p.Targets[u.Port].Registered, used && use.Deregistered.IsZero() && !use.Drained:
		p.do(Deregister{Release: u.Release, Port: u.Port, Cause: p.cause(u, use)})
	case used && !use.Drained && u.State == unit.Running:
		p.do(Drain{Release: u.Release, Port: u.Port})
	default:
		p.stop(u)
	}
}

// stop ends a unit. Where the machine goes down that is systemd's to do: it has all units' ends in its queue, those of
// the app after the agent's, and a stop that is asked for now would wait for the agent, which waits for it.
func (p *plan) stop(u unit.Status) {
	if !p.ShutDown {
		p.do(Stop{Release: u.Release, Unit: u.Name, Port: u.Port})
	}
}

func (p *plan) cause(u unit.Status, use PortUse) string {
	switch {
	case p.Leaving != Stays:
		return "this instance leaves service"
	case p.switching && isThe(u.Release, p.InService):
		return fmt.Sprintf("%s takes its place", p.goal)
	case use.Condemned != "":
		return "its process is to be replaced"
	case p.failed(u.Release):
		return fmt.Sprintf("%s failed", u.Release)
	default:
		return fmt.Sprintf("%s is in service", p.InService)
	}
}
