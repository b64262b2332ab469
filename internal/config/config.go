// Package config reads the configuration of an instance, strictly.
// docs/configuration.md is what it promises to users.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/strictyaml"
	"github.com/bootagent/bootagent/rollout"
)

// DefaultPath is where the configuration is.
const DefaultPath = "/etc/bootagent/config.yaml"

// The values of balancer.mode.
const (
	ModeSelf = "self"
	ModeASG  = "asg"
	ModeNone = "none"
)

// The values of source.engine.
const (
	EngineAuto  = "auto"
	EngineGoGit = "go-git"
	EngineGit   = "git"
)

// What a configuration that doesn't say gets. The reasons stand in docs/configuration.md.
const (
	DefaultFirstPort      = 8080
	DefaultLastPort       = 8083
	DefaultDrainMin       = 30 * time.Second
	DefaultUnhealthyGrace = 30 * time.Second
	DefaultHoldOnFailure  = 5 * time.Minute
	DefaultKeepReleases   = 5
	DefaultAppUser        = "bootagent-app"
	DefaultBuildUser      = "bootagent-build"
	DefaultFreeSpace      = 256 << 20
	DefaultMemory         = 64 << 20
	DefaultBytes          = 2 << 30
	DefaultFile           = 512 << 20
	DefaultFiles          = 200_000
)

// Config is a configuration with every default filled in.
type Config struct {
	App, Env string
	Region   string // empty means what the instance's metadata says
	Source   Source
	Cache    Cache
	// Parameter is the release parameter's name.
	Parameter string
	Balancer  Balancer
	Restart   bool // switch: restart, and mode asg: two releases never run at the same time
	// Table names the DynamoDB table of the fleet's records; empty means a fleet of one, with a file of its own.
	Table string
	// Policy is how a release goes over the fleet where its deploy says nothing else.
	Policy         rollout.Policy
	DrainMin       time.Duration // how long a deregistered process keeps serving at least
	UnhealthyGrace time.Duration // how long the app in service may fail its checks
	HoldOnFailure  time.Duration // how long a failed boot waits for a better release
	SecretsPath    string        // the path of the app's variables in Parameter Store
	// AppUser runs the app's processes, BuildUser the builds: two users without privileges. On a laptop nobody becomes them.
	AppUser, BuildUser string
	Credentials        Credentials
	KeepReleases       int
	Limits             Limits
	Recipe             *recipe.Recipe // where a commit has none; nil means none
	Log                Log
}

// Source is the app's repository.
type Source struct {
	URL          string // https://…, ssh://…, or git@host:path
	Auth         Auth
	Subdirectory string // the app's directory in the repository; empty means the top
	// KnownHosts are lines of a known_hosts file; SSH needs them.
	KnownHosts string
	// SubmoduleHosts are hosts, besides the repository's own, that submodules may be fetched from without credentials.
	SubmoduleHosts []string
	Engine         string // auto, go-git or git
	Verify         Verify
}

// Cache is where built releases are kept for other instances.
type Cache struct {
	URL string // s3://bucket/prefix or file:///directory; empty is nowhere
}

// Auth is how the repository is read: with a secret that is in Parameter Store.
type Auth struct {
	Parameter string // the name of the SecureString with the token or password, for HTTPS; empty means none is needed
	Key       string // the name of the SecureString with the private key, for SSH
	User      string // for a password, or a host that wants a user beside the token
}

// Balancer is who registers what.
type Balancer struct {
	Mode                string
	TargetGroups        []string // ARNs or names
	FirstPort, LastPort int      // 0 in mode asg: the port is the target groups' own
}

// Limits bound what an instance takes upon itself; all but Files are bytes.
type Limits struct {
	FreeSpace int64 // on disk, before a release is fetched
	Memory    int64 // available, before a second copy of the app is started
	Bytes     int64 // of a revision's tree
	File      int64 // of one file of it
	Files     int
}

// Credentials are the AWS credentials that the app gets; builds never get any.
type Credentials struct {
	// Instance lets the app reach the instance metadata service, and with it the instance's own role.
	Instance bool
	// Role is the ARN of the role that the agent assumes for the app; "" is none.
	Role string
}

// Log says how the agent logs.
type Log struct {
	Level string // debug, info, warn or error
	JSON  bool
}

// Load reads the file at path. A file that is not there, or that can't be
// read, is an error: bootagent never guesses what it is to run.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Config{}, fmt.Errorf("there is no configuration at %s: write one with at least app, env, source.url and balancer.target_groups, or name another with --config", path)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a configuration; file is the name that errors carry. Its errors
// are *strictyaml.Error or strictyaml.Errors: every problem, with its place.
func Parse(file string, data []byte) (Config, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return Config{}, err
	}
	m := doc.Root().Map()
	version := 1
	v := m.Require("version", `write "version: 1"`)
	if v.Int(&version, 1, 1<<30) && version > 1 {
		v.Fail("version %d is not supported by this version of bootagent, which knows version 1; upgrade it", version)
		return Config{}, doc.Err() // keys of another version would only be noise
	}
	c := decode(m)
	if err := doc.Err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Directories are where the agent keeps things on this machine.
type Directories struct {
	State   string // releases and memory: survives a reboot
	Runtime string // units and the socket: of this boot only
}

// DirectoriesFrom takes the directories that systemd made for the unit
// (StateDirectory=, RuntimeDirectory=), or those it would make.
func DirectoriesFrom(getenv func(string) string) Directories {
	d := Directories{State: getenv("STATE_DIRECTORY"), Runtime: getenv("RUNTIME_DIRECTORY")}
	if d.State == "" {
		d.State = "/var/lib/bootagent"
	}
	if d.Runtime == "" {
		d.Runtime = "/run/bootagent"
	}
	return d
}

// Socket is where the agent answers.
func (d Directories) Socket() string { return filepath.Join(d.Runtime, "agent.sock") }
