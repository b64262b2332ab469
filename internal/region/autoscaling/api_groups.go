package autoscaling

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

var groupName = regexp.MustCompile(`^[!-9;-~]{1,255}$`) // ASCII 33 to 126 but the colon

// CreateGroup makes a group and begins to launch its instances. It takes times that the API refuses as too short.
// Errors are *wire.Error, as the API has them.
func (s *Service) CreateGroup(c GroupConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("create Auto Scaling group %q: the service is closed", c.Name)
	}
	if err := s.create(c, time.Now()); err != nil {
		return err
	}
	s.wake()
	return nil
}

func (s *Service) createAutoScalingGroup(form url.Values) (any, error) {
	c := GroupConfig{Name: form.Get("AutoScalingGroupName"), Cooldown: 300 * time.Second}
	var err error
	if c.Min, _, err = wire.Int(form, "MinSize"); err != nil {
		return nil, err
	}
	c.Desired = c.Min
	if err := configure(&c, form); err != nil {
		return nil, err
	}
	if c.LaunchTemplate == nil && c.LaunchConfiguration == "" {
		return nil, invalid("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or " +
			"MixedInstancesPolicy parameter.")
	}
	if c.Subnets == "" && len(c.Zones) == 0 {
		return nil, invalid("At least one Availability Zone or VPC Subnet is required.")
	}
	if c.TargetGroups, err = arns(form, "TargetGroupARNs"); err != nil {
		return nil, err
	}
	for _, h := range wire.Structs(form, "LifecycleHookSpecificationList") {
		if h.Get("LifecycleTransition") == "" {
			return nil, invalid("LifecycleTransition is required for the lifecycle hook '%s'", h.Get("LifecycleHookName"))
		}
		hook, err := parseHook(Hook{}, h)
		if err != nil {
			return nil, err
		}
		c.Hooks = append(c.Hooks, hook)
	}
	for _, t := range wire.Structs(form, "Tags") {
		propagate, _, err := wire.Bool(t, "PropagateAtLaunch")
		if err != nil {
			return nil, err
		}
		c.Tags = append(c.Tags, Tag{Key: t.Get("Key"), Value: t.Get("Value"), Propagate: propagate})
	}
	sources, err := sources(form)
	if err != nil {
		return nil, err
	}
	if err := s.known(sources); err != nil {
		return nil, err
	}
	if err := s.create(c, time.Now()); err != nil {
		return nil, err
	}
	s.groups[c.Name].attach(sources, true)
	return nil, nil
}

// create makes a group; the caller holds the lock.
func (s *Service) create(c GroupConfig, now time.Time) error {
	switch {
	case !groupName.MatchString(c.Name):
		return invalid("Value '%s' at 'autoScalingGroupName' is no name of 1 to 255 printable ASCII characters without spaces and colons", c.Name)
	case s.groups[c.Name] != nil && s.groups[c.Name].deleting:
		return invalid("AutoScalingGroup by this name is pending delete - %s", c.Name)
	case s.groups[c.Name] != nil:
		return wire.Errorf("AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name %s already exists", c.Name)
	}
	if len(c.Zones) == 0 && c.Subnets != "" {
		c.Zones = s.opts.Zones[:min(len(strings.Split(c.Subnets, ",")), len(s.opts.Zones))] // a subnet a zone
	}
	if len(c.Zones) == 0 {
		c.Zones = s.opts.Zones[:1]
	}
	if c.HealthCheckType == "" {
		c.HealthCheckType = healthEC2
	}
	if len(c.TerminationPolicies) == 0 {
		c.TerminationPolicies = []string{"Default"}
	}
	hooks := c.Hooks
	c.Hooks = nil
	g := &group{GroupConfig: c, created: now, suspended: map[string]string{}}
	for _, h := range hooks {
		if err := g.putHook(h); err != nil {
			return err
		}
	}
	if err := s.validate(&g.GroupConfig); err != nil {
		return err
	}
	if err := s.known(c.TargetGroups); err != nil {
		return err
	}
	g.arn = fmt.Sprintf("arn:aws:autoscaling:%s:%s:autoScalingGroup:%s:autoScalingGroupName/%s", s.opts.Region, s.opts.Account, uuid(), c.Name)
	g.attach(c.TargetGroups, false)
	g.asked(now, fmt.Sprintf("created an AutoScalingGroup changing the desired capacity from 0 to %d", c.Desired))
	s.groups[c.Name] = g
	return nil
}

func (s *Service) updateAutoScalingGroup(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	c := g.GroupConfig
	if err := configure(&c, form); err != nil {
		return nil, err
	}
	if !form.Has("DesiredCapacity") {
		// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_UpdateAutoScalingGroup.html: a new minimum above
		// the desired capacity lifts it, a new maximum below lowers it.
		c.Desired = min(max(c.Desired, c.Min), c.Max)
	}
	if !form.Has("AvailabilityZones.member.1") && form.Get("VPCZoneIdentifier") != "" {
		c.Zones = s.opts.Zones[:min(len(strings.Split(c.Subnets, ",")), len(s.opts.Zones))]
	}
	if err := s.validate(&c); err != nil {
		return nil, err
	}
	before := g.Desired
	g.GroupConfig = c
	if c.Desired != before {
		g.asked(time.Now(), fmt.Sprintf("update of AutoScalingGroup constraints to min: %d, max: %d, desired: %d changing the desired capacity from %d to %d",
			c.Min, c.Max, c.Desired, before, c.Desired))
	}
	return nil, nil
}

// asked keeps what changed the desired capacity for the causes of what follows, and ends a launch back-off: somebody
// looks after the group.
func (g *group) asked(now time.Time, what string) {
	g.request = fmt.Sprintf("At %s a user request %s.  ", now.UTC().Format(time.RFC3339), what)
	g.failures, g.launchAfter = 0, time.Time{}
}

func (s *Service) deleteAutoScalingGroup(form url.Values) (any, error) {
	g, err := s.named(form)
	if err != nil {
		return nil, err
	}
	force, _, err := wire.Bool(form, "ForceDelete")
	switch {
	case err != nil:
		return nil, err
	case g.deleting:
		return nil, nil
	case !force && len(g.instances) > 0:
		return nil, wire.Errorf("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot "+
			"instance request(s) still in the group.")
	case !force && g.ongoing():
		return nil, wire.Errorf("ScalingActivityInProgress", "You cannot delete an AutoScalingGroup while there are scaling "+
			"activities in progress for that group.")
	}
	g.asked(time.Now(), fmt.Sprintf("force deleted AutoScalingGroup changing the desired capacity from %d to 0", g.Desired))
	g.Min, g.Max, g.Desired, g.deleting = 0, 0, 0, true
	for _, i := range g.instances {
		i.actions = nil // with the group, its open lifecycle actions are deleted
	}
	return nil, nil
}

func (s *Service) setDesiredCapacity(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	desired, _, err := wire.Int(form, "DesiredCapacity")
	if err != nil {
		return nil, err
	}
	honor, _, err := wire.Bool(form, "HonorCooldown")
	switch {
	case err != nil:
		return nil, err
	case honor:
		return nil, invalid("This region on a laptop has no cooldowns: HonorCooldown can't be true")
	case desired > g.Max:
		return nil, invalid("New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", desired, g.Max)
	case desired < g.Min:
		return nil, invalid("New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", desired, g.Min)
	}
	if desired != g.Desired {
		g.asked(time.Now(), fmt.Sprintf("explicitly set group desired capacity changing the desired capacity from %d to %d", g.Desired, desired))
		g.Desired = desired
	}
	return nil, nil
}

// scalingProcesses are the processes that a call names: all where it names none.
func scalingProcesses(form url.Values) ([]string, error) {
	names := wire.List(form, "ScalingProcesses")
	if len(names) == 0 {
		return processes, nil
	}
	for _, name := range names {
		if !slices.Contains(processes, name) {
			return nil, invalid("%s is not a valid process. Valid processes are %s", name, strings.Join(processes, ", "))
		}
	}
	return names, nil
}

func (s *Service) suspendProcesses(form url.Values) (any, error) {
	g, err := s.named(form)
	if err != nil {
		return nil, err
	}
	if g.deleting {
		return nil, invalid("Processes may not be suspended while the AutoScaling group is pending delete")
	}
	names, err := scalingProcesses(form)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		g.suspended[name] = "User suspended at " + time.Now().UTC().Format(time.RFC3339)
	}
	return nil, nil
}

func (s *Service) resumeProcesses(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	names, err := scalingProcesses(form)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		delete(g.suspended, name)
	}
	return nil, nil
}
