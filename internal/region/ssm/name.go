package ssm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Names are up to 1011 characters long and up to 15 levels deep.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
const (
	maxName   = 1011
	maxLevels = 15
)

var nameChars = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

// checkName says whether a parameter may be made under this name.
func checkName(name string) error {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(name), "/"), "/")
	switch {
	case name == "":
		return invalid(name, "name", "Member must have length greater than or equal to 1")
	case len(name) > maxName:
		return invalid(name, "name", "Member must have length less than or equal to "+strconv.Itoa(maxName))
	case strings.HasPrefix(first, "aws") && strings.HasPrefix(name, "/"):
		return wire.Errorf("AccessDeniedException", "No access to reserved parameter name: %s.", name)
	case strings.HasPrefix(first, "aws"), strings.HasPrefix(first, "ssm") && !strings.Contains(name[1:], "/"):
		return wire.Errorf("ValidationException", `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`)
	case strings.HasPrefix(first, "ssm"), !nameChars.MatchString(name):
		return wire.Errorf("ValidationException", `Parameter name: can't be prefixed with "ssm" (case-insensitive). `+
			"If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be "+
			"formed as a mix of letters, numbers and the following 3 symbols .-_")
	case strings.Contains(name, "/") && (name[0] != '/' || strings.HasSuffix(name, "/") || strings.Contains(name, "//")):
		return wire.Errorf("ValidationException", "Parameter name must be a fully qualified name.")
	case strings.Count(name, "/") > maxLevels:
		return wire.Errorf("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of %d levels: %s", maxLevels, name)
	}
	return nil
}

// canonical is the name that two spellings of one parameter share: "x" and
// "/x" have the same ARN and are the same parameter.
func canonical(name string) string { return strings.TrimPrefix(name, "/") }

// arn is the parameter's ARN: the slash that a name begins with is not doubled.
func (s *Store) arn(name string) string {
	return fmt.Sprintf("arn:aws:ssm:%s:%s:parameter/%s", s.opts.Region, s.opts.Account, canonical(name))
}

// reference is a name as it may be asked for: plain or as an ARN, with or
// without a selector.
type reference struct {
	name     string
	selector string // ":3" or ":label", "" for the newest version
}

// parse takes a reference apart. A reference into another account or region is
// a parameter that does not exist here.
func (s *Store) parse(name string) reference {
	var ref reference
	name = strings.TrimSpace(name) // as the real one does
	if rest, ok := strings.CutPrefix(name, s.arn("")); ok {
		name = rest
	}
	ref.name = name
	if !strings.HasPrefix(name, "arn:") {
		if plain, selector, ok := strings.Cut(name, ":"); ok {
			ref.name, ref.selector = plain, ":"+selector
		}
	}
	return ref
}

// find returns the parameter without a look at the selector.
func (s *Store) find(ref reference) (*parameter, error) {
	p, ok := s.parameters[canonical(ref.name)]
	if !ok {
		return nil, wire.Errorf("ParameterNotFound", "Parameter %s not found.", ref.name)
	}
	return p, nil
}

// lookup returns the version that the reference selects.
func (s *Store) lookup(ref reference) (*parameter, *version, error) {
	p, err := s.find(ref)
	if err != nil {
		return nil, nil, err
	}
	if ref.selector == "" {
		return p, p.newest(), nil
	}
	wanted := ref.selector[1:]
	if number, err := strconv.ParseInt(wanted, 10, 64); err == nil {
		v, err := p.version(number)
		return p, v, err
	}
	for _, v := range p.versions {
		if v.labelled(wanted) {
			return p, v, nil
		}
	}
	return nil, nil, wire.Errorf("ParameterVersionNotFound",
		"Systems Manager could not find label %s of %s. Verify the label and try again.", wanted, p.name)
}
