package agent

import (
	"fmt"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// Where Auto Scaling registers the instance (balancer.mode asg) a release in service makes way in standby: the instance enters
// it, is drained by the group, its old processes are stopped, the new ones started and checked, and it comes back. That it is in standby
// for that is written down before, here and in the fleet's records, so that it is left again whatever happens.

// outOfTheWay says whether a unit that has a port may be taken away as far as Auto Scaling goes; where it may not yet, it asks for standby.
func (p *plan) outOfTheWay(u unit.Status, use PortUse) bool {
	if !p.Rules.Attached || p.Leaving != Stays || u.State != unit.Running || use.Condemned != "" {
		return true
	}
	if !p.TargetsKnown {
		return false
	}
	switch p.Membership.Lifecycle {
	case model.LifecycleInService:
		p.do(EnterStandby{Release: u.Release})
		return false
	case model.LifecycleStandby:
		return !p.Targets[u.Port].Registered
	case model.LifecyclePending, model.LifecyclePendingWait: // it launches: nothing is registered before the hook is completed
		return !p.Aside
	}
	return false // it is on its way from one to the other
}

// leaveEmpty brings back an instance whose releases all have failed since it entered standby, or whose old one does not come up any more,
// however often it is started: its group is to judge it, and to replace it. Nothing runs then that the balancer could take for more.
func (p *plan) leaveEmpty() {
	if !p.Rules.Attached || !p.Aside || p.Membership.Lifecycle != model.LifecycleStandby || !p.Known || !p.UnitsKnown || p.hasWeb() {
		return
	}
	if p.goal.IsZero() || isThe(p.goal, p.InService) && p.Crashes[web].Count >= beyondHelp {
		p.do(ExitStandby{})
	}
}

// Serves is the release that this instance serves, as far as anybody asks who may send it elsewhere; zero for none. It is what came into
// service, but for an instance that was brought back from standby in the middle of a switch, by another agent, or before a reboot, and for
// one that has started something else since its reboot, which the balancer took at once: there it is what runs.
func (m Memory) Serves(o Observed, rules Rules) model.Release {
	if rules.Attached && (m.Aside || !m.Serving) && o.Membership.Lifecycle == model.LifecycleInService {
		for _, u := range o.Units {
			if u.Port != 0 && u.State == unit.Running && !m.failed(u.Release) && (m.Serving || o.Targets[u.Port].Healthy) {
				return u.Release
			}
		}
	}
	if !m.Serving {
		return model.Release{}
	}
	return m.InService
}

// setAside takes standby for this agent's doing where the fleet's records say so and the memory of it is lost, and no longer for that
// where nothing is left to come back with and the group has the instance in service again.
func (m Memory) setAside(d Desired, o Observed) Memory {
	switch o.Membership.Lifecycle {
	case model.LifecycleEnteringStandby, model.LifecycleStandby:
		m.Aside = m.Aside || d.Marked && d.Rules.Attached
	case model.LifecycleInService:
		if d.Known && goal(o, d, m).IsZero() && o.UnitsKnown && !o.hasWeb() {
			m.Aside = false
		}
	}
	return m
}

// broughtBack notes that what runs on an instance which was aside has requests again, whoever brought it back, and however far this agent
// had come with taking it away: it makes way as any other does. Where its group begins to end the instance it may have been back unseen.
func (m Memory) broughtBack(d Desired, o Observed, ends bool) Memory {
	back := o.Membership.Lifecycle == model.LifecycleInService || o.Membership.Lifecycle == model.LifecyclePending
	if !d.Rules.Attached || !ends && (!back || !m.Aside) {
		return m
	}
	for _, u := range o.Units {
		use, used := m.Ports[u.Port]
		undone := use.Condemned == toldToStop || use.Condemned == "" && (use.Drained || !use.Deregistered.IsZero())
		if u.Port != 0 && u.State == unit.Running && (!used || undone) {
			m.Ports = with(m.Ports, u.Port, PortUse{Release: u.Release})
		}
	}
	return m
}

// stranger says that somebody else has put an attached instance in standby: it is not this agent's to bring it back.
func stranger(id model.Identity, o Observed, d Desired, m Memory) error {
	if !d.Rules.Attached || m.Aside || d.Marked || m.Leaving != Stays || o.Membership.Lifecycle != model.LifecycleStandby {
		return nil
	}
	return fmt.Errorf("somebody has put this instance in standby: it is left there, and takes no part in rollouts, until aws autoscaling exit-standby --auto-scaling-group-name %s --instance-ids %s",
		o.Membership.Group, id.InstanceID)
}

// comesBack takes a release that has passed its checks back into service from standby.
func (p *plan) comesBack(rel model.Release, u unit.Status) {
	switch {
	case p.Membership.Lifecycle == model.LifecycleStandby:
		p.do(ExitStandby{Release: rel})
	case p.Membership.Lifecycle != model.LifecycleInService || !p.TargetsKnown:
	case !p.Targets[u.Port].Healthy:
		p.do(AwaitBalancer{Release: rel, Port: u.Port})
	default:
		p.do(Promote{Release: rel, Port: u.Port})
	}
}
