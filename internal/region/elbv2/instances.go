package elbv2

import (
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/balancer"
)

// What Auto Scaling needs of the target groups that are attached to it. It
// may hold its own locks: nothing here calls Options.Instances under s.mu.

// Exists says whether there is a target group of that ARN.
func (s *Service) Exists(groupARN string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[groupARN] != nil
}

// RegisterInstance registers an instance with the group's own port, as Auto
// Scaling does for the groups that are attached to it. It is idempotent.
func (s *Service) RegisterInstance(groupARN, instanceID string) error {
	return s.register(groupARN, []targetKey{{instance: instanceID}})
}

// DeregisterInstance begins the deregistration of an instance's target on the
// group's own port, and returns the group's deregistration delay: how long the
// instance should be left running. It is idempotent.
func (s *Service) DeregisterInstance(groupARN, instanceID string) (delay time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(groupARN)
	if err != nil {
		return 0, err
	}
	if t := g.targets[g.full(targetKey{instance: instanceID})]; t != nil {
		s.drain(g, t)
	}
	return g.spec.Delay, nil
}

// Health is the best state among an instance's targets in a group:
// TargetUnused when it has none.
func (s *Service) Health(groupARN, instanceID string) (model.TargetState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(groupARN)
	if err != nil {
		return "", err
	}
	best := []model.TargetState{
		model.TargetHealthy, model.TargetInitial, model.TargetUnhealthy, model.TargetDraining, model.TargetUnused,
	}
	found := len(best) - 1
	for key, t := range g.targets {
		if i := slices.Index(best, t.state); key.instance == instanceID && i >= 0 {
			found = min(found, i)
		}
	}
	return best[found], nil
}

// Healthy is an instance's health in a group as Auto Scaling counts it: known
// is false while no check has decided, or nothing is registered.
func (s *Service) Healthy(groupARN, instanceID string) (known, healthy bool) {
	state, err := s.Health(groupARN, instanceID)
	if err != nil {
		return false, false
	}
	healthy = state == model.TargetHealthy
	return healthy || state == model.TargetUnhealthy, healthy
}

// InstanceGone says that an instance was terminated: its targets are
// deregistered without a delay, as there is nothing to wait for. The nodes
// learn of it as late as of any deregistration.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-register-targets.html
func (s *Service) InstanceGone(instanceID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		for key, t := range g.targets {
			if key.instance != instanceID {
				continue
			}
			t.stop()
			delete(g.targets, key)
			if g.routes != nil {
				g.routes.Set(t.route(), balancer.Draining)
				g.routes.Remove(key.String())
			}
		}
	}
}
