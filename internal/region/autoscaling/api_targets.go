package autoscaling

import (
	"net/url"
	"slices"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// maxTargetGroups is how many target groups one call may attach or detach.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AttachLoadBalancerTargetGroups.html
const maxTargetGroups = 10

// arns reads a list of ARNs that a call gives.
func arns(form url.Values, key string) ([]string, error) {
	list := wire.List(form, key)
	if len(list) > maxTargetGroups {
		return nil, invalid("%s takes at most %d target groups, these are %d", key, maxTargetGroups, len(list))
	}
	return list, nil
}

// sources reads TrafficSources: target groups, and nothing else.
func sources(form url.Values) ([]string, error) {
	var out []string
	for _, t := range wire.Structs(form, "TrafficSources") {
		if kind := t.Get("Type"); kind != "" && kind != trafficType {
			return nil, invalid("This region on a laptop knows the traffic source type %s, not '%s'", trafficType, kind)
		}
		out = append(out, t.Get("Identifier"))
	}
	if len(out) > maxTargetGroups {
		return nil, invalid("TrafficSources takes at most %d, these are %d", maxTargetGroups, len(out))
	}
	return out, nil
}

const trafficType = "elbv2"

// known refuses target groups that do not exist.
func (s *Service) known(list []string) error {
	for _, arn := range list {
		if s.opts.Traffic == nil || !s.opts.Traffic.Exists(arn) {
			return invalid("Provided Target Groups may not be valid. Please ensure they exist and try again. (%s)", arn)
		}
	}
	return nil
}

// attach attaches target groups; those that are attached stay as they are.
func (g *group) attach(list []string, source bool) {
	for _, arn := range list {
		if a := g.attachment(arn); a != nil {
			a.removing = false
			continue
		}
		g.attachments = append(g.attachments, &attachment{arn: arn, source: source})
	}
}

// detach drops an attachment that no instance is registered in any more.
func (g *group) detach(arn string) {
	g.attachments = slices.DeleteFunc(g.attachments, func(a *attachment) bool { return a.arn == arn })
	for _, i := range g.instances {
		delete(i.targets, arn)
	}
}

// state is the attachment's state as AWS names it.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LoadBalancerTargetGroupState.html
func (g *group) stateOf(a *attachment) string {
	switch {
	case a.removing:
		return "Removing"
	case slices.ContainsFunc(g.instances, func(i *instance) bool {
		_, placed := i.targets[a.arn]
		return i.state == model.LifecycleInService && !placed
	}):
		return "Adding"
	case a.passed:
		return "InService"
	}
	return "Added"
}

func (s *Service) attachTo(form url.Values, list []string, source bool) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	if err := s.known(list); err != nil {
		return nil, err
	}
	g.attach(list, source)
	return nil, nil
}

func (s *Service) detachFrom(form url.Values, list []string, source bool) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	var found []*attachment
	for _, arn := range list {
		a := g.attachment(arn)
		if a == nil || a.removing || a.source != source {
			return nil, invalid("Trying to remove Target Groups that are not part of the group %s: %s", g.Name, arn)
		}
		found = append(found, a)
	}
	for _, a := range found {
		a.removing = true
	}
	return nil, nil
}

func (s *Service) attachTargetGroups(form url.Values) (any, error) {
	list, err := arns(form, "TargetGroupARNs")
	if err != nil {
		return nil, err
	}
	return s.attachTo(form, list, false)
}

func (s *Service) detachTargetGroups(form url.Values) (any, error) {
	list, err := arns(form, "TargetGroupARNs")
	if err != nil {
		return nil, err
	}
	return s.detachFrom(form, list, false)
}

func (s *Service) attachTrafficSources(form url.Values) (any, error) {
	list, err := sources(form)
	if err != nil {
		return nil, err
	}
	return s.attachTo(form, list, true)
}

func (s *Service) detachTrafficSources(form url.Values) (any, error) {
	list, err := sources(form)
	if err != nil {
		return nil, err
	}
	return s.detachFrom(form, list, true)
}

func (s *Service) describeTargetGroups(form url.Values) (any, error) {
	g, err := s.named(form)
	if err != nil {
		return nil, err
	}
	type state struct{ LoadBalancerTargetGroupARN, State string }
	var answer struct {
		LoadBalancerTargetGroups wire.Members[state]
		NextToken                string `xml:",omitempty"`
	}
	// What AttachTrafficSources attached is described by DescribeTrafficSources alone.
	own := slices.DeleteFunc(slices.Clone(g.attachments), func(a *attachment) bool { return a.source })
	list, token, err := page(form, own, func(a *attachment) string { return a.arn }, 100, 100)
	for _, a := range list {
		answer.LoadBalancerTargetGroups.Member = append(answer.LoadBalancerTargetGroups.Member, state{a.arn, g.stateOf(a)})
	}
	answer.NextToken = token
	return answer, err
}

func (s *Service) describeTrafficSources(form url.Values) (any, error) {
	g, err := s.named(form)
	if err != nil {
		return nil, err
	}
	type state struct {
		TrafficSource string // deprecated by AWS, but still there
		Identifier    string
		Type          string
		State         string
	}
	var answer struct {
		TrafficSources wire.Members[state]
		NextToken      string `xml:",omitempty"`
	}
	all := g.attachments
	if kind := form.Get("TrafficSourceType"); kind != "" && kind != trafficType {
		all = nil
	}
	list, token, err := page(form, all, func(a *attachment) string { return a.arn }, 50, 50)
	for _, a := range list {
		answer.TrafficSources.Member = append(answer.TrafficSources.Member, state{a.arn, a.arn, trafficType, g.stateOf(a)})
	}
	answer.NextToken = token
	return answer, err
}
