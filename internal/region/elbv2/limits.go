package elbv2

import (
	"cmp"
	"net/url"
	"strconv"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Limits are the quotas that the region holds targets to. One that is zero is AWS's default, 1000.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
type Limits struct {
	// PerGroup is how many targets a target group takes.
	PerGroup int
	// PerBalancer is how many the target groups of a load balancer take together. AWS does not say whether an instance that is
	// registered twice counts twice: here it does.
	PerBalancer int
}

// SetLimits changes the quotas, from the next registration on: what is registered stays.
func (s *Service) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

func (l Limits) perGroup() int    { return cmp.Or(l.PerGroup, 1000) }
func (l Limits) perBalancer() int { return cmp.Or(l.PerBalancer, 1000) }

// room refuses more targets for a group than the quotas allow. One that drains counts until it is gone. s.mu is held.
func (s *Service) room(g *group, more int) error {
	if most := s.limits.perGroup(); len(g.targets)+more > most {
		return wire.Errorf("TooManyTargets", "The maximum number of targets per target group, %d, has been reached", most)
	}
	if g.balancer == nil {
		return nil
	}
	return s.roomBehind(g.balancer, more)
}

// roomBehind is room, for a load balancer and all its groups.
func (s *Service) roomBehind(lb *loadBalancer, more int) error {
	for _, g := range s.groups {
		if g.balancer == lb {
			more += len(g.targets)
		}
	}
	if most := s.limits.perBalancer(); more > most {
		return wire.Errorf("TooManyTargets", "The maximum number of targets per load balancer, %d, has been reached", most)
	}
	return nil
}

// limit is one of the account's, as the API tells it.
type limit struct {
	Name string
	Max  string
}

func (l limit) id() string   { return l.Name }
func (l limit) name() string { return l.Name }

// accountLimits are AWS's names and defaults, in their order, as its own example has them; the region holds to those of targets alone.
// The reference's list of names is shorter than the example.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Limit.html
// https://docs.aws.amazon.com/cli/latest/reference/elbv2/describe-account-limits.html
func (l Limits) accountLimits() []limit {
	return []limit{
		{"application-load-balancers", "50"},
		{"certificates-per-application-load-balancer", "25"},
		{"certificates-per-network-load-balancer", "25"},
		{"condition-values-per-alb-rule", "5"},
		{"condition-wildcards-per-alb-rule", "5"},
		{"gateway-load-balancers", "100"},
		{"gateway-load-balancers-per-vpc", "100"},
		{"geneve-target-groups", "100"},
		{"listeners-per-application-load-balancer", "50"},
		{"listeners-per-network-load-balancer", "50"},
		{"network-load-balancer-enis-per-vpc", "1200"},
		{"network-load-balancers", "50"},
		{"rules-per-application-load-balancer", "100"},
		{"target-groups", "3000"},
		{"target-groups-per-action-on-application-load-balancer", "5"},
		{"target-groups-per-action-on-network-load-balancer", "1"},
		{"target-groups-per-application-load-balancer", "100"},
		{"target-id-registrations-per-application-load-balancer", "1000"},
		{"targets-per-application-load-balancer", strconv.Itoa(l.perBalancer())},
		{"targets-per-availability-zone-per-gateway-load-balancer", "300"},
		{"targets-per-availability-zone-per-network-load-balancer", "500"},
		{"targets-per-network-load-balancer", "3000"},
		{"targets-per-target-group", strconv.Itoa(l.perGroup())},
	}
}

type limitsAnswer struct {
	Limits     wire.Members[limit]
	NextMarker string `xml:",omitempty"`
}

func (s *Service) describeAccountLimits(form url.Values) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, next, err := page(form, s.limits.accountLimits())
	if err != nil {
		return nil, err
	}
	return limitsAnswer{Limits: wire.ListOf(found...), NextMarker: next}, nil
}
