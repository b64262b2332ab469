package ssm

import (
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// filter is the shape ParameterStringFilter.
type filter struct {
	Key    string
	Option string
	Values []string
}

// options are what each key may be compared by, the default first.
var options = map[string][]string{
	"Name":     {"Equals", "BeginsWith", "Contains"},
	"Path":     {"OneLevel", "Recursive"},
	"Type":     {"Equals", "BeginsWith"},
	"KeyId":    {"Equals", "BeginsWith"},
	"Tier":     {"Equals"},
	"DataType": {"Equals", "BeginsWith"},
	"Label":    {"Equals"},
	"tag:":     {"Equals", "BeginsWith"},
}

// kind is the filter's key, or "tag:" for all that begin with it.
func (f filter) kind() string {
	if strings.HasPrefix(f.Key, "tag:") {
		return "tag:"
	}
	return f.Key
}

func (f filter) option() string {
	if f.Option == "" && len(options[f.kind()]) > 0 {
		return options[f.kind()][0]
	}
	return f.Option
}

// check refuses keys other than those allowed, and options that a key does not have.
func (f filter) check(allowed ...string) error {
	switch {
	case !slices.Contains(allowed, f.kind()):
		return wire.Errorf("InvalidFilterKey", "The following filter key is not valid: %s. Valid filter keys include: [%s].",
			f.Key, strings.Join(allowed, ", "))
	case !slices.Contains(options[f.kind()], f.option()):
		return wire.Errorf("InvalidFilterOption", "The following filter option is not valid: %s. Valid options include: [%s].",
			f.Option, strings.Join(options[f.kind()], ", "))
	case len(f.Values) == 0 && f.kind() != "tag:":
		return wire.Errorf("InvalidFilterValue", "The following filter values are missing : null for filter key %s.", f.Key)
	}
	return nil
}

// matches says whether this version passes all filters.
func (p *parameter) matches(v *version, filters []filter) bool {
	return !slices.ContainsFunc(filters, func(f filter) bool { return !p.passes(v, f) })
}

func (p *parameter) passes(v *version, f filter) bool {
	switch f.kind() {
	case "Name":
		// "x" and "/x" are the same name; a part of one is taken as it is.
		name, values := p.name, f.Values
		if f.option() != "Contains" {
			name, values = canonical(name), make([]string, len(f.Values))
			for i, value := range f.Values {
				values[i] = canonical(value)
			}
		}
		return compare(name, f.option(), values)
	case "Path":
		return slices.ContainsFunc(f.Values, func(path string) bool { return below(p.name, path, f.option()) })
	case "Type":
		return compare(v.kind, f.option(), f.Values)
	case "KeyId":
		return v.keyID != "" && compare(v.keyID, f.option(), f.Values)
	case "Tier":
		return compare(v.tier, f.option(), f.Values)
	case "DataType":
		return compare(v.dataType, f.option(), f.Values)
	case "Label":
		return slices.ContainsFunc(f.Values, v.labelled)
	case "tag:":
		value, ok := p.tags[strings.TrimPrefix(f.Key, "tag:")]
		return ok && (len(f.Values) == 0 || compare(value, f.option(), f.Values))
	}
	return false
}

func compare(s, option string, values []string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		switch option {
		case "BeginsWith":
			return strings.HasPrefix(s, value)
		case "Contains":
			return strings.Contains(s, value)
		}
		return s == value
	})
}

// below says whether a name lies under a path, directly (OneLevel) or anywhere
// (Recursive). Names without slashes lie under "/".
func below(name, path, option string) bool {
	rest, ok := strings.CutPrefix("/"+canonical(name), strings.TrimRight(path, "/")+"/")
	return ok && rest != "" && (option == "Recursive" || !strings.Contains(rest, "/"))
}

// selected is the version that filters pick: the one with the label, or the newest.
func (p *parameter) selected(filters []filter) *version {
	for _, f := range filters {
		if f.Key != "Label" {
			continue
		}
		for _, v := range slices.Backward(p.versions) {
			if slices.ContainsFunc(f.Values, v.labelled) {
				return v
			}
		}
		return nil
	}
	return p.newest()
}

type describeInput struct {
	Filters          []filter // the older form: Key and Values only
	ParameterFilters []filter
	MaxResults       *int
	NextToken        string
	Shared           bool
}

// describe is DescribeParameters: the newest version of each, without its value.
func (s *Store) describe(_ request, in describeInput) (any, error) {
	filters := in.ParameterFilters
	switch {
	case in.Shared:
		return nil, wire.Errorf("ValidationException", "parameters shared by other accounts are left out of this region on a laptop")
	case len(in.Filters) > 0 && len(filters) > 0:
		return nil, wire.Errorf("ValidationException", "You can use either Filters or ParameterFilters in a single request.")
	case len(in.Filters) > 0:
		filters = older(in.Filters)
	}
	for i, f := range filters {
		if err := f.check("Path", "Name", "Type", "KeyId", "Tier", "DataType", "tag:"); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(filters[:i], func(other filter) bool { return other.Key == f.Key }) {
			return nil, wire.Errorf("InvalidFilterKey", "The following filter is duplicated in the request: %s. "+
				"A request can contain only one occurrence of a specific filter.", f.Key)
		}
	}
	var found []metadataOut
	for _, name := range s.names() {
		p := s.parameters[name]
		if v := p.newest(); p.matches(v, filters) {
			m := p.metadata(v)
			m.ARN = s.arn(p.name)
			found = append(found, m)
		}
	}
	page, next, err := paged(found, in.MaxResults, 50, in.NextToken)
	return struct {
		Parameters []metadataOut
		NextToken  string `json:",omitempty"`
	}{page, next}, err
}

// older translates Filters: there a Name matches by its beginning.
func older(filters []filter) []filter {
	out := slices.Clone(filters)
	for i := range out {
		if out[i].Key == "Name" {
			out[i].Option = "BeginsWith"
		}
	}
	return out
}
