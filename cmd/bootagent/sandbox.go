package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/aws/sts"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/rolecreds"
)

// appSandbox is how the app's processes are kept in. It makes the directory that is the app's own.
func appSandbox(conf config.Config, dirs config.Directories, self *instance, d *daemon) (agent.Sandbox, error) {
	s := agent.Sandbox{
		Home: filepath.Join(dirs.State, "home"), Shared: filepath.Join(dirs.State, deploy.SharedName), Metadata: conf.Credentials.Instance,
		Credentials: conf.Credentials != config.Credentials{}, Environment: map[string]string{},
	}
	if !s.Metadata {
		// An SDK that looks for the instance's credentials is told at once that there are none, and does not wait for them.
		s.Environment["AWS_EC2_METADATA_DISABLED"] = "true"
	}
	if d.role != nil {
		// Which region it is in an SDK would have asked the metadata, too.
		s.Environment["AWS_REGION"] = self.session.Config.Region
		for _, entry := range d.role.Environment() {
			name, value, _ := strings.Cut(entry, "=")
			s.Environment[name] = value
		}
	}
	if err := os.MkdirAll(s.Home, 0o755); err != nil {
		return s, fmt.Errorf("make the app's directory: %w", err)
	}
	users := d.units.users
	if users == nil {
		return s, nil
	}
	s.User, s.Walled = users.App.Name, true
	// The state directory is root's, so nobody can have put a link in this one's place.
	if err := errors.Join(os.Lchown(s.Home, users.App.UID, users.App.GID), os.Chmod(s.Home, 0o750)); err != nil {
		return s, fmt.Errorf("give the app its directory: %w", err)
	}
	return s, nil
}

// lend serves the credentials of the app's role to the app; nil where it has none.
func lend(conf config.Config, dirs config.Directories, self *instance, users *deploy.Users, log *zap.Logger) (*rolecreds.Server, error) {
	role := conf.Credentials.Role
	if role == "" {
		return nil, nil
	}
	roles := sts.New(self.session)
	o := rolecreds.Options{
		Dir: filepath.Join(dirs.Runtime, "credentials"), Role: role, UID: -1, GID: -1, Log: log,
		Assume: func(ctx context.Context) (model.RoleCredentials, error) {
			return roles.Assume(ctx, role, self.id.InstanceID)
		},
	}
	if users != nil {
		o.UID, o.GID = users.App.UID, users.App.GID
	}
	return rolecreds.Open(o)
}
