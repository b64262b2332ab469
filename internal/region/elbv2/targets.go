package elbv2

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/balancer"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// targetKey names a target in its group.
type targetKey struct {
	instance string
	port     int
}

func (k targetKey) String() string { return k.instance + ":" + strconv.Itoa(k.port) }

type target struct {
	key  targetKey
	host string
	tracker
	recheck chan struct{}      // has one element when the check's settings have changed
	cancel  context.CancelFunc // of what runs for the target: checks or a drain; nil for nothing
}

func (t *target) route() balancer.Target {
	return balancer.Target{ID: t.key.String(), Address: net.JoinHostPort(t.host, strconv.Itoa(t.key.port))}
}

// stop ends what runs for the target. What it was about to change it will not
// change any more, because it looks at its context under s.mu, which is held.
func (t *target) stop() {
	if t.cancel != nil {
		t.cancel()
		t.cancel = nil
	}
}

// run starts what runs for a target from now on; s.mu is held.
func (s *Service) run(t *target, f func(ctx context.Context)) {
	t.stop()
	if s.closed {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	t.cancel = cancel
	s.wg.Go(func() { f(ctx) })
}

// register registers targets, all or none. A target that drains comes back.
func (s *Service) register(groupARN string, keys []targetKey) error {
	hosts := make([]string, len(keys))
	var unknown error
	for i, key := range keys { // without s.mu: whoever knows the instances may be calling us
		host, ok := s.opts.Instances.Address(key.instance)
		if !ok && unknown == nil {
			unknown = wire.Errorf("InvalidTarget", "The following targets are not in a running state and cannot be registered: '%s'", key.instance)
		}
		hosts[i] = host
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	g, err := s.group(groupARN)
	if err != nil {
		return err
	}
	if unknown != nil {
		return unknown
	}
	added := map[targetKey]bool{}
	for _, key := range keys {
		if key = g.full(key); g.targets[key] == nil {
			added[key] = true
		}
	}
	if len(added) > 0 { // a quota that was lowered takes nothing away
		if err := s.room(g, len(added)); err != nil {
			return err
		}
	}
	for i, key := range keys {
		key = g.full(key)
		t := g.targets[key]
		switch {
		case t == nil:
			t = &target{key: key, recheck: make(chan struct{}, 1)}
			g.targets[key] = t
		case t.state != model.TargetDraining && t.host == hosts[i]:
			continue // registered already
		}
		t.host = hosts[i]
		s.start(g, t)
	}
	return nil
}

// full is the key with the group's port where none was given.
func (g *group) full(key targetKey) targetKey {
	if key.port == 0 {
		key.port = g.spec.Port
	}
	return key
}

// start begins a target's life in its group; s.mu is held.
func (s *Service) start(g *group, t *target) {
	if g.routes == nil {
		t.stop()
		t.begin(notInUse())
		return
	}
	t.begin(registering())
	routes := g.routes
	delay := s.opts.Propagation.Registration.Draw()
	s.run(t, func(ctx context.Context) {
		if sleep(ctx, delay) {
			s.check(ctx, g, t, routes)
		}
	})
}

// check checks a target until ctx ends.
func (s *Service) check(ctx context.Context, g *group, t *target, routes *balancer.Group) {
	s.mu.Lock()
	if ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	t.begin(checking())
	routes.Set(t.route(), balancer.Initial)
	s.mu.Unlock()
	for {
		s.mu.Lock()
		c, host, port := g.spec.Check, t.host, t.key.port
		s.mu.Unlock()
		started := time.Now()
		o := s.probe(ctx, c, host, port)

		s.mu.Lock()
		if ctx.Err() != nil {
			s.mu.Unlock()
			return
		}
		if t.observe(o, c.HealthyThreshold, c.UnhealthyThreshold) {
			state := balancer.Unhealthy
			if t.state == model.TargetHealthy {
				state = balancer.Healthy
			}
			routes.Set(t.route(), state)
		}
		s.mu.Unlock()

		next := time.NewTimer(time.Until(started.Add(c.Interval)))
		select {
		case <-next.C:
		case <-t.recheck:
			next.Stop()
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// deregister deregisters targets; those that are not registered are fine.
func (s *Service) deregister(groupARN string, keys []targetKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(groupARN)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if t := g.targets[g.full(key)]; t != nil {
			s.drain(g, t)
		}
	}
	return nil
}

// drain begins a target's deregistration delay; s.mu is held.
func (s *Service) drain(g *group, t *target) {
	if t.state == model.TargetDraining {
		return
	}
	if g.routes == nil { // nothing can be in flight
		t.stop()
		delete(g.targets, t.key)
		return
	}
	t.begin(draining())
	routes, delay := g.routes, g.spec.Delay
	routes.Set(t.route(), balancer.Draining)
	s.run(t, func(ctx context.Context) {
		if !sleep(ctx, delay) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if ctx.Err() == nil {
			t.stop()
			delete(g.targets, t.key)
			routes.Remove(t.key.String())
		}
	})
}

// described is one target in an answer of DescribeTargetHealth.
type described struct {
	key       targetKey
	checkPort int
	health
}

// describe tells the health of the targets in keys, or of all when there are none.
func (s *Service) describe(groupARN string, keys []targetKey) ([]described, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(groupARN)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		for key := range g.targets {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b targetKey) int {
			return cmp.Or(cmp.Compare(a.instance, b.instance), cmp.Compare(a.port, b.port))
		})
	}
	var out []described
	for _, key := range keys {
		key = g.full(key)
		d := described{key, g.spec.Check.portOf(key.port), unregistered()}
		if t := g.targets[key]; t != nil {
			d.health = t.health
		}
		out = append(out, d)
	}
	return out, nil
}
