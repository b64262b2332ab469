package ssm_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
)

const release = "/bootagent/shop/prod/release"

// shop is a region in which release 1 is stable and release 2 the newest.
func shop(t *testing.T) (*region.Region, *session.Session, *ssm.Parameters) {
	t.Helper()
	r := awstest.Region(t)
	s := awstest.Session(t, r.Endpoint())
	p := ssm.New(s, ssm.Options{Release: release, Environment: "/bootagent/shop/prod/env"})
	put(t, s, release, "v1", types.ParameterTypeString)
	label(t, p, 1)
	put(t, s, release, "v2", types.ParameterTypeString)
	return r, s, p
}

var both = model.Published{Newest: model.Version{Number: 2, Value: "v2"}, Stable: &model.Version{Number: 1, Value: "v1"}}

func TestReadTakesOneRequest(t *testing.T) {
	t.Parallel()
	r, _, p := shop(t)
	if n := count(r, "ssm:GetParameters", func() { read(t, p, both) }); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// Whether AWS takes a name and its label in one request is not documented: both refusals are lived with, and remembered.
func TestReadTakesTwoRequestsWhereOneIsRefused(t *testing.T) {
	t.Parallel()
	twoNames := func(c wire.Call) bool {
		var in struct{ Names []string }
		return json.Unmarshal(c.Body, &in) == nil && len(in.Names) == 2
	}
	for name, effect := range map[string]fault.Effect{
		"loudly": fault.Fail(wire.Errorf("ValidationException", "Duplicate parameter names.")),
		"silently": func(context.Context, wire.Call, func() (any, error)) (any, error) {
			return map[string]any{"Parameters": []any{map[string]any{"Name": release, "Type": "String", "Value": "v2", "Version": 2}}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _, p := shop(t)
			r.Faults.Add(fault.Rule{Operation: "GetParameters", When: twoNames, Effect: effect})
			if n := count(r, "ssm:GetParameters", func() { read(t, p, both) }); n != 3 {
				t.Errorf("the first read took %d requests, want 3", n)
			}
			if n := count(r, "ssm:GetParameters", func() { read(t, p, both) }); n != 2 {
				t.Errorf("the second read took %d requests, want 2", n)
			}
		})
	}
}

func TestThrottledThenFine(t *testing.T) {
	t.Parallel()
	r, _, p := shop(t)
	r.Faults.Add(fault.Rule{Operation: "GetParameters", Count: 2, Effect: fault.Throttle()})
	read(t, p, both)
}

func TestDeniedNamesActionAndResource(t *testing.T) {
	t.Parallel()
	r, _, p := shop(t)
	r.Faults.Add(fault.Rule{Service: "ssm", Effect: fault.Deny()})
	_, err := p.Read(t.Context())
	isConfiguration(t, err)
	says(t, err, "may not ssm:GetParameters on parameter "+release, "add that action to its policy")
	if errors.Is(err, model.ErrNoRelease) {
		t.Error("a release that may not be read counts as none")
	}
	err = p.Label(t.Context(), 2)
	isConfiguration(t, err)
	says(t, err, "may not ssm:LabelParameterVersion on parameter "+release)
	_, err = p.Environment(t.Context())
	isConfiguration(t, err)
	says(t, err, "may not ssm:GetParametersByPath on parameters below /bootagent/shop/prod/env")
	_, err = p.Secret(t.Context(), "/token")
	isConfiguration(t, err)
	says(t, err, "may not ssm:GetParameter on parameter /token")
}

func TestAHangEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	r, s, p := shop(t)
	s.Timeout = 2 * time.Second
	r.Faults.Add(fault.Rule{Operation: "GetParameters", Count: 1, Effect: fault.ServerError()})
	r.Faults.Add(fault.Rule{Operation: "GetParameters", Effect: fault.Hang()})
	_, err := p.Read(t.Context())
	if errors.Is(err, model.ErrConfiguration) {
		t.Error("a hang is a matter of configuration")
	}
	says(t, err, "ssm:GetParameters on parameter "+release, "HTTP 500", "the last cause")
}

func TestALabelWhoseAnswerIsLostIsSetAgain(t *testing.T) {
	t.Parallel()
	r, _, p := shop(t)
	cut := r.Faults.Add(fault.Rule{Operation: "LabelParameterVersion", Count: 1, Effect: fault.CutAfter()})
	label(t, p, 2)
	if cut.Hits() != 1 {
		t.Error("nothing was cut")
	}
	v2 := model.Version{Number: 2, Value: "v2"}
	read(t, p, model.Published{Newest: v2, Stable: &v2})
}

func TestTooManyVariablesAreRefused(t *testing.T) {
	t.Parallel()
	r, _, p := shop(t)
	// A server whose pages never end.
	r.Faults.Add(fault.Rule{Operation: "GetParametersByPath", Effect: func(context.Context, wire.Call, func() (any, error)) (any, error) {
		return map[string]any{"Parameters": []any{}, "NextToken": "again"}, nil
	}})
	_, err := p.Environment(t.Context())
	says(t, err, "does not end")
}
