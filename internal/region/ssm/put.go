package ssm

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

type putInput struct {
	Name           string
	Description    *string
	Value          string
	Type           string
	KeyID          string `json:"KeyId"`
	Overwrite      bool
	AllowedPattern *string
	Tags           []tag
	Tier           string
	Policies       string
	DataType       string
}

// nested is a reference to another parameter, which values can't hold.
var nested = regexp.MustCompile(`\{\{.*\}\}`)

var kinds = []string{"SecureString", "StringList", "String"}

// put is PutParameter.
func (s *Store) put(r request, in putInput) (any, error) {
	in.Name = strings.TrimSpace(in.Name) // as the real one does
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	old := s.parameters[canonical(in.Name)]
	if err := in.check(old); err != nil {
		return nil, err
	}
	v := &version{
		number: 1, kind: in.Type, value: in.Value, dataType: "text", modified: r.now, user: r.user,
		tier: cmp.Or(in.Tier, "Standard"), keyID: in.KeyID,
	}
	if old != nil {
		v.inherit(old.newest())
	}
	if err := v.fill(in); err != nil {
		return nil, err
	}
	if old == nil {
		old = &parameter{name: in.Name, tags: map[string]string{}}
		if err := old.tag(in.Tags); err != nil {
			return nil, err
		}
	}
	if err := old.makeRoom(); err != nil {
		return nil, err
	}
	old.versions = append(old.versions, v)
	s.parameters[canonical(in.Name)] = old
	return struct {
		Version int64
		Tier    string
	}{v.number, v.tier}, nil
}

// check refuses what can be refused without a look at the value.
func (in putInput) check(old *parameter) error {
	switch {
	case in.Value == "":
		return invalid("", "value", "Member must have length greater than or equal to 1.")
	case in.Description != nil && len(*in.Description) > 1024:
		return invalid(*in.Description, "description", "Member must have length less than or equal to 1024")
	case in.Overwrite && len(in.Tags) > 0:
		return wire.Errorf("ValidationException", "Invalid request: tags and overwrite can't be used together. To create a "+
			"parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use "+
			"AddTagsToResource or RemoveTagsFromResource.")
	case in.Policies != "" && in.Policies != "[]" && in.Policies != "[{}]":
		return wire.Errorf("ValidationException", "parameter policies are left out of this region on a laptop")
	case in.DataType != "" && in.DataType != "text":
		return wire.Errorf("ValidationException",
			"The following data type is not supported: %s (this region on a laptop has text only)", in.DataType)
	case in.Type != "" && !slices.Contains(kinds, in.Type):
		return invalid(in.Type, "type", "Member must satisfy enum value set: [SecureString, StringList, String]")
	case !slices.Contains([]string{"", "Standard", "Advanced", "Intelligent-Tiering"}, in.Tier):
		return invalid(in.Tier, "tier", "Member must satisfy enum value set: [Standard, Advanced, Intelligent-Tiering]")
	case old == nil && in.Type == "":
		return wire.Errorf("ValidationException", "A parameter type is required when you create a parameter.")
	case old != nil && !in.Overwrite:
		return wire.Errorf("ParameterAlreadyExists",
			"The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case old != nil && in.Type != "" && in.Type != old.newest().kind:
		return wire.Errorf("HierarchyTypeMismatchException", "Parameter Store doesn't support changing a parameter type: "+
			"%s is a %s. Create a new, unique parameter.", old.name, old.newest().kind)
	case old != nil && in.Tier == "Standard" && old.newest().tier == "Advanced":
		return wire.Errorf("ValidationException",
			"This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier "+
				"to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter.")
	}
	return nil
}

// inherit takes over what an overwrite keeps of the version before it.
func (v *version) inherit(before *version) {
	v.number = before.number + 1
	v.kind = before.kind
	v.description, v.allowedPattern = before.description, before.allowedPattern
	v.keyID = cmp.Or(v.keyID, before.keyID)
	if before.tier == "Advanced" {
		v.tier = before.tier
	}
}

// fill sets what the request says beyond it, and checks the value against it.
func (v *version) fill(in putInput) error {
	if in.Description != nil {
		v.description = *in.Description
	}
	if in.AllowedPattern != nil {
		v.allowedPattern = *in.AllowedPattern
	}
	if v.kind != "SecureString" {
		v.keyID = ""
	} else {
		v.keyID = cmp.Or(v.keyID, "alias/aws/ssm")
	}
	if v.tier == "Intelligent-Tiering" {
		v.tier = "Standard"
		if len(in.Value) > maxStandardBytes {
			v.tier = "Advanced"
		}
	}
	if v.tier == "Standard" && len(in.Value) > maxStandardBytes {
		return wire.Errorf("ValidationException", "Standard tier parameters support a maximum parameter value of %d characters. "+
			"To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see "+
			"https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html", maxStandardBytes)
	}
	if len(in.Value) > maxAdvancedBytes {
		return wire.Errorf("ValidationException", "Advanced tier parameters support a maximum parameter value of %d characters.", maxAdvancedBytes)
	}
	if nested.MatchString(in.Value) {
		return wire.Errorf("ValidationException", "Parameter value can't nest another parameter. Do not use \"{{}}\" in the value.")
	}
	if v.allowedPattern == "" {
		return nil
	}
	pattern, err := regexp.Compile(v.allowedPattern)
	if err != nil {
		return wire.Errorf("InvalidAllowedPatternException", "The allowed pattern %s is not a valid regular expression: %v", v.allowedPattern, err)
	}
	if !pattern.MatchString(in.Value) {
		// The value may be a secret, and is left out of the message.
		return wire.Errorf("ParameterPatternMismatchException",
			"Parameter value, cannot be validated against allowedPattern: %s", v.allowedPattern)
	}
	return nil
}

// makeRoom drops the oldest version of a parameter that has its hundred,
// unless that carries a label.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
func (p *parameter) makeRoom() error {
	if len(p.versions) < maxVersions {
		return nil
	}
	oldest := p.versions[0]
	if len(oldest.labels) > 0 {
		return wire.Errorf("ParameterMaxVersionLimitExceeded",
			"You attempted to create a new version of %s by calling the PutParameter API with the overwrite flag. Version %d, "+
				"the oldest version, can't be deleted because it has a label associated with it. Move the label to another version "+
				"of the parameter, and try again.", p.name, oldest.number)
	}
	p.versions = slices.Delete(p.versions, 0, 1)
	return nil
}

type removeInput struct{ Name string }

// remove is DeleteParameter. A parameter that is put again starts at version 1.
func (s *Store) remove(_ request, in removeInput) (any, error) {
	ref := s.parse(in.Name)
	if _, err := s.find(ref); err != nil || ref.selector != "" {
		return nil, wire.Errorf("ParameterNotFound", "Parameter %s not found.", in.Name)
	}
	delete(s.parameters, canonical(ref.name))
	return nil, nil
}

type removeManyInput struct{ Names []string }

// removeMany is DeleteParameters: names that don't exist are listed, not errors.
func (s *Store) removeMany(r request, in removeManyInput) (any, error) {
	if err := count(in.Names, "names", 10); err != nil {
		return nil, err
	}
	out := struct{ DeletedParameters, InvalidParameters []string }{[]string{}, []string{}}
	for _, name := range in.Names {
		if _, err := s.remove(r, removeInput{name}); err != nil {
			out.InvalidParameters = append(out.InvalidParameters, name)
		} else {
			out.DeletedParameters = append(out.DeletedParameters, name)
		}
	}
	return out, nil
}
