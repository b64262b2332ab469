package elbv2

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/balancer"
	"github.com/bootagent/bootagent/internal/region/wire"
)

type loadBalancer struct {
	arn       string
	spec      BalancerSpec
	created   time.Time
	listeners map[string]*listener // by ARN
}

type listener struct {
	arn      string
	lb       *loadBalancer
	port     int
	group    *group
	balancer *balancer.Balancer
}

// BalancerSpec describes an Application Load Balancer.
type BalancerSpec struct {
	Name   string // at most 32 letters, digits and hyphens; unique in the region
	Scheme string // "internet-facing" when empty, or "internal"; only reported
	VpcID  string // only reported
	// Subnets, separated by commas, each in a zone of its own; only reported.
	Subnets string
}

// CreateLoadBalancer makes a load balancer and returns its ARN. It is active
// at once. The same settings once more return the same ARN; others under the
// same name are a DuplicateLoadBalancerName.
func (s *Service) CreateLoadBalancer(spec BalancerSpec) (arn string, err error) {
	if err := checkName("Load balancer", spec.Name); err != nil {
		return "", err
	}
	if strings.HasPrefix(spec.Name, "internal-") {
		return "", invalid("Load balancer name '%s' cannot begin with 'internal-'", spec.Name)
	}
	switch spec.Scheme {
	case "":
		spec.Scheme = "internet-facing"
	case "internet-facing", "internal":
	default:
		return "", wire.Errorf("InvalidScheme", "Scheme '%s' must be one of [internet-facing, internal]", spec.Scheme)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, lb := range s.balancers {
		if lb.spec.Name == spec.Name {
			if lb.spec != spec {
				return "", wire.Errorf("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", spec.Name)
			}
			return lb.arn, nil
		}
	}
	lb := &loadBalancer{arn: s.arn("loadbalancer/app/" + spec.Name), spec: spec, created: time.Now(), listeners: map[string]*listener{}}
	s.balancers[lb.arn] = lb
	return lb.arn, nil
}

// DeleteLoadBalancer deletes a load balancer and its listeners. Requests in
// flight may take another ten seconds. Deleting what does not exist succeeds.
func (s *Service) DeleteLoadBalancer(arn string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lb := s.balancers[arn]
	if lb == nil {
		return nil
	}
	if s.closed {
		return errClosed
	}
	for _, l := range lb.listeners {
		s.remove(l)
	}
	delete(s.balancers, arn)
	delete(s.tags, arn)
	return nil
}

// Listener is an open listener.
type Listener struct {
	ARN string
	// Balancer is what serves it: its address and its counters. It is not the
	// caller's to close.
	Balancer *balancer.Balancer
}

// CreateListener opens a port, on Options.Host, that forwards HTTP requests to
// a target group. Port 0 picks a free one. A port that can't be opened is an
// InvalidConfigurationRequest with the system's reason.
func (s *Service) CreateListener(balancerARN string, port int, groupARN string) (Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Listener{}, errClosed
	}
	lb := s.balancers[balancerARN]
	if lb == nil {
		return Listener{}, wire.Errorf("LoadBalancerNotFound", "Load balancer '%s' not found", balancerARN)
	}
	g, err := s.group(groupARN)
	if err != nil {
		return Listener{}, err
	}
	for _, l := range lb.listeners {
		if port == l.port {
			if l.group == g {
				return Listener{l.arn, l.balancer}, nil
			}
			return Listener{}, wire.Errorf("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", lb.arn)
		}
	}
	if g.balancer != nil && g.balancer != lb {
		return Listener{}, wire.Errorf("TargetGroupAssociationLimit", "The following target groups cannot be associated with more than one load balancer: %s", g.arn)
	}
	if g.balancer == nil {
		if err := s.roomBehind(lb, len(g.targets)); err != nil {
			return Listener{}, err
		}
	}
	ln, err := s.listen(s.ctx, net.JoinHostPort(s.opts.Host, strconv.Itoa(port)))
	if err != nil {
		return Listener{}, wire.Errorf("InvalidConfigurationRequest", "the port can't be opened on this laptop, choose another: %v", err)
	}
	s.attach(g, lb)
	if address, ok := ln.Addr().(*net.TCPAddr); ok {
		port = address.Port
	}
	l := &listener{
		arn: s.arn("listener/" + strings.SplitN(lb.arn, ":loadbalancer/", 2)[1]),
		lb:  lb, port: port, group: g, balancer: balancer.Serve(ln, g.routes, s.opts.Balancer),
	}
	lb.listeners[l.arn] = l
	return Listener{l.arn, l.balancer}, nil
}

// DeleteListener closes a listener's port. Requests in flight may take another
// ten seconds. A group without listeners is not in use any more.
func (s *Service) DeleteListener(arn string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listener(arn)
	if l == nil {
		return wire.Errorf("ListenerNotFound", "Listener '%s' not found", arn)
	}
	if s.closed {
		return errClosed
	}
	s.remove(l)
	return nil
}

// listener finds a listener; s.mu is held.
func (s *Service) listener(arn string) *listener {
	for _, lb := range s.balancers {
		if l := lb.listeners[arn]; l != nil {
			return l
		}
	}
	return nil
}

// remove takes a listener away; s.mu is held.
func (s *Service) remove(l *listener) {
	delete(l.lb.listeners, l.arn)
	delete(s.tags, l.arn)
	s.retire(l, s.detach(l.group))
}
