package elbv2

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// maxTags is how many tags a resource may have.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
const maxTags = 50

// readTags reads the Tags of a call; nil when it has none.
func readTags(form url.Values) (map[string]string, error) {
	var tags map[string]string
	for _, pair := range pairs(form, "Tags") {
		if _, twice := tags[pair[0]]; twice {
			return nil, wire.Errorf("DuplicateTagKeys", "Tag key was specified more than once: %s", pair[0])
		}
		if pair[0] == "" || strings.HasPrefix(pair[0], "aws:") {
			return nil, invalid("The tag key '%s' must not be empty, and must not begin with 'aws:'", pair[0])
		}
		if tags == nil {
			tags = map[string]string{}
		}
		tags[pair[0]] = pair[1]
	}
	if len(tags) > maxTags {
		return nil, wire.Errorf("TooManyTags", "The maximum number of tags on a resource, %d, has been exceeded", maxTags)
	}
	return tags, nil
}

// tagged refuses ARNs of what does not exist; s.mu is held.
func (s *Service) tagged(arns []string) error {
	if len(arns) == 0 {
		return invalid("At least one resource ARN must be specified")
	}
	if len(arns) > 20 {
		return invalid("The maximum number of resource ARNs in a call is '20'")
	}
	for _, arn := range arns {
		switch {
		case strings.Contains(arn, ":targetgroup/"):
			if s.groups[arn] == nil {
				return wire.Errorf("TargetGroupNotFound", "Target group '%s' not found", arn)
			}
		case strings.Contains(arn, ":loadbalancer/"):
			if s.balancers[arn] == nil {
				return wire.Errorf("LoadBalancerNotFound", "Load balancer '%s' not found", arn)
			}
		case strings.Contains(arn, ":listener/"):
			if s.listener(arn) == nil {
				return wire.Errorf("ListenerNotFound", "Listener '%s' not found", arn)
			}
		default:
			return invalid("'%s' is not a valid resource ARN", arn)
		}
	}
	return nil
}

// tag adds tags to resources, to all of them or to none.
func (s *Service) tag(arns []string, tags map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.tagged(arns); err != nil {
		return err
	}
	merged := map[string]map[string]string{}
	for _, arn := range arns {
		m := map[string]string{}
		maps.Copy(m, s.tags[arn])
		maps.Copy(m, tags)
		if len(m) > maxTags {
			return wire.Errorf("TooManyTags", "The maximum number of tags on a resource, %d, has been exceeded", maxTags)
		}
		merged[arn] = m
	}
	maps.Copy(s.tags, merged)
	return nil
}

func (s *Service) addTags(form url.Values) (any, error) {
	tags, err := readTags(form)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, invalid("At least one tag must be specified")
	}
	return nil, s.tag(wire.List(form, "ResourceArns"), tags)
}

func (s *Service) removeTags(form url.Values) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arns := wire.List(form, "ResourceArns")
	if err := s.tagged(arns); err != nil {
		return nil, err
	}
	for _, arn := range arns {
		for _, key := range wire.List(form, "TagKeys") {
			delete(s.tags[arn], key)
		}
	}
	return nil, nil
}

type tagsAnswer struct {
	TagDescriptions wire.Members[tagAnswer]
}

type tagAnswer struct {
	ResourceArn string
	Tags        wire.Members[pairAnswer]
}

func (s *Service) describeTags(form url.Values) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arns := wire.List(form, "ResourceArns")
	if err := s.tagged(arns); err != nil {
		return nil, err
	}
	var out tagsAnswer
	for _, arn := range arns {
		a := tagAnswer{ResourceArn: arn}
		for _, key := range slices.Sorted(maps.Keys(s.tags[arn])) {
			a.Tags.Member = append(a.Tags.Member, pairAnswer{key, s.tags[arn][key]})
		}
		out.TagDescriptions.Member = append(out.TagDescriptions.Member, a)
	}
	return out, nil
}
