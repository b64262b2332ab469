package elbv2

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

type balancersAnswer struct {
	LoadBalancers wire.Members[balancerAnswer]
	NextMarker    string `xml:",omitempty"`
}

type balancerAnswer struct {
	LoadBalancerArn   string
	LoadBalancerName  string
	DNSName           string
	CreatedTime       wire.Time
	Scheme            string
	VpcId             string `xml:",omitempty"`
	Type              string
	IpAddressType     string
	State             struct{ Code string }
	AvailabilityZones wire.Members[zoneAnswer]
}

type zoneAnswer struct {
	ZoneName string
	SubnetId string
}

// balancerAnswer is the load balancer as the API tells it; s.mu is held.
func (s *Service) balancerAnswer(lb *loadBalancer) balancerAnswer {
	a := balancerAnswer{
		LoadBalancerArn: lb.arn, LoadBalancerName: lb.spec.Name, DNSName: s.opts.Host,
		CreatedTime: wire.Time(lb.created), Scheme: lb.spec.Scheme, VpcId: lb.spec.VpcID,
		Type: "application", IpAddressType: "ipv4",
	}
	a.State.Code = "active"
	if lb.spec.Subnets != "" {
		for i, subnet := range strings.Split(lb.spec.Subnets, ",") {
			zone := s.opts.Region + string(rune('a'+i%6))
			a.AvailabilityZones.Member = append(a.AvailabilityZones.Member, zoneAnswer{zone, subnet})
		}
	}
	return a
}

func (s *Service) createLoadBalancer(form url.Values) (any, error) {
	name, err := required(form, "Name")
	if err != nil {
		return nil, err
	}
	if kind := form.Get("Type"); kind != "" && kind != "application" {
		return nil, unsupported("load balancers of type '%s', only 'application'", kind)
	}
	if kind := form.Get("IpAddressType"); kind != "" && kind != "ipv4" {
		return nil, unsupported("IpAddressType '%s', only 'ipv4'", kind)
	}
	subnets := wire.List(form, "Subnets")
	for _, mapping := range wire.Structs(form, "SubnetMappings") {
		subnets = append(subnets, mapping.Get("SubnetId"))
	}
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
	if len(subnets) < 2 {
		return nil, invalid("At least two subnets in two different Availability Zones must be specified")
	}
	tags, err := readTags(form)
	if err != nil {
		return nil, err
	}
	arn, err := s.CreateLoadBalancer(BalancerSpec{Name: name, Scheme: form.Get("Scheme"), Subnets: strings.Join(subnets, ",")})
	if err != nil {
		return nil, err
	}
	if err := s.tag([]string{arn}, tags); err != nil {
		return nil, err
	}
	return s.describeLoadBalancers(url.Values{"LoadBalancerArns.member.1": {arn}})
}

func (s *Service) describeLoadBalancers(form url.Values) (any, error) {
	if err := exclusive(form, "LoadBalancerArns", "Names"); err != nil {
		return nil, err
	}
	arns := wire.List(form, "LoadBalancerArns")
	for _, arn := range arns {
		if err := checkARN("load balancer", "loadbalancer", arn); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := choose(slices.Collect(maps.Values(s.balancers)), arns, wire.List(form, "Names"),
		errNotFound("LoadBalancerNotFound", "load balancers"))
	if err != nil {
		return nil, err
	}
	found, next, err := page(form, found)
	if err != nil {
		return nil, err
	}
	out := balancersAnswer{NextMarker: next}
	for _, lb := range found {
		out.LoadBalancers.Member = append(out.LoadBalancers.Member, s.balancerAnswer(lb))
	}
	return out, nil
}

func (s *Service) deleteLoadBalancer(form url.Values) (any, error) {
	arn, err := required(form, "LoadBalancerArn")
	if err != nil {
		return nil, err
	}
	if err := checkARN("load balancer", "loadbalancer", arn); err != nil {
		return nil, err
	}
	return nil, s.DeleteLoadBalancer(arn)
}

type listenersAnswer struct {
	Listeners  wire.Members[listenerAnswer]
	NextMarker string `xml:",omitempty"`
}

type listenerAnswer struct {
	ListenerArn     string
	LoadBalancerArn string
	Port            int
	Protocol        string
	DefaultActions  wire.Members[actionAnswer]
}

type actionAnswer struct {
	Type           string
	TargetGroupArn string
	ForwardConfig  struct {
		TargetGroups                wire.Members[weightAnswer]
		TargetGroupStickinessConfig struct{ Enabled bool }
	}
}

type weightAnswer struct {
	TargetGroupArn string
	Weight         int
}

func (l *listener) answer() listenerAnswer {
	action := actionAnswer{Type: "forward", TargetGroupArn: l.group.arn}
	action.ForwardConfig.TargetGroups = wire.ListOf(weightAnswer{l.group.arn, 1})
	return listenerAnswer{
		ListenerArn: l.arn, LoadBalancerArn: l.lb.arn, Port: l.port, Protocol: "HTTP",
		DefaultActions: wire.ListOf(action),
	}
}

func (s *Service) createListener(form url.Values) (any, error) {
	lb, err := required(form, "LoadBalancerArn")
	if err != nil {
		return nil, err
	}
	switch protocol := form.Get("Protocol"); protocol {
	case "HTTP":
	case "":
		return nil, invalid("A listener protocol must be specified")
	default:
		return nil, unsupported("listeners for %s, only HTTP", protocol)
	}
	if form.Get("Port") == "" {
		return nil, invalid("A listener port must be specified")
	}
	var port int
	if err := number(form, "Port", 1, 65535, &port); err != nil {
		return nil, err
	}
	group, err := forwardTo(form)
	if err != nil {
		return nil, err
	}
	tags, err := readTags(form)
	if err != nil {
		return nil, err
	}
	l, err := s.CreateListener(lb, port, group)
	if err != nil {
		return nil, err
	}
	if err := s.tag([]string{l.ARN}, tags); err != nil {
		return nil, err
	}
	return s.describeListeners(url.Values{"ListenerArns.member.1": {l.ARN}})
}

// forwardTo is the one target group that the default actions forward to.
func forwardTo(form url.Values) (string, error) {
	actions := wire.Structs(form, "DefaultActions")
	if len(actions) != 1 {
		return "", invalid("A listener must have exactly one default action of type 'forward', 'redirect' or 'fixed-response'")
	}
	action := actions[0]
	if kind := action.Get("Type"); kind != "forward" {
		return "", unsupported("actions of type '%s', only 'forward'", kind)
	}
	group := action.Get("TargetGroupArn")
	weighted := wire.Structs(action, "ForwardConfig.TargetGroups")
	if len(weighted) > 1 {
		return "", unsupported("forwarding to more than one target group")
	}
	if len(weighted) == 1 && group == "" {
		group = weighted[0].Get("TargetGroupArn")
	}
	if action.Get("ForwardConfig.TargetGroupStickinessConfig.Enabled") == "true" {
		return "", unsupported("stickiness")
	}
	if group == "" {
		return "", invalid("A target group ARN must be specified")
	}
	return group, nil
}

func (s *Service) describeListeners(form url.Values) (any, error) {
	if err := exclusive(form, "LoadBalancerArn", "ListenerArns"); err != nil {
		return nil, err
	}
	arns, balancer := wire.List(form, "ListenerArns"), form.Get("LoadBalancerArn")
	if len(arns) == 0 && balancer == "" {
		return nil, invalid("You must specify either listener ARNs or a load balancer ARN")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*listener
	for _, lb := range s.balancers {
		if balancer == "" || lb.arn == balancer {
			all = slices.AppendSeq(all, maps.Values(lb.listeners))
		}
	}
	if balancer != "" && s.balancers[balancer] == nil {
		return nil, errNotFound("LoadBalancerNotFound", "load balancers")
	}
	found, err := choose(all, arns, nil, errNotFound("ListenerNotFound", "listeners"))
	if err != nil {
		return nil, err
	}
	found, next, err := page(form, found)
	if err != nil {
		return nil, err
	}
	out := listenersAnswer{NextMarker: next}
	for _, l := range found {
		out.Listeners.Member = append(out.Listeners.Member, l.answer())
	}
	return out, nil
}

func (s *Service) deleteListener(form url.Values) (any, error) {
	arn, err := required(form, "ListenerArn")
	if err != nil {
		return nil, err
	}
	return nil, s.DeleteListener(arn)
}
