package sts_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/aws/sts"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
)

const role = "arn:aws:iam::123456789012:role/shop-app"

func openRegion(t *testing.T) (*region.Region, *session.Session) {
	t.Helper()
	r := awstest.Region(t)
	return r, awstest.Session(t, r.Endpoint())
}

func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func isConfiguration(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("no model.ErrConfiguration: %v", err)
	}
}

func assumes(t *testing.T, s *session.Session) {
	t.Helper()
	begun := time.Now()
	keys, err := sts.New(s).Assume(t.Context(), role, "i-0abc")
	if err != nil {
		t.Fatal(err)
	}
	if lasts := keys.Expires.Sub(begun).Round(time.Minute); lasts != time.Hour || keys.Role != role {
		t.Errorf("%s, for %s", keys, lasts)
	}
	cfg := s.Config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken)
	who, err := sdk.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(who.Arn); got != "arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc" {
		t.Errorf("the keys are those of %s", got)
	}
	for _, verb := range []string{"%v", "%+v", "%s", "%#v"} {
		if text := fmt.Sprintf(verb, keys); strings.Contains(text, keys.SecretAccessKey) || strings.Contains(text, keys.SessionToken) {
			t.Errorf("%s prints a secret: %s", verb, text)
		}
	}
}

func TestARoleIsAssumed(t *testing.T) {
	t.Parallel()
	t.Run("region", func(t *testing.T) {
		t.Parallel()
		_, s := openRegion(t)
		assumes(t, s)
	})
	t.Run("moto", func(t *testing.T) {
		t.Parallel()
		assumes(t, awstest.Session(t, awstest.Moto(t)))
	})
}

func TestThrottledThenFine(t *testing.T) {
	t.Parallel()
	r, s := openRegion(t)
	rule := r.Faults.Add(fault.Rule{Operation: "AssumeRole", Count: 2, Effect: fault.Throttle()})
	assumes(t, s)
	if rule.Hits() != 2 {
		t.Errorf("throttled %d times", rule.Hits())
	}
}

func TestDeniedNamesBothPolicies(t *testing.T) {
	t.Parallel()
	r, s := openRegion(t)
	r.Faults.Add(fault.Rule{Operation: "AssumeRole", Effect: fault.Deny()})
	_, err := sts.New(s).Assume(t.Context(), role, "i-0abc")
	isConfiguration(t, err)
	says(t, err, "arn:aws:iam::123456789012:user/laptop may not sts:AssumeRole on role "+role, "add that action to its policy",
		"the trust policy of role "+role, "Principal")
}

func TestWhatIsNoRoleIsAMatterOfConfiguration(t *testing.T) {
	t.Parallel()
	r, s := openRegion(t)
	_, err := sts.New(s).Assume(t.Context(), "arn:aws:iam::123456789012:user/shop", "i-0abc")
	isConfiguration(t, err)
	says(t, err, "sts:AssumeRole on role arn:aws:iam::123456789012:user/shop was refused", "arn:aws:iam::<account>:role/<name>")

	r.Faults.Add(fault.Rule{Operation: "AssumeRole", Effect: fault.Fail(&wire.Error{
		Code: "RegionDisabledException", Message: "STS is not activated in this region for account:1. Your account administrator can activate STS in this region using the IAM Console.", Status: 403})})
	_, err = sts.New(s).Assume(t.Context(), role, "i-0abc")
	isConfiguration(t, err)
	says(t, err, "IAM's account settings")
}

func TestAHangEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	r, s := openRegion(t)
	s.Timeout = 300 * time.Millisecond
	r.Faults.Add(fault.Rule{Operation: "AssumeRole", Effect: fault.Hang()})
	_, err := sts.New(s).Assume(t.Context(), role, "i-0abc")
	if errors.Is(err, model.ErrConfiguration) {
		t.Error("a hang is a matter of configuration")
	}
	says(t, err, "sts:AssumeRole on role "+role+" got no answer within")
}
