package model

import (
	"fmt"
	"time"
)

// RoleCredentials are temporary keys of an IAM role. They print, and are
// marshalled, without their secrets.
type RoleCredentials struct {
	Role            string // the role's ARN
	AccessKeyID     string // no secret: CloudTrail knows sessions by it
	SecretAccessKey string `json:"-"`
	SessionToken    string `json:"-"`
	// Expires is by AWS's clock.
	Expires time.Time
}

func (c RoleCredentials) String() string {
	return fmt.Sprintf("keys of %s (%s, until %s)", c.Role, c.AccessKeyID, c.Expires.UTC().Format(time.RFC3339))
}

// GoString hides the secrets from %#v.
func (c RoleCredentials) GoString() string { return c.String() }
