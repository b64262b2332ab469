package ssm

import (
	"regexp"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

type labelInput struct {
	Name             string
	ParameterVersion int64
	Labels           []string
}

const maxLabelSize = 100 // characters

var labelChars = regexp.MustCompile(`^[a-zA-Z_.\-][a-zA-Z0-9_.\-]*$`)

// validLabel holds the rules of
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html
func validLabel(label string) bool {
	lower := strings.ToLower(label)
	return labelChars.MatchString(label) && !strings.HasPrefix(lower, "aws") && !strings.HasPrefix(lower, "ssm")
}

// label is LabelParameterVersion. A label sits on one version only: it moves
// here from any other. Without a version the newest gets it, whatever that is.
func (s *Store) label(_ request, in labelInput) (any, error) {
	p, v, err := s.labelled(in)
	if err != nil {
		return nil, err
	}
	good, bad := []string{}, []string{}
	added := 0
	for _, label := range in.Labels {
		switch {
		case !validLabel(label):
			bad = append(bad, label)
		case !slices.Contains(good, label):
			good = append(good, label)
			if !v.labelled(label) {
				added++
			}
		}
	}
	if len(v.labels)+added > maxLabels {
		return nil, wire.Errorf("ParameterVersionLabelLimitExceeded", "A parameter version can have maximum %d labels. "+
			"Move one or more labels to another version and try again.", maxLabels)
	}
	for _, label := range good {
		if v.labelled(label) {
			continue
		}
		for _, other := range p.versions {
			other.labels = without(other.labels, label)
		}
		v.labels = append(v.labels, label)
	}
	return struct {
		InvalidLabels    []string
		ParameterVersion int64
	}{bad, v.number}, nil
}

// unlabel is UnlabelParameterVersion: labels that the version does not carry
// are listed, not errors.
func (s *Store) unlabel(_ request, in labelInput) (any, error) {
	if in.ParameterVersion == 0 {
		return nil, invalid("null", "parameterVersion", "Member must not be null")
	}
	_, v, err := s.labelled(in)
	if err != nil {
		return nil, err
	}
	out := struct{ RemovedLabels, InvalidLabels []string }{[]string{}, []string{}}
	for _, label := range in.Labels {
		if v.labelled(label) {
			v.labels = without(v.labels, label)
			out.RemovedLabels = append(out.RemovedLabels, label)
		} else {
			out.InvalidLabels = append(out.InvalidLabels, label)
		}
	}
	return out, nil
}

// labelled checks what both operations have in common and finds the version.
func (s *Store) labelled(in labelInput) (*parameter, *version, error) {
	if err := count(in.Labels, "labels", maxLabels); err != nil {
		return nil, nil, err
	}
	for _, label := range in.Labels {
		if label == "" || len(label) > maxLabelSize {
			return nil, nil, invalid(label, "labels", "Member must satisfy constraint: [Member must have length less than or "+
				"equal to 100, Member must have length greater than or equal to 1]")
		}
	}
	p, err := s.find(s.parse(in.Name))
	if err != nil {
		return nil, nil, err
	}
	if in.ParameterVersion == 0 {
		return p, p.newest(), nil
	}
	v, err := p.version(in.ParameterVersion)
	return p, v, err
}

func without(labels []string, label string) []string {
	return slices.DeleteFunc(labels, func(other string) bool { return other == label })
}
