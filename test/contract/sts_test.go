package contract

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// roleTeller tells a story of roles: as with teller, each method makes one call
// and writes one line. It calls as nobody in particular, until it assumes a role.
type roleTeller struct {
	ctx   context.Context
	as    sts.Options
	lines []string
}

// roleStory is a story for a roleTeller; the fields are those of story.
type roleStory struct {
	name        string
	tell        func(s *roleTeller)
	want        []string
	motoIsWrong string
}

func newRoleTeller(t *testing.T, endpoint string) *roleTeller {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &roleTeller{ctx: ctx, as: sts.Options{
		BaseEndpoint: aws.String(endpoint), Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIACONTRACT", "secret", ""),
	}}
}

func (s *roleTeller) write(err error, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if err != nil {
		var api smithy.APIError
		line = "! " + err.Error()
		if errors.As(err, &api) {
			line = "! " + api.ErrorCode()
		}
	}
	s.lines = append(s.lines, line)
}

// assume assumes a role for so many seconds, 0 for what is usual; from then on
// the story calls with its keys.
func (s *roleTeller) assume(role, session string, seconds int32) {
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: &session}
	if seconds != 0 {
		in.DurationSeconds = &seconds
	}
	begun := time.Now()
	out, err := sts.New(s.as).AssumeRole(s.ctx, in)
	if err != nil {
		s.write(err, "")
		return
	}
	// To the nearest minute, which is the test's patience with a slow machine.
	lasts := out.Credentials.Expiration.Sub(begun).Round(time.Minute)
	key, id := aws.ToString(out.Credentials.AccessKeyId), aws.ToString(out.AssumedRoleUser.AssumedRoleId)
	s.write(nil, "%s, %s, for %s, key of %s", aws.ToString(out.AssumedRoleUser.Arn), roleID(id), lasts, key[:4])
	s.as.Credentials = credentials.NewStaticCredentialsProvider(key, aws.ToString(out.Credentials.SecretAccessKey),
		aws.ToString(out.Credentials.SessionToken))
}

func (s *roleTeller) whoAmI() {
	out, err := sts.New(s.as).GetCallerIdentity(s.ctx, nil)
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%s, %s, account %s", aws.ToString(out.Arn), roleID(aws.ToString(out.UserId)), aws.ToString(out.Account))
}

// roleID leaves of an assumed role's id what does not differ from server to server.
func roleID(id string) string {
	role, session, _ := strings.Cut(id, ":")
	return fmt.Sprintf("%.4s of %d:%s", role, len(role), session)
}

const shopRole = "arn:aws:iam::123456789012:role/shop-app"

// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
var roleStories = []roleStory{
	{
		name: "whoever assumes a role is the role",
		tell: func(s *roleTeller) {
			s.assume(shopRole, "i-0abc", 0)
			s.whoAmI()
		},
		want: []string{
			"arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, for 1h0m0s, key of ASIA",
			"arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, account 123456789012",
		},
	},
	{
		name: "a role's path is no part of the session's name",
		tell: func(s *roleTeller) {
			s.assume("arn:aws:iam::123456789012:role/team/web/shop-app", "i-0abc", 0)
			s.whoAmI()
		},
		want: []string{
			"arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, for 1h0m0s, key of ASIA",
			"arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, account 123456789012",
		},
	},
	{
		name: "a role of another account is in that account",
		tell: func(s *roleTeller) {
			s.assume("arn:aws:iam::210987654321:role/shop-app", "i-0abc", 900)
			s.whoAmI()
		},
		want: []string{
			"arn:aws:sts::210987654321:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, for 15m0s, key of ASIA",
			"arn:aws:sts::210987654321:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, account 210987654321",
		},
	},
	{
		name: "a session's name has a limit",
		tell: func(s *roleTeller) {
			s.assume(shopRole, strings.Repeat("x", 64), 0)
			s.assume(shopRole, strings.Repeat("x", 65), 0)
		},
		want: []string{
			"arn:aws:sts::123456789012:assumed-role/shop-app/" + strings.Repeat("x", 64) + ", AROA of 21:" + strings.Repeat("x", 64) +
				", for 1h0m0s, key of ASIA",
			"! ValidationError",
		},
	},
	{
		name: "a session lasts between 15 minutes and 12 hours",
		tell: func(s *roleTeller) {
			s.assume(shopRole, "i-0abc", 899)
			s.assume(shopRole, "i-0abc", 43201)
			s.assume(shopRole, "i-0abc", 43200)
		},
		want: []string{
			"! ValidationError", "! ValidationError",
			"arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, for 12h0m0s, key of ASIA",
		},
		motoIsWrong: "moto takes any duration",
	},
	{
		name: "a role that was assumed by a role lasts an hour at most",
		tell: func(s *roleTeller) {
			s.assume(shopRole, "i-0abc", 0)
			s.assume(shopRole, "i-0abc", 3601)
			s.assume(shopRole, "i-0abc", 3600)
		},
		want: []string{
			"arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, for 1h0m0s, key of ASIA",
			"! ValidationError",
			"arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc, AROA of 21:i-0abc, for 1h0m0s, key of ASIA",
		},
		motoIsWrong: "moto takes any duration",
	},
	{
		name: "what is no role can't be assumed",
		tell: func(s *roleTeller) {
			s.assume("shop-app-without-anything", "i-0abc", 0)
			s.assume("arn:aws:iam::123456789012:user/shop-app", "i-0abc", 0)
			s.assume("arn:aws:iam::1234:role/shop-app", "i-0abc", 0)
			s.assume(shopRole, "i 0abc", 0)
		},
		want:        []string{"! ValidationError", "! ValidationError", "! ValidationError", "! ValidationError"},
		motoIsWrong: "moto takes any text for a role and a session",
	},
}

func TestRolesTellTheSameStoriesAsMoto(t *testing.T) {
	t.Parallel()
	for _, story := range roleStories {
		t.Run("region/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newRoleTeller(t, smallRegion(t).endpoint)
			story.tell(s)
			sameAsDocumented(t, story.want, s.lines)
		})
		t.Run("moto/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newRoleTeller(t, freshMoto(t))
			story.tell(s)
			sameAsMoto(t, story.want, s.lines, story.motoIsWrong)
		})
	}
}
