package ssm

import (
	"slices"
	"strconv"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

type getInput struct {
	Name           string
	WithDecryption bool
}

// get is GetParameter.
func (s *Store) get(_ request, in getInput) (any, error) {
	if in.Name == "" {
		return nil, invalid("", "name", "Member must have length greater than or equal to 1")
	}
	ref := s.parse(in.Name)
	p, v, err := s.lookup(ref)
	if err != nil {
		return nil, err
	}
	return struct{ Parameter parameterOut }{s.out(p, v, ref.selector, in.WithDecryption)}, nil
}

type getManyInput struct {
	Names          []string
	WithDecryption bool
}

// getMany is GetParameters: names and selectors that select nothing are listed,
// not errors. A name may be asked for several times with several selectors;
// whether AWS takes the very same string twice is not known, here it counts once.
func (s *Store) getMany(_ request, in getManyInput) (any, error) {
	if err := count(in.Names, "names", 10); err != nil {
		return nil, err
	}
	out := struct {
		Parameters        []parameterOut
		InvalidParameters []string
	}{[]parameterOut{}, []string{}}
	for i, name := range in.Names {
		if slices.Contains(in.Names[:i], name) {
			continue
		}
		ref := s.parse(name)
		if p, v, err := s.lookup(ref); err != nil {
			out.InvalidParameters = append(out.InvalidParameters, name)
		} else {
			out.Parameters = append(out.Parameters, s.out(p, v, ref.selector, in.WithDecryption))
		}
	}
	return out, nil
}

type byPathInput struct {
	Path             string
	Recursive        bool
	ParameterFilters []filter
	WithDecryption   bool
	MaxResults       *int
	NextToken        string
}

// getByPath is GetParametersByPath: what is below the path, one level or all.
func (s *Store) getByPath(_ request, in byPathInput) (any, error) {
	if !strings.HasPrefix(in.Path, "/") {
		return nil, wire.Errorf("ValidationException", "The parameter doesn't meet the parameter name requirements. "+
			`The parameter name must begin with a forward slash "/". It can't be prefixed with "aws" or "ssm" (case-insensitive). `+
			"It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore).")
	}
	for _, f := range in.ParameterFilters {
		if err := f.check("Type", "KeyId", "Label"); err != nil {
			return nil, err
		}
	}
	option := "OneLevel"
	if in.Recursive {
		option = "Recursive"
	}
	var found []parameterOut
	for _, name := range s.names() {
		p := s.parameters[name]
		// GetParametersByPath gives the version that carries the label it filters for.
		v := p.selected(in.ParameterFilters)
		if v != nil && below(p.name, in.Path, option) && p.matches(v, in.ParameterFilters) {
			found = append(found, s.out(p, v, "", in.WithDecryption))
		}
	}
	page, next, err := paged(found, in.MaxResults, 10, in.NextToken)
	return struct {
		Parameters []parameterOut
		NextToken  string `json:",omitempty"`
	}{page, next}, err
}

type historyInput struct {
	Name           string
	WithDecryption bool
	MaxResults     *int
	NextToken      string
}

// history is GetParameterHistory: every version, the oldest first, with its labels.
func (s *Store) history(_ request, in historyInput) (any, error) {
	p, err := s.find(s.parse(in.Name))
	if err != nil {
		return nil, err
	}
	all := make([]historyOut, len(p.versions))
	for i, v := range p.versions {
		all[i] = historyOut{metadataOut: p.metadata(v), Value: p.shown(v, in.WithDecryption), Labels: append([]string{}, v.labels...)}
	}
	page, next, err := paged(all, in.MaxResults, 50, in.NextToken)
	return struct {
		Parameters []historyOut
		NextToken  string `json:",omitempty"`
	}{page, next}, err
}

// names are the canonical names of all parameters, sorted.
func (s *Store) names() []string {
	names := make([]string, 0, len(s.parameters))
	for name := range s.parameters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// paged cuts one page out of all. The token is the index of the next item; AWS's
// is opaque, and nobody may read it.
func paged[T any](all []T, size *int, most int, token string) (page []T, next string, err error) {
	n := most
	if size != nil {
		n = *size
	}
	if n < 1 {
		return nil, "", invalid(n, "maxResults", "Member must have value greater than or equal to 1")
	}
	if n > most {
		return nil, "", invalid(n, "maxResults", "Member must have value less than or equal to "+strconv.Itoa(most))
	}
	start := 0
	if token != "" {
		start, err = strconv.Atoi(token)
		if err != nil || start < 0 {
			return nil, "", wire.Errorf("InvalidNextToken", "The specified token isn't valid.")
		}
	}
	// Parameters may have gone since the page before.
	start = min(start, len(all))
	end := min(start+n, len(all))
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	return append([]T{}, all[start:end]...), next, nil
}
