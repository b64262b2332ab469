package main

import (
	"errors"
	"os/user"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/config"
)

// The users are Debian's own: sync and nobody have one group, daemon and nobody have not.
func TestTheAppAndItsBuildsHaveNoUserAndNoGroupInCommon(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"daemon", "sync", "nobody"} {
		if _, err := user.Lookup(name); err != nil {
			t.Skipf("LEFT OUT: %v", err)
		}
	}
	for _, c := range []struct{ app, build, want string }{
		{"daemon", "nobody", ""},
		{"daemon", "daemon", "the same user (uid 1)"},
		{"sync", "nobody", "the same group (gid 65534)"},
		{"root", "nobody", "is root"},
		{"daemon", "no-such-user", "no user no-such-user"},
	} {
		users, err := findUsers(config.Config{AppUser: c.app, BuildUser: c.build})
		var usage *usageError
		switch {
		case c.want == "" && (err != nil || users.App.Name != c.app || users.Build.Name != c.build):
			t.Errorf("app %s, build %s: %+v, %v", c.app, c.build, users, err)
		case c.want != "" && (!errors.As(err, &usage) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("app %s, build %s: %v, want %q", c.app, c.build, err, c.want)
		}
	}
}
