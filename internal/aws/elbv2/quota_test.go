package elbv2_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
	server "github.com/bootagent/bootagent/internal/region/elbv2"
)

const groupQuota = "Targets per Target Group per Region (L-A0D0B863)"

// It is the account's fault and no release's, and may pass by itself.
func TestAQuotaThatIsUsedUpIsNobodysFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.service.SetLimits(server.Limits{PerGroup: 1})
	b := w.adapter("web")
	if err := b.Register(t.Context(), instance, 8080); err != nil {
		t.Fatal(err)
	}
	err := b.Register(t.Context(), instance, 8081)
	says(t, err, "target group web has no room for "+instance+":8081 (TooManyTargets)", groupQuota, "policy.batch", "switch: restart")
	var is *session.Error
	if !errors.As(err, &is) || is.Kind != session.Refused || errors.Is(err, model.ErrConfiguration) {
		t.Errorf("it is %+v", is)
	}
	if bad := new(deploy.RevisionError); errors.As(err, &bad) {
		t.Error("the revision is blamed")
	}
	if len(err.Error()) > 300 || strings.Contains(err.Error(), "\n") { // what a slot's holder says of why it does not get on
		t.Errorf("%d bytes: %s", len(err.Error()), err)
	}
	if err := b.Register(t.Context(), instance, 8080); err != nil {
		t.Errorf("what stands there already: %v", err)
	}
	w.service.SetLimits(server.Limits{})
	if err := b.Register(t.Context(), instance, 8081); err != nil {
		t.Errorf("after the quota was raised: %v", err)
	}
}
