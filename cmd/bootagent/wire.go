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
	"github.com/bootagent/bootagent/internal/aws/autoscaling"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/aws/elbv2"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/localstore"
	"github.com/bootagent/bootagent/internal/rolecreds"
	"github.com/bootagent/bootagent/internal/state"
	"github.com/bootagent/bootagent/internal/timeline"
	"github.com/bootagent/bootagent/rollout"
)

// daemon is the agent with what it runs on, which is closed after the agent's end.
type daemon struct {
	agent *agent.Agent
	units *units
	role  *rolecreds.Server // nil where the app gets no role's credentials
}

// close lets go of what the agent ran on; units run on.
func (d *daemon) close() error {
	var errs []error
	if d.role != nil {
		errs = append(errs, d.role.Close())
	}
	if d.units != nil {
		errs = append(errs, d.units.close())
	}
	return errors.Join(errs...)
}

// wire puts the agent together: the one place where every adapter is made.
func wire(ctx context.Context, conf config.Config, dirs config.Directories, log *zap.Logger) (d *daemon, err error) {
	spans := timeline.New(nil)
	self, err := identify(ctx, conf.Region, spans, log)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{dirs.State, dirs.Runtime} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the agent's directories: %w", err)
		}
	}
	d = &daemon{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.units, err = openUnits(ctx, conf, dirs, self.id, log); err != nil {
		return d, err
	}
	if d.role, err = lend(conf, dirs, self, d.units.users, log); err != nil {
		return d, err
	}
	options, err := assemble(conf, dirs, self, d, log)
	if err != nil {
		return d, err
	}
	options.Spans = spans
	d.agent = agent.New(options)
	return d, nil
}

func assemble(conf config.Config, dirs config.Directories, self *instance, d *daemon, log *zap.Logger) (agent.Options, error) {
	parameters := ssm.New(self.session, ssm.Options{Release: conf.Parameter, Environment: conf.SecretsPath})
	revisions := &repository{conf: conf, parameters: parameters, log: log, verify: true}
	if _, err := revisions.verification(); err != nil {
		// What is on disk still serves, and may be watched and drained.
		log.Error("no new release can be fetched: whose signatures count can't be read", zap.Error(err))
	}
	records, shared := fleetRecords(conf, dirs, self.session)
	witnesses := records
	if !shared {
		witnesses = nil
	}
	cache, err := openCache(conf, self.id.InstanceID, self.session, witnesses, dirs.State)
	if err != nil {
		return agent.Options{}, err
	}
	authentic := revisions.Verify
	if conf.Source.Verify.Mode == config.VerifyOff {
		authentic = nil
	}
	machine, err := deploy.New(deploy.Options{
		App: conf.App, Env: conf.Env, InstanceID: self.id.InstanceID, StateDir: dirs.State,
		Source: revisions, Runner: d.units, Users: d.units.users,
		Secrets: parameters, SecretsPath: conf.SecretsPath,
		Inline: conf.Recipe, Subdirectory: conf.Source.Subdirectory, KeepReleases: conf.KeepReleases,
		Cache: cache, Authentic: authentic, FreeSpace: conf.Limits.FreeSpace, Path: os.Getenv("PATH"), Logger: log,
	})
	if err != nil {
		return agent.Options{}, err
	}
	sandbox, err := appSandbox(conf, dirs, self, d)
	if err != nil {
		return agent.Options{}, err
	}
	group := autoscaling.New(self.session)
	options := agent.Options{
		Rules: agent.Rules{
			App: conf.App, Restart: conf.Restart, Balanced: conf.Balancer.Mode == config.ModeSelf, Attached: conf.Balancer.Mode == config.ModeASG,
			FirstPort: conf.Balancer.FirstPort, LastPort: conf.Balancer.LastPort,
			UnhealthyGrace: conf.UnhealthyGrace, HoldOnFailure: conf.HoldOnFailure,
		},
		Env: conf.Env, Parameter: conf.Parameter, Repository: conf.Source.URL, DrainMin: conf.DrainMin, MinMemory: conf.Limits.Memory, Sandbox: sandbox,
		Identity: self.id, Metadata: self.metadata, Parameters: parameters, Group: group,
		Records: records, Shared: shared, MakeTable: dynamodb.Recipe(self.session.Config.Region, "bootagent"), Policy: conf.Policy,
		Preparer: machine, Cache: machine, Runner: d.units, Sockets: kernel{},
		Store: state.At[agent.Memory](filepath.Join(dirs.State, "memory.json")),
		Log:   log,
	}
	if conf.Balancer.Mode != config.ModeNone {
		balancer := elbv2.New(self.session, conf.Balancer.TargetGroups)
		options.Balancer, options.TargetGroups = balancer, len(conf.Balancer.TargetGroups)
		options.Lookout = lookout{group, balancer}
		if options.Rules.Attached {
			options.Standby = group
		}
	} else {
		options.Lookout = lookout{Group: group}
	}
	return options, nil
}

// lookout is the whole fleet, as its two services see it. Without a balancer nobody asks for targets.
type lookout struct {
	*autoscaling.Group
	*elbv2.Balancer
}

// fleetRecords are in a table, or in a file of a fleet of one.
func fleetRecords(conf config.Config, dirs config.Directories, aws *session.Session) (records rollout.Store, shared bool) {
	if conf.Table == "" {
		return localstore.At(filepath.Join(dirs.State, "records.json"), time.Now), false
	}
	return dynamodb.New(aws, dynamodb.Options{Table: conf.Table, App: conf.App, Env: conf.Env}), true
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
