package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/aws/autoscaling"
	"github.com/bootagent/bootagent/internal/aws/elbv2"
	"github.com/bootagent/bootagent/internal/aws/imds"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/process"
	"github.com/bootagent/bootagent/internal/state"
	"github.com/bootagent/bootagent/internal/timeline"
)

// wire puts the agent together: the one place where every adapter is made. The
// function it returns closes what the agent used.
func wire(ctx context.Context, conf config.Config, dirs config.Directories, log *zap.Logger) (*agent.Agent, func(), error) {
	spans := timeline.New(nil)
	s, metadata, id, err := identify(ctx, conf.Region, spans, log)
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range []string{dirs.State, dirs.Runtime, home(dirs)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, fmt.Errorf("make the agent's directories: %w", err)
		}
	}
	units, err := process.New(process.Options{
		Dir: filepath.Join(dirs.Runtime, "units"), LogDir: filepath.Join(dirs.State, "logs"), BootID: id.BootID, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	closeUnits := func() {
		if err := units.Close(); err != nil {
			log.Warn("let go of the units", zap.Error(err))
		}
	}
	parameters := ssm.New(s, ssm.Options{Release: conf.Parameter, Environment: conf.SecretsPath})
	machine, err := deploy.New(deploy.Options{
		App: conf.App, Env: conf.Env, InstanceID: id.InstanceID, StateDir: dirs.State,
		Source: &repository{conf: conf, parameters: parameters, log: log}, Runner: units,
		Inline: conf.Recipe, Subdirectory: conf.Source.Subdirectory, KeepReleases: conf.KeepReleases,
		FreeSpace: conf.Limits.FreeSpace, Path: os.Getenv("PATH"), Logger: log,
	})
	if err != nil {
		closeUnits()
		return nil, nil, err
	}
	options := agent.Options{
		Rules: agent.Rules{
			App: conf.App, Balanced: conf.Balancer.Mode == config.ModeSelf,
			FirstPort: conf.Balancer.FirstPort, LastPort: conf.Balancer.LastPort,
			UnhealthyGrace: conf.UnhealthyGrace, HoldOnFailure: conf.HoldOnFailure,
		},
		Env: conf.Env, Parameter: conf.Parameter, Repository: conf.Source.URL, DrainMin: conf.DrainMin, MinMemory: conf.Limits.Memory, Home: home(dirs),
		Identity: id, Metadata: metadata, Parameters: parameters, Group: autoscaling.New(s),
		Preparer: machine, Runner: units, Sockets: kernel{},
		Store: state.At[agent.Memory](filepath.Join(dirs.State, "memory.json")),
		Log:   log, Spans: spans,
	}
	if options.Rules.Balanced {
		options.Balancer = elbv2.New(s, conf.Balancer.TargetGroups)
	}
	return agent.New(options), closeUnits, nil
}

func home(dirs config.Directories) string { return filepath.Join(dirs.State, "home") }

// identify finds out who this instance is, and with it the region of every call.
func identify(ctx context.Context, region string, spans *timeline.Spans, log *zap.Logger) (*session.Session, *imds.Metadata, model.Identity, error) {
	s, err := session.Load(ctx, session.Options{Region: region, Version: version, Logger: log})
	if err != nil {
		return nil, nil, model.Identity{}, err
	}
	// A laptop's instances have one kernel, and so one boot id, which is not theirs.
	metadata := imds.New(s, imds.Options{BootID: os.Getenv("BOOTAGENT_BOOT_ID")})
	done := spans.Begin("identify", 0)
	id, err := metadata.Identity(ctx)
	done(err)
	if err != nil {
		return nil, nil, model.Identity{}, fmt.Errorf("find out who this instance is: %w", err)
	}
	log.Info("identified", zap.String("instance", id.InstanceID), zap.String("region", id.Region), zap.String("boot", id.BootID))
	if s.Config.Region == "" {
		s = s.In(id.Region)
	}
	return s, metadata, id, nil
}

// The instance enters Pending:Wait, where the hook can be completed, some
// moments after it was launched; a broken configuration is found out sooner.
const (
	pendingPatience = 2 * time.Minute
	pendingPause    = time.Second
)

// abandon completes this instance's launch hook with ABANDON, and gives the hook's name; "" where none is open.
func abandon(ctx context.Context) (hook string, err error) {
	s, _, id, err := identify(ctx, "", timeline.New(nil), zap.NewNop())
	if err != nil {
		return "", err
	}
	group := autoscaling.New(s)
	m, err := group.Membership(ctx, id.InstanceID)
	for deadline := time.Now().Add(pendingPatience); err == nil && m.Lifecycle == model.LifecyclePending && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(pendingPause):
		}
		m, err = group.Membership(ctx, id.InstanceID)
	}
	if err != nil || m.Lifecycle != model.LifecyclePendingWait || m.LaunchHook == "" {
		return "", err
	}
	return m.LaunchHook, group.Complete(ctx, m, id.InstanceID, model.HookAbandon)
}

// repository is the app's repository with the secret as it is now: one that
// was changed in Parameter Store is good from the next fetch on.
type repository struct {
	conf       config.Config
	parameters *ssm.Parameters
	log        *zap.Logger
}

func (r *repository) open(ctx context.Context) (*source.Source, error) {
	c := source.Config{
		URL: r.conf.Source.URL,
		Limits: tree.Limits{
			Bytes: r.conf.Limits.Bytes, FileBytes: r.conf.Limits.File, Files: r.conf.Limits.Files,
		},
		KnownHosts: r.conf.Source.KnownHosts, SubmoduleHosts: r.conf.Source.SubmoduleHosts, Log: r.log,
	}
	auth := r.conf.Source.Auth
	c.Auth.User = auth.User
	for key, secret := range map[string]struct {
		name string
		to   *source.Secret
	}{
		"source.auth.parameter": {auth.Parameter, &c.Auth.Secret},
		"source.auth.key":       {auth.Key, &c.Auth.Key},
	} {
		if secret.name == "" {
			continue
		}
		value, err := r.parameters.Secret(ctx, secret.name)
		if err != nil {
			return nil, fmt.Errorf("read the repository's secret (%s): %w", key, err)
		}
		*secret.to = source.Secret(value)
	}
	return source.New(c)
}

func (r *repository) Resolve(ctx context.Context, ref string) (string, error) {
	s, err := r.open(ctx)
	if err != nil {
		return "", err
	}
	return s.Resolve(ctx, ref)
}

func (r *repository) Fetch(ctx context.Context, sha, dir string) error {
	s, err := r.open(ctx)
	if err != nil {
		return err
	}
	return s.Fetch(ctx, sha, dir)
}

// newLogger logs to standard error, where systemd takes it into the journal.
func newLogger(l config.Log) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(l.Level)
	if err != nil {
		return nil, errors.Join(errors.New("log.level"), err)
	}
	c := zap.NewProductionConfig()
	c.Level = zap.NewAtomicLevelAt(level)
	c.Sampling = nil
	c.DisableStacktrace = true
	c.DisableCaller = true
	c.OutputPaths, c.ErrorOutputPaths = []string{"stderr"}, []string{"stderr"}
	c.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	if !l.JSON {
		c.Encoding = "console"
		c.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
	}
	return c.Build()
}
