package sts

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// The bounds of a role session, in seconds.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const (
	shortest     = 900
	longest      = 43200
	usual        = 3600
	longestChain = 3600 // where a role's keys ask for another role
)

var (
	roleARN     = regexp.MustCompile(`^arn:(aws[a-z-]*):iam::(\d{12}):role/(?:[!-~]*/)?([\w+=,.@-]{1,64})$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// understood are the parameters that AssumeRole does something with.
var understood = map[string]bool{"Action": true, "Version": true, "RoleArn": true, "RoleSessionName": true, "DurationSeconds": true}

// assumeRole lends a role to whoever asks: there are no trust policies here, and
// fault.Deny stands for one that says no. The role need not have been made.
func (s *Service) assumeRole(call wire.Call) (any, error) {
	for key := range call.Form {
		if !understood[key] {
			return nil, invalid("the parameter %s of AssumeRole is left out of this region on a laptop", key)
		}
	}
	arn, err := required(call.Form, "RoleArn", "roleArn")
	if err != nil {
		return nil, err
	}
	session, err := required(call.Form, "RoleSessionName", "roleSessionName")
	if err != nil {
		return nil, err
	}
	role := roleARN.FindStringSubmatch(arn)
	if role == nil || len(arn) > 2048 {
		return nil, invalid("%s is invalid", arn)
	}
	if !sessionName.MatchString(session) {
		return nil, invalid(`1 validation error detected: Value '%s' at 'roleSessionName' failed to satisfy constraint: `+
			`Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}`, session)
	}
	seconds, err := duration(call)
	if err != nil {
		return nil, err
	}
	partition, account, name := role[1], role[2], role[3]
	p := wire.Principal{
		Account: account,
		ARN:     "arn:" + partition + ":sts::" + account + ":assumed-role/" + name + "/" + session,
		UserID:  "AROA" + letters(hash(arn))[:17] + ":" + session,
	}
	key := "ASIA" + letters(random())[:16]
	s.opts.Identify(key, p)
	type credentials struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      wire.Time
	}
	type user struct {
		AssumedRoleID string `xml:"AssumedRoleId"`
		Arn           string
	}
	return struct {
		Credentials     credentials
		AssumedRoleUser user
	}{
		credentials{key, letters(random()), letters(random()), wire.Time(s.opts.Clock().Add(time.Duration(seconds) * time.Second))},
		user{p.UserID, p.ARN},
	}, nil
}

// duration reads DurationSeconds.
func duration(call wire.Call) (int, error) {
	seconds, given, err := wire.Int(call.Form, "DurationSeconds")
	switch {
	case err != nil:
		return 0, err
	case !given:
		return usual, nil
	case seconds < shortest:
		return 0, invalid("1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: "+
			"Member must have value greater than or equal to %d", seconds, shortest)
	case seconds > longest:
		return 0, invalid("1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: "+
			"Member must have value less than or equal to %d", seconds, longest)
	case seconds > longestChain && strings.Contains(call.Principal.ARN, ":assumed-role/"):
		return 0, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	return seconds, nil
}

func required(form url.Values, key, member string) (string, error) {
	if value := form.Get(key); value != "" {
		return value, nil
	}
	return "", invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

func random() []byte {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails
	return raw
}

// hash is the same for the same role, as its id is.
func hash(arn string) []byte {
	sum := sha256.Sum256([]byte(arn))
	return sum[:20]
}

// letters are 32 characters of A–Z and 2–7 for 20 bytes.
func letters(raw []byte) string { return base32.StdEncoding.EncodeToString(raw) }
