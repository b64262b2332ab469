package ssm_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/bootagent/bootagent/internal/region/fault"
)

func TestValueTellsAParameterThatIsNotThereFromOneThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	r, s, p := shop(t)
	put(t, s, "/bootagent/shop/prod/config", "version: 1", types.ParameterTypeString)
	if value, found, err := p.Value(t.Context(), "/bootagent/shop/prod/config"); value != "version: 1" || !found || err != nil {
		t.Errorf("%q, %t, %v", value, found, err)
	}
	if value, found, err := p.Value(t.Context(), "/bootagent/shop/prod/none"); value != "" || found || err != nil {
		t.Errorf("%q, %t, %v", value, found, err)
	}
	r.Faults.Add(fault.Rule{Service: "ssm", Effect: fault.Deny()})
	if _, found, err := p.Value(t.Context(), "/bootagent/shop/prod/none"); found || err == nil {
		t.Errorf("%t, %v", found, err)
	}
}
