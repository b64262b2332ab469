package contract

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// targetGroup creates a target group and writes what it became.
func (s *fleetTeller) targetGroup(name string, changes ...func(*elb.CreateTargetGroupInput)) {
	in := &elb.CreateTargetGroupInput{Name: &name, Protocol: "HTTP", Port: aws.Int32(8080), VpcId: &s.place.vpc}
	for _, change := range changes {
		change(in)
	}
	out, err := s.elb.CreateTargetGroup(s.ctx, in)
	if err != nil {
		s.write(err, "")
		return
	}
	s.arns[name] = aws.ToString(out.TargetGroups[0].TargetGroupArn)
	s.write(nil, "%s", groupLine(out.TargetGroups[0]))
}

func groupLine(g types.TargetGroup) string {
	matcher := ""
	if g.Matcher != nil {
		matcher = aws.ToString(g.Matcher.HttpCode)
	}
	return fmt.Sprintf("%s %s:%d %s, check %s %s on %s each %ds within %ds, %d up %d down, wants %s", aws.ToString(g.TargetGroupName),
		g.Protocol, aws.ToInt32(g.Port), g.TargetType, g.HealthCheckProtocol, aws.ToString(g.HealthCheckPath), aws.ToString(g.HealthCheckPort),
		aws.ToInt32(g.HealthCheckIntervalSeconds), aws.ToInt32(g.HealthCheckTimeoutSeconds), aws.ToInt32(g.HealthyThresholdCount),
		aws.ToInt32(g.UnhealthyThresholdCount), matcher)
}

func (s *fleetTeller) changeGroup(name string, change func(*elb.ModifyTargetGroupInput)) {
	in := &elb.ModifyTargetGroupInput{TargetGroupArn: s.arn(name)}
	change(in)
	out, err := s.elb.ModifyTargetGroup(s.ctx, in)
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%s", groupLine(out.TargetGroups[0]))
}

// targetGroups lists groups, in pages of at most size.
func (s *fleetTeller) targetGroups(size int32, change func(*elb.DescribeTargetGroupsInput)) {
	in := &elb.DescribeTargetGroupsInput{PageSize: aws.Int32(size)}
	if change != nil {
		change(in)
	}
	pages := elb.NewDescribeTargetGroupsPaginator(s.elb, in)
	found, n, err := all(pages.HasMorePages, func() (*elb.DescribeTargetGroupsOutput, error) { return pages.NextPage(s.ctx) },
		func(page *elb.DescribeTargetGroupsOutput) (lines []string) {
			for _, g := range page.TargetGroups {
				lines = append(lines, fmt.Sprint(aws.ToString(g.TargetGroupName), g.LoadBalancerArns))
			}
			return lines
		})
	s.write(err, "%d pages %v", n, found)
}

func (s *fleetTeller) deleteGroup(name string) {
	_, err := s.elb.DeleteTargetGroup(s.ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: s.arn(name)})
	s.write(err, "deleted")
}

// attributes writes those attributes of a group that are asked for.
func (s *fleetTeller) attributes(name string, keys ...string) {
	out, err := s.elb.DescribeTargetGroupAttributes(s.ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: s.arn(name)})
	if err != nil {
		s.write(err, "")
		return
	}
	var found []string
	for _, a := range out.Attributes {
		if slices.Contains(keys, aws.ToString(a.Key)) {
			found = append(found, aws.ToString(a.Key)+"="+aws.ToString(a.Value))
		}
	}
	slices.Sort(found)
	s.write(nil, "%s", strings.Join(found, " "))
}

func (s *fleetTeller) setAttribute(name, key, value string) {
	_, err := s.elb.ModifyTargetGroupAttributes(s.ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: s.arn(name),
		Attributes: []types.TargetGroupAttribute{{Key: &key, Value: &value}}})
	s.write(err, "set")
}

// targets reads "i-1" and "i-1:8081".
func targets(names []string) []types.TargetDescription {
	var out []types.TargetDescription
	for _, name := range names {
		id, port, given := strings.Cut(name, ":")
		t := types.TargetDescription{Id: &id}
		if n, err := strconv.Atoi(port); given && err == nil {
			t.Port = aws.Int32(int32(n))
		}
		out = append(out, t)
	}
	return out
}

func (s *fleetTeller) register(group string, names ...string) {
	_, err := s.elb.RegisterTargets(s.ctx, &elb.RegisterTargetsInput{TargetGroupArn: s.arn(group), Targets: targets(names)})
	s.write(err, "registered")
}

func (s *fleetTeller) deregister(group string, names ...string) {
	_, err := s.elb.DeregisterTargets(s.ctx, &elb.DeregisterTargetsInput{TargetGroupArn: s.arn(group), Targets: targets(names)})
	s.write(err, "deregistered")
}

// health writes the state of the targets, or of all that are registered.
func (s *fleetTeller) health(group string, names ...string) {
	out, err := s.elb.DescribeTargetHealth(s.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: s.arn(group), Targets: targets(names)})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.TargetHealthDescriptions, func(d types.TargetHealthDescription) string {
		return strings.TrimSpace(fmt.Sprintf("%s:%d %s %s", aws.ToString(d.Target.Id), aws.ToInt32(d.Target.Port), d.TargetHealth.State, d.TargetHealth.Reason))
	}))
}

// limits writes those of the account's limits that are asked for, read in pages of at most size.
func (s *fleetTeller) limits(size int32, names ...string) {
	pages := elb.NewDescribeAccountLimitsPaginator(s.elb, &elb.DescribeAccountLimitsInput{PageSize: &size})
	found, n, err := all(pages.HasMorePages, func() (*elb.DescribeAccountLimitsOutput, error) { return pages.NextPage(s.ctx) },
		func(page *elb.DescribeAccountLimitsOutput) (lines []string) {
			for _, l := range page.Limits {
				if slices.Contains(names, aws.ToString(l.Name)) {
					lines = append(lines, aws.ToString(l.Name)+"="+aws.ToString(l.Max))
				}
			}
			return lines
		})
	s.write(err, "%d pages %v", n, found)
}

// loadBalancer creates a load balancer in the first subnets of the place.
func (s *fleetTeller) loadBalancer(name string, subnets int) {
	out, err := s.elb.CreateLoadBalancer(s.ctx, &elb.CreateLoadBalancerInput{Name: &name, Subnets: s.place.subnets[:subnets]})
	if err != nil {
		s.write(err, "")
		return
	}
	lb := out.LoadBalancers[0]
	s.arns[name] = aws.ToString(lb.LoadBalancerArn)
	s.write(nil, "%s %s", aws.ToString(lb.LoadBalancerName), lb.Type)
}

func (s *fleetTeller) loadBalancers(names ...string) {
	out, err := s.elb.DescribeLoadBalancers(s.ctx, &elb.DescribeLoadBalancersInput{Names: names})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.LoadBalancers, func(lb types.LoadBalancer) string {
		return aws.ToString(lb.LoadBalancerName) + " " + string(lb.State.Code)
	}))
}

func (s *fleetTeller) deleteBalancer(name string) {
	_, err := s.elb.DeleteLoadBalancer(s.ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: s.arn(name)})
	s.write(err, "deleted")
}

// listen creates a listener that forwards to the group; the story calls it "balancer:port".
func (s *fleetTeller) listen(balancer string, port int, group string) {
	out, err := s.elb.CreateListener(s.ctx, &elb.CreateListenerInput{LoadBalancerArn: s.arn(balancer), Protocol: "HTTP", Port: s.port(port),
		DefaultActions: []types.Action{{Type: "forward", TargetGroupArn: s.arn(group)}}})
	if err != nil {
		s.write(err, "")
		return
	}
	s.arns[fmt.Sprintf("%s:%d", balancer, port)] = aws.ToString(out.Listeners[0].ListenerArn)
	s.write(nil, "%s", s.listenerLine(out.Listeners[0]))
}

func (s *fleetTeller) listenerLine(l types.Listener) string {
	return fmt.Sprintf("%s %d → %s", l.Protocol, s.storied(l.Port), aws.ToString(l.DefaultActions[0].TargetGroupArn))
}

func (s *fleetTeller) listeners(balancer string) {
	out, err := s.elb.DescribeListeners(s.ctx, &elb.DescribeListenersInput{LoadBalancerArn: s.arn(balancer)})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.Listeners, s.listenerLine))
}

func (s *fleetTeller) deleteListener(name string) {
	_, err := s.elb.DeleteListener(s.ctx, &elb.DeleteListenerInput{ListenerArn: s.arn(name)})
	s.write(err, "deleted")
}

func (s *fleetTeller) tag(name, key, value string) {
	_, err := s.elb.AddTags(s.ctx, &elb.AddTagsInput{ResourceArns: []string{*s.arn(name)}, Tags: []types.Tag{{Key: &key, Value: &value}}})
	s.write(err, "tagged")
}

func (s *fleetTeller) untag(name, key string) {
	_, err := s.elb.RemoveTags(s.ctx, &elb.RemoveTagsInput{ResourceArns: []string{*s.arn(name)}, TagKeys: []string{key}})
	s.write(err, "untagged")
}

func (s *fleetTeller) tags(name string) {
	out, err := s.elb.DescribeTags(s.ctx, &elb.DescribeTagsInput{ResourceArns: []string{*s.arn(name)}})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.TagDescriptions[0].Tags, func(t types.Tag) string { return aws.ToString(t.Key) + "=" + aws.ToString(t.Value) }))
}
