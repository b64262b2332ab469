package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/process"
	"github.com/bootagent/bootagent/internal/systemd"
	"github.com/bootagent/bootagent/internal/unit"
)

// agentUnit is the agent's own unit, as the package names it.
const agentUnit = "bootagent.service"

// units are what runs the app and its builds on this machine.
type units struct {
	unit.Runner
	close func() error
	// wait returns once units may be run, or ctx has ended; its error is why they never may.
	wait func(ctx context.Context) error
	// users are those of the app and of builds; nil on a laptop, where everything runs as the agent's own user.
	users *deploy.Users
}

// openUnits chooses who runs units. Child processes have no wall in front of the instance's credentials, so they are for
// a machine that has none to steal: one whose metadata service is on its own loopback, a laptop. Everywhere else it is
// systemd, and nothing is run before the wall is proven.
func openUnits(ctx context.Context, conf config.Config, dirs config.Directories, id model.Identity, log *zap.Logger) (*units, error) {
	dir := filepath.Join(dirs.Runtime, "units")
	if onLoopback(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")) {
		log.Info("the instance metadata is on loopback, so this is a laptop: builds and the app run as child processes of this user, without walls")
		r, err := process.New(process.Options{Dir: dir, LogDir: filepath.Join(dirs.State, "logs"), BootID: id.BootID, Logger: log})
		if err != nil {
			return nil, err
		}
		return &units{Runner: r, close: r.Close, wait: func(context.Context) error { return nil }}, nil
	}
	users, err := findUsers(conf)
	if err != nil {
		return nil, err
	}
	r, err := systemd.New(ctx, systemd.Options{Prefix: "bootagent-", Dir: dir, Service: agentUnit, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("on an instance units are systemd's, started by root: %w", err)
	}
	w := newWall(r, users.Build.Name, log)
	return &units{Runner: w, users: users, wait: w.wait, close: func() error {
		w.close()
		return r.Close()
	}}, nil
}

// onLoopback says whether an address, the URL of the metadata service, is on this machine's loopback.
func onLoopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || endpoint == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// findUsers looks up the users of builds and of the app. One that is not there, or that is root by another name, is the
// configuration's fault.
func findUsers(conf config.Config) (*deploy.Users, error) {
	build, err := findUser("build_user", conf.BuildUser)
	if err != nil {
		return nil, err
	}
	app, err := findUser("app_user", conf.AppUser)
	if err != nil {
		return nil, err
	}
	if app.UID == build.UID {
		return nil, &usageError{fmt.Errorf("app_user %s and build_user %s are the same user (uid %d): name two", app.Name, build.Name, app.UID)}
	}
	if app.GID == build.GID { // which may read what the app keeps
		return nil, &usageError{fmt.Errorf("app_user %s and build_user %s have the same group (gid %d), so builds could read what the app keeps: give each a group of its own (usermod --gid)", app.Name, build.Name, app.GID)}
	}
	return &deploy.Users{Build: build, App: app}, nil
}

func findUser(key, name string) (deploy.User, error) {
	found, err := user.Lookup(name)
	if unknown := (user.UnknownUserError)(""); errors.As(err, &unknown) {
		return deploy.User{}, &usageError{fmt.Errorf("%s: there is no user %s on this machine: the package makes bootagent-app and bootagent-build; make others with useradd --system before the agent starts", key, name)}
	}
	if err != nil {
		return deploy.User{}, fmt.Errorf("%s: look up the user %s: %w", key, name, err)
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return deploy.User{}, fmt.Errorf("%s: the uid of %s: %w", key, name, err)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return deploy.User{}, fmt.Errorf("%s: the gid of %s: %w", key, name, err)
	}
	if uid == 0 || gid == 0 {
		return deploy.User{}, &usageError{fmt.Errorf("%s: %s is root by uid or group: builds and the app run without privileges", key, name)}
	}
	return deploy.User{Name: name, UID: uid, GID: gid}, nil
}
