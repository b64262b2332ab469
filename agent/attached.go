package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// In balancer.mode asg Auto Scaling registers the instance at the end of its launch, with the target groups' own port, and
// takes it out at its end. Nothing is registered or deregistered here: the launch hook is the gate, and an app takes
// traffic from then on whenever it runs, but in standby: standby.go.

// attachedPort is the port of an attached instance's release, if nobody is on it.
func (p *plan) attachedPort() (int, bool) {
	port := p.GroupPort
	taken := port == 0 || p.Listening[port] || slices.Contains(p.taken, port) ||
		slices.ContainsFunc(p.Units, func(u unit.Status) bool { return u.Port == port })
	return port, !taken
}

// registeredByGroup says whether an attached instance still is a target on that port, as far as is known.
func (p *plan) registeredByGroup(port int) bool {
	return p.Rules.Attached && (!p.TargetsKnown || p.Targets[port].Registered)
}

// ownPort is the one port of target groups that are attached to an Auto Scaling group.
func ownPort(groups []model.TargetGroup) (int, error) {
	for _, g := range groups[1:] {
		if g.Port != groups[0].Port {
			return 0, fmt.Errorf("the target groups %s and %s have different ports, %d and %d, and in balancer.mode asg the app is given one: make them anew with the same port, or set balancer.mode: self",
				groups[0].Name, g.Name, groups[0].Port, g.Port)
		}
	}
	return groups[0].Port, nil
}

// unfit says why balancer.mode asg is not what is in force: the group, its launch hook and its target groups must be as
// the configuration says.
func unfit(m model.Membership, groups []model.TargetGroup) error {
	if m.Group == "" {
		return errors.New("balancer.mode is asg, and this instance is in no Auto Scaling group that could register it: set balancer.mode: self")
	}
	if m.LaunchHook == "" {
		return fmt.Errorf("the Auto Scaling group %s has no launch lifecycle hook, and in balancer.mode asg that is all that keeps traffic from an app that is not ready: create the group with one (autoscaling:EC2_INSTANCE_LAUNCHING, default result ABANDON)", m.Group)
	}
	var missing, others []string
	for _, g := range groups {
		if !slices.Contains(m.TargetGroups, g.ARN) {
			missing = append(missing, g.ARN)
		}
	}
	for _, arn := range m.TargetGroups {
		if !slices.ContainsFunc(groups, func(g model.TargetGroup) bool { return g.ARN == arn }) {
			others = append(others, arn)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("balancer.mode is asg, and these of balancer.target_groups are not attached to the Auto Scaling group %s, so nobody registers instances there: %s; attach them, or set balancer.mode: self",
			m.Group, strings.Join(missing, ", "))
	}
	if len(others) > 0 {
		return fmt.Errorf("the Auto Scaling group %s has more target groups attached than balancer.target_groups names: %s; name them too, or detach them",
			m.Group, strings.Join(others, ", "))
	}
	_, err := ownPort(groups)
	return err
}
