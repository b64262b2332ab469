package elbv2

import (
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// groupAnswer is a target group on the wire.
type groupAnswer struct {
	TargetGroupArn             string
	TargetGroupName            string
	Protocol                   string
	ProtocolVersion            string
	Port                       int
	VpcId                      string `xml:",omitempty"`
	HealthCheckProtocol        string
	HealthCheckPort            string
	HealthCheckEnabled         bool
	HealthCheckIntervalSeconds int
	HealthCheckTimeoutSeconds  int
	HealthyThresholdCount      int
	UnhealthyThresholdCount    int
	HealthCheckPath            string       `xml:",omitempty"`
	Matcher                    *matchAnswer `xml:",omitempty"`
	LoadBalancerArns           wire.Members[string]
	TargetType                 string
	IpAddressType              string
}

type matchAnswer struct{ HttpCode string }

type groupsAnswer struct {
	TargetGroups wire.Members[groupAnswer]
	NextMarker   string `xml:",omitempty"`
}

// answer is the group as the API tells it; times in seconds, rounded up.
func (g *group) answer() groupAnswer {
	c := g.spec.Check
	a := groupAnswer{
		TargetGroupArn: g.arn, TargetGroupName: g.spec.Name,
		Protocol: "HTTP", ProtocolVersion: "HTTP1", Port: g.spec.Port, VpcId: g.spec.VpcID,
		HealthCheckProtocol: c.Protocol, HealthCheckPort: c.Port, HealthCheckEnabled: true, HealthCheckPath: c.Path,
		HealthCheckIntervalSeconds: seconds(c.Interval), HealthCheckTimeoutSeconds: seconds(c.Timeout),
		HealthyThresholdCount: c.HealthyThreshold, UnhealthyThresholdCount: c.UnhealthyThreshold,
		TargetType: "instance", IpAddressType: "ipv4",
	}
	if c.Matcher != "" {
		a.Matcher = &matchAnswer{c.Matcher}
	}
	if g.balancer != nil {
		a.LoadBalancerArns = wire.ListOf(g.balancer.arn)
	}
	return a
}

func (s *Service) groupAnswer(arn string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(arn)
	if err != nil {
		return nil, err
	}
	return groupsAnswer{TargetGroups: wire.ListOf(g.answer())}, nil
}

func (s *Service) createTargetGroup(form url.Values) (any, error) {
	name, err := required(form, "Name")
	if err != nil {
		return nil, err
	}
	for key, only := range map[string]string{
		"TargetType": "instance", "Protocol": "HTTP", "ProtocolVersion": "HTTP1", "IpAddressType": "ipv4",
	} {
		if value := form.Get(key); value != "" && value != only {
			return nil, unsupported("%s '%s', only '%s'", key, value, only)
		}
	}
	for key, what := range map[string]string{"Protocol": "protocol", "Port": "port", "VpcId": "VPC ID"} {
		if form.Get(key) == "" {
			return nil, invalid("A %s must be specified", what)
		}
	}
	spec := GroupSpec{Name: name, VpcID: form.Get("VpcId")}
	if err := number(form, "Port", 1, 65535, &spec.Port); err != nil {
		return nil, err
	}
	if spec.Check, err = checkFrom(form, HealthCheck{}); err != nil {
		return nil, err
	}
	tags, err := readTags(form)
	if err != nil {
		return nil, err
	}
	arn, err := s.CreateTargetGroup(spec)
	if err != nil {
		return nil, err
	}
	if err := s.tag([]string{arn}, tags); err != nil {
		return nil, err
	}
	return s.groupAnswer(arn)
}

// checkFrom changes a health check by what a call gives, within AWS's limits.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
func checkFrom(form url.Values, c HealthCheck) (HealthCheck, error) {
	if enabled, given, err := wire.Bool(form, "HealthCheckEnabled"); err != nil {
		return c, err
	} else if given && !enabled {
		return c, invalid("Health check enabled must be true for target groups with target type 'instance'")
	}
	if protocol := form.Get("HealthCheckProtocol"); protocol == "TCP" {
		return c, invalid("Health check protocol 'TCP' is not supported for target groups with the protocol 'HTTP'")
	}
	for key, field := range map[string]*string{
		"HealthCheckProtocol": &c.Protocol, "HealthCheckPort": &c.Port,
		"HealthCheckPath": &c.Path, "Matcher.HttpCode": &c.Matcher,
	} {
		if value := form.Get(key); value != "" {
			*field = value
		}
	}
	if err := refuse(form, "Matcher.GrpcCode"); err != nil {
		return c, err
	}
	interval, timeout := 0, 0 // seconds, 0 when not given
	for _, n := range []struct {
		key       string
		low, high int
		field     *int
	}{
		{"HealthCheckIntervalSeconds", 5, 300, &interval},
		{"HealthCheckTimeoutSeconds", 2, 120, &timeout},
		{"HealthyThresholdCount", 2, 10, &c.HealthyThreshold},
		{"UnhealthyThresholdCount", 2, 10, &c.UnhealthyThreshold},
	} {
		if err := number(form, n.key, n.low, n.high, n.field); err != nil {
			return c, err
		}
	}
	if interval > 0 {
		c.Interval = time.Duration(interval) * time.Second
	}
	if timeout > 0 {
		c.Timeout = time.Duration(timeout) * time.Second
	}
	c = c.withDefaults()
	// An interval of 5 s beside the default timeout of 5 s is taken, as AWS does.
	if timeout > 0 && c.Timeout >= c.Interval || interval > 0 && c.Timeout > c.Interval {
		return c, invalid("Health check timeout '%d' must be smaller than the interval '%d'", seconds(c.Timeout), seconds(c.Interval))
	}
	return c, c.validate()
}

func (s *Service) describeTargetGroups(form url.Values) (any, error) {
	if err := exclusive(form, "LoadBalancerArn", "TargetGroupArns", "Names"); err != nil {
		return nil, err
	}
	arns := wire.List(form, "TargetGroupArns")
	for _, arn := range arns {
		if err := checkARN("target group", "targetgroup", arn); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.groups))
	if arn := form.Get("LoadBalancerArn"); arn != "" {
		lb := s.balancers[arn]
		if lb == nil {
			return nil, errNotFound("LoadBalancerNotFound", "load balancers")
		}
		all = slices.DeleteFunc(all, func(g *group) bool { return g.balancer != lb })
	}
	found, err := choose(all, arns, wire.List(form, "Names"), errNotFound("TargetGroupNotFound", "target groups"))
	if err != nil {
		return nil, err
	}
	found, next, err := page(form, found)
	if err != nil {
		return nil, err
	}
	out := groupsAnswer{NextMarker: next}
	for _, g := range found {
		out.TargetGroups.Member = append(out.TargetGroups.Member, g.answer())
	}
	return out, nil
}

func (s *Service) modifyTargetGroup(form url.Values) (any, error) {
	arn, err := required(form, "TargetGroupArn")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	g, err := s.group(arn)
	var c HealthCheck
	if err == nil {
		c = g.spec.Check
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if c, err = checkFrom(form, c); err != nil {
		return nil, err
	}
	if err := s.SetHealthCheck(arn, c); err != nil {
		return nil, err
	}
	return s.groupAnswer(arn)
}

func (s *Service) deleteTargetGroup(form url.Values) (any, error) {
	arn, err := required(form, "TargetGroupArn")
	if err != nil {
		return nil, err
	}
	if err := checkARN("target group", "targetgroup", arn); err != nil {
		return nil, err
	}
	return nil, s.DeleteTargetGroup(arn)
}

type pairAnswer struct{ Key, Value string }

type attributesAnswer struct {
	Attributes wire.Members[pairAnswer]
}

func (s *Service) describeTargetGroupAttributes(form url.Values) (any, error) {
	return s.attributes(form, nil)
}

func (s *Service) modifyTargetGroupAttributes(form url.Values) (any, error) {
	changes := pairs(form, "Attributes")
	if len(changes) == 0 {
		return nil, invalid("At least one attribute must be specified")
	}
	return s.attributes(form, changes)
}

func (s *Service) attributes(form url.Values, changes [][2]string) (any, error) {
	arn, err := required(form, "TargetGroupArn")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(arn)
	if err != nil {
		return nil, err
	}
	if err := g.setAttributes(changes); err != nil {
		return nil, err
	}
	var out attributesAnswer
	for _, a := range g.attributes() {
		out.Attributes.Member = append(out.Attributes.Member, pairAnswer{a[0], a[1]})
	}
	return out, nil
}
