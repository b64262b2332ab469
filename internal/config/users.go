package config

import (
	"errors"
	"regexp"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

// The values of credentials that are no role.
const (
	credentialsNone     = "none"
	credentialsInstance = "instance"
)

var (
	// The names that systemd takes in User= (its user-util.c, valid_user_group_name, strict).
	userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
	roleARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$`)
)

// users reads who runs builds and the app. They must differ: a build runs whatever its dependencies bring, and must not
// get at what the app writes or is told.
func users(m *strictyaml.Map, c *Config) {
	app, build := m.Get("app_user"), m.Get("build_user")
	app.Check(&c.AppUser, checkUser)
	build.Check(&c.BuildUser, checkUser)
	if c.AppUser == c.BuildUser {
		place := build
		if !place.Given() {
			place = app
		}
		place.Fail("app_user and build_user are both %s: builds and the app run as different users, so that neither reads what is the other's", c.AppUser)
	}
}

func checkUser(s string) error {
	switch {
	case s == "root":
		return errors.New("can't be root: builds and the app run without privileges")
	case !userName.MatchString(s):
		return errors.New("must be the name of a user of the machine: lower-case letters, digits, dashes and underscores, a letter first, 31 at most")
	}
	return nil
}

// credentials reads none, instance, or the ARN of a role.
func credentials(v strictyaml.Value) Credentials {
	text := credentialsNone
	v.Check(&text, func(s string) error {
		if s != credentialsNone && s != credentialsInstance && !roleARN.MatchString(s) {
			return errors.New(`must be none, instance (the instance's own role), or the ARN of a role for the app, such as arn:aws:iam::123456789012:role/shop`)
		}
		return nil
	})
	switch text {
	case credentialsNone:
		return Credentials{}
	case credentialsInstance:
		return Credentials{Instance: true}
	}
	return Credentials{Role: text}
}
