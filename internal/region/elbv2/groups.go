package elbv2

import (
	"context"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/balancer"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// The attributes of a target group that do something here.
const (
	attributeDelay     = "deregistration_delay.timeout_seconds"
	attributeAlgorithm = "load_balancing.algorithm.type"
)

// fixedAttributes are those that a target group of instances behind an
// Application Load Balancer has too, with their defaults, which can't be
// changed here.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
func fixedAttributes() [][2]string {
	return [][2]string{
		{"load_balancing.algorithm.anomaly_mitigation", "off"},
		{"load_balancing.cross_zone.enabled", "use_load_balancer_configuration"},
		{"slow_start.duration_seconds", "0"},
		{"stickiness.app_cookie.cookie_name", ""},
		{"stickiness.app_cookie.duration_seconds", "86400"},
		{"stickiness.enabled", "false"},
		{"stickiness.lb_cookie.duration_seconds", "86400"},
		{"stickiness.type", "lb_cookie"},
		{"target_group_health.dns_failover.minimum_healthy_targets.count", "1"},
		{"target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"},
		{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"},
		{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"},
	}
}

// GroupSpec describes a target group of instances, for HTTP.
type GroupSpec struct {
	Name string // at most 32 letters, digits and hyphens; unique in the region
	// Port is the default for targets that are registered without one.
	Port int
	// VpcID is reported as it is given.
	VpcID string
	// Check is how targets are checked; zero fields have AWS's defaults.
	Check HealthCheck
	// Delay is the deregistration delay: 300 s when zero, as AWS has it; none
	// when negative.
	Delay time.Duration
}

type group struct {
	arn       string
	spec      GroupSpec // with the defaults filled in; Delay is what holds
	algorithm balancer.Algorithm
	targets   map[targetKey]*target
	// balancer is the load balancer that has listeners for this group, and
	// routes what its nodes know; both nil while the group is not in use.
	balancer *loadBalancer
	routes   *balancer.Group
}

// CreateTargetGroup makes a target group and returns its ARN. The same
// settings once more return the same ARN; others under the same name are a
// DuplicateTargetGroupName.
func (s *Service) CreateTargetGroup(spec GroupSpec) (arn string, err error) {
	if err := checkName("Target group", spec.Name); err != nil {
		return "", err
	}
	if spec.Port < 1 || spec.Port > 65535 {
		return "", invalid("Port '%d' must be between '1' and '65535' inclusive", spec.Port)
	}
	spec.Check = spec.Check.withDefaults()
	if err := spec.Check.validate(); err != nil {
		return "", err
	}
	switch {
	case spec.Delay == 0:
		spec.Delay = 300 * time.Second
	case spec.Delay < 0:
		spec.Delay = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		if g.spec.Name == spec.Name {
			same := spec
			same.Delay = g.spec.Delay // an attribute, not a setting of the creation
			if g.spec != same {
				return "", wire.Errorf("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", spec.Name)
			}
			return g.arn, nil
		}
	}
	g := &group{
		arn: s.arn("targetgroup/" + spec.Name), spec: spec, algorithm: balancer.RoundRobin,
		targets: map[targetKey]*target{},
	}
	s.groups[g.arn] = g
	return g.arn, nil
}

// SetHealthCheck changes how a group's targets are checked, from the next
// check on. Zero fields have AWS's defaults.
func (s *Service) SetHealthCheck(groupARN string, check HealthCheck) error {
	check = check.withDefaults()
	if err := check.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(groupARN)
	if err != nil {
		return err
	}
	g.spec.Check = check
	for _, t := range g.targets {
		select {
		case t.recheck <- struct{}{}:
		default: // it was told already
		}
	}
	return nil
}

// SetDeregistrationDelay changes a group's deregistration delay, for targets
// that are deregistered from now on.
func (s *Service) SetDeregistrationDelay(groupARN string, delay time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(groupARN)
	if err != nil {
		return err
	}
	g.spec.Delay = max(delay, 0)
	return nil
}

// DeleteTargetGroup deletes a group that no listener uses; ResourceInUse
// otherwise. Deleting what does not exist succeeds.
func (s *Service) DeleteTargetGroup(groupARN string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupARN]
	if g == nil {
		return nil
	}
	if g.balancer != nil {
		return wire.Errorf("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", groupARN)
	}
	g.stopAll()
	delete(s.groups, groupARN)
	delete(s.tags, groupARN)
	return nil
}

// group finds a target group; s.mu is held.
func (s *Service) group(arn string) (*group, error) {
	if g := s.groups[arn]; g != nil {
		return g, nil
	}
	return nil, wire.Errorf("TargetGroupNotFound", "Target group '%s' not found", arn)
}

// attach puts a group to use by a load balancer, the only one that may use it;
// s.mu is held.
func (s *Service) attach(g *group, lb *loadBalancer) {
	if g.balancer == lb {
		return
	}
	g.balancer = lb
	g.routes = balancer.NewGroup(balancer.GroupOptions{
		Nodes: s.opts.Nodes, Healthy: s.opts.Propagation.Healthy, Deregistered: s.opts.Propagation.Deregistration,
	})
	g.routes.SetAlgorithm(g.algorithm)
	for _, t := range g.targets {
		s.start(g, t)
	}
}

// detach takes a group out of use and returns what its nodes knew, to be
// closed once no request is in flight; nil while another listener uses it.
// s.mu is held.
func (s *Service) detach(g *group) *balancer.Group {
	for _, l := range g.balancer.listeners {
		if l.group == g {
			return nil
		}
	}
	routes := g.routes
	g.balancer, g.routes = nil, nil
	for key, t := range g.targets {
		t.stop()
		if t.state == model.TargetDraining {
			delete(g.targets, key)
			continue
		}
		t.begin(notInUse())
	}
	return routes
}

// stopAll ends the checks and the drains; s.mu is held.
func (g *group) stopAll() {
	for _, t := range g.targets {
		t.stop()
	}
}

// attributes are all attributes, in the order of their keys.
func (g *group) attributes() [][2]string {
	return append([][2]string{
		{attributeDelay, strconv.Itoa(seconds(g.spec.Delay))},
		{attributeAlgorithm, string(g.algorithm)},
	}, fixedAttributes()...)
}

// setAttributes changes attributes, all or none; s.mu is held.
func (g *group) setAttributes(changes [][2]string) error {
	delay, algorithm := g.spec.Delay, g.algorithm
	for _, change := range changes {
		key, value := change[0], change[1]
		switch key {
		case attributeDelay:
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 3600 {
				return invalid("'%s' value '%s' must be between '0-3600' inclusive", key, value)
			}
			delay = time.Duration(n) * time.Second
		case attributeAlgorithm:
			algorithm = balancer.Algorithm(value)
			switch algorithm {
			case balancer.RoundRobin, balancer.LeastOutstanding:
			case "weighted_random":
				return unsupported("%s %s", key, value)
			default:
				return invalid("Load balancing algorithm type '%s' must be one of [round_robin, least_outstanding_requests, weighted_random]", value)
			}
		default:
			if err := checkFixed(key, value); err != nil {
				return err
			}
		}
	}
	g.spec.Delay, g.algorithm = delay, algorithm
	if g.routes != nil {
		g.routes.SetAlgorithm(algorithm)
	}
	return nil
}

func checkFixed(key, value string) error {
	for _, fixed := range fixedAttributes() {
		if fixed[0] != key {
			continue
		}
		if fixed[1] != value {
			return unsupported("%s other than '%s'", key, fixed[1])
		}
		return nil
	}
	return invalid("Target group attribute key '%s' is not recognized", key)
}

// retire ends a listener, and what its group's nodes knew, in the background;
// s.mu is held.
func (s *Service) retire(l *listener, routes *balancer.Group) {
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, retirement)
		defer cancel()
		_ = l.balancer.Close(ctx) // what had to be cut was told to the hook
		if routes != nil {
			routes.Close()
		}
	})
}

// retirement is how long requests in flight may take when their listener is deleted.
const retirement = 10 * time.Second
