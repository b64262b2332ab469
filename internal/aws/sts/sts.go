// Package sts lends the instance other roles' keys.
package sts

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// lifetime of the keys, in seconds. An instance's keys are a role's already, and a role that assumes
// another one gets an hour at most (role chaining); every role allows an hour.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
const lifetime = 3600

// Roles is the Security Token Service.
type Roles struct {
	session *session.Session
	client  *sdk.Client
}

// New makes the adapter; it asks nothing yet.
func New(s *session.Session) *Roles {
	return &Roles{session: s, client: sdk.NewFromConfig(s.Config)}
}

// Assume gives keys of the role, an ARN, good for an hour. The name, of 2 to 64 characters of A–Z, a–z, 0–9 and _+=,.@-,
// is how the role's doings are known in CloudTrail: the instance's id. A role that may not be assumed, or is none, is
// model.ErrConfiguration.
func (r *Roles) Assume(ctx context.Context, role, name string) (model.RoleCredentials, error) {
	out, err := session.Do(ctx, r.session, session.Call{Action: "sts:AssumeRole", Resource: "role " + role},
		func(ctx context.Context) (*sdk.AssumeRoleOutput, error) {
			return r.client.AssumeRole(ctx, &sdk.AssumeRoleInput{
				RoleArn: &role, RoleSessionName: &name, DurationSeconds: aws.Int32(lifetime),
			})
		})
	if err != nil {
		return model.RoleCredentials{}, explain(err, role)
	}
	c := out.Credentials
	if c == nil || c.AccessKeyId == nil || c.SecretAccessKey == nil || c.SessionToken == nil || c.Expiration == nil {
		return model.RoleCredentials{}, &session.Error{Kind: session.Reach, Sentence: fmt.Sprintf(
			"sts:AssumeRole on role %s: the answer holds no complete keys: is this AWS's endpoint?", role)}
	}
	return model.RoleCredentials{
		Role: role, AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken, Expires: *c.Expiration,
	}, nil
}

// explain adds what a session can't know: that two policies must agree, and that no role may be where a name is wrong.
func explain(err error, role string) error {
	var e *session.Error
	var api smithy.APIError
	if !errors.As(err, &e) || !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode() {
	case "AccessDenied", "AccessDeniedException":
		// AWS answers the same to a role that does not exist, to whoever may not look.
		return &session.Error{Kind: e.Kind, Err: err, Sentence: e.Sentence + "; the trust policy of role " + role +
			" must allow it too, with the instance's role as its Principal (and the role must exist)"}
	case "ValidationError":
		return &session.Error{Kind: session.Configuration, Err: err, Sentence: e.Sentence +
			": is credentials the ARN of a role, arn:aws:iam::<account>:role/<name>?"}
	case "RegionDisabledException":
		return &session.Error{Kind: session.Configuration, Err: err, Sentence: e.Sentence +
			": switch STS on for this region, in IAM's account settings"}
	}
	return err
}
