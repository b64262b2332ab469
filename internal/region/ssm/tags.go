package ssm

import (
	"maps"
	"slices"

	"github.com/bootagent/bootagent/internal/region/wire"
)

type tag struct{ Key, Value string }

type resource struct {
	ResourceType string
	ResourceID   string `json:"ResourceId"`
}

type addTagsInput struct {
	resource
	Tags []tag
}

type removeTagsInput struct {
	resource
	TagKeys []string
}

// addTags is AddTagsToResource.
func (s *Store) addTags(_ request, in addTagsInput) (any, error) {
	p, err := s.tagged(in.resource)
	if err != nil {
		return nil, err
	}
	return nil, p.tag(in.Tags)
}

// removeTags is RemoveTagsFromResource; a key that is not there is no error.
func (s *Store) removeTags(_ request, in removeTagsInput) (any, error) {
	p, err := s.tagged(in.resource)
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(p.tags, key)
	}
	return nil, nil
}

// listTags is ListTagsForResource.
func (s *Store) listTags(_ request, in resource) (any, error) {
	p, err := s.tagged(in)
	if err != nil {
		return nil, err
	}
	out := struct{ TagList []tag }{[]tag{}}
	for _, key := range slices.Sorted(maps.Keys(p.tags)) {
		out.TagList = append(out.TagList, tag{key, p.tags[key]})
	}
	return out, nil
}

func (s *Store) tagged(r resource) (*parameter, error) {
	if r.ResourceType != "Parameter" {
		return nil, wire.Errorf("InvalidResourceType", "Invalid Resource Type: this region on a laptop tags Parameter only, not %s", r.ResourceType)
	}
	ref := s.parse(r.ResourceID)
	p, err := s.find(ref)
	if err != nil || ref.selector != "" {
		return nil, wire.Errorf("InvalidResourceId", "Invalid Resource Id: %s", r.ResourceID)
	}
	return p, nil
}

// tag adds the tags, or none of them.
func (p *parameter) tag(tags []tag) error {
	merged := maps.Clone(p.tags)
	for _, t := range tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 {
			return invalid(t.Key, "tags", "Member must have a key of 1 to 128 and a value of up to 256 characters")
		}
		merged[t.Key] = t.Value
	}
	if len(merged) > maxTags {
		return wire.Errorf("TooManyTagsError", "The Tags parameter includes too many tags: at most %d", maxTags)
	}
	p.tags = merged
	return nil
}
