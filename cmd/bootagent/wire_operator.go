package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/aws/autoscaling"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/aws/elbv2"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/operator"
	"github.com/bootagent/bootagent/internal/timeline"
)

// operator is what a command asks a fleet with; screen is where it tells of it.
func (f *fleetFlags) operator(ctx context.Context, screen operator.Screen) (*operator.Operator, error) {
	s, err := f.find(ctx, places{getenv: os.Getenv, here: hereFile, instance: config.DefaultPath, parameter: readParameter})
	if err != nil {
		return nil, err
	}
	aws, err := openSession(ctx, s)
	if err != nil {
		return nil, err
	}
	parameters := ssm.New(aws, ssm.Options{Release: s.Parameter})
	group := autoscaling.New(aws)
	o := operator.Options{
		App: s.App, Env: s.Env, Source: s.Source.URL, Policy: s.Policy, Group: f.group, By: caller(), Nonce: rand.Text(),
		Table: s.Table, Release: s.Parameter, MakeTable: dynamodb.Recipe(aws.Config.Region, first(s.Table, "bootagent")),
		Parameter: parameters, Repository: &recipes{repository{conf: s.Config, parameters: parameters, log: zap.NewNop()}},
		Standby: s.Balancer.Mode == config.ModeASG,
		Groups:  group, Screen: screen, Clock: operator.RealClock(),
	}
	if s.Balancer.Mode != config.ModeNone {
		o.Balancer, o.TargetGroups = elbv2.New(aws, s.Balancer.TargetGroups), len(s.Balancer.TargetGroups)
	}
	if s.Table != "" || s.local { // elsewhere the file of a fleet of one is out of reach
		o.Store, _ = fleetRecords(s.Config, config.DirectoriesFrom(os.Getenv), aws)
	}
	return operator.New(o), nil
}

// openSession speaks to the region that the settings name; on an instance its own is the last resort.
func openSession(ctx context.Context, s settings) (*session.Session, error) {
	aws, err := session.Load(ctx, session.Options{Region: s.Region, Version: version})
	if err != nil || aws.Config.Region != "" {
		return aws, err
	}
	if !s.local {
		return nil, &usageError{fmt.Errorf("which region? Give --region, set AWS_REGION, or write it into ./%s (region: eu-central-1)", hereFile)}
	}
	self, err := identify(ctx, "", timeline.New(nil), zap.NewNop())
	if err != nil {
		return nil, err
	}
	return self.session, nil
}

// readParameter is places.parameter.
func readParameter(ctx context.Context, region, name string) (string, bool, error) {
	aws, err := openSession(ctx, settings{Config: config.Config{Region: region}})
	if err != nil {
		return "", false, err
	}
	return ssm.New(aws, ssm.Options{}).Value(ctx, name)
}

// caller is who asks, as BOOTAGENT_BY says or as this machine knows them.
func caller() string {
	if by := os.Getenv("BOOTAGENT_BY"); by != "" {
		return by
	}
	name := os.Getenv("USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "somewhere"
	}
	return first(name, "somebody") + "@" + host
}

// recipes is the repository as an operator asks it.
type recipes struct{ repository }

// Recipe fetches a revision and reads its recipe, as an instance would before it builds it.
func (r *recipes) Recipe(ctx context.Context, revision string) (err error) {
	dir, err := os.MkdirTemp("", "bootagent-recipe-")
	if err != nil {
		return fmt.Errorf("make a place for the revision: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := r.Fetch(ctx, revision, dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(path.Join(dir, r.conf.Source.Subdirectory))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("it has no directory %s, which source.subdirectory names", r.conf.Source.Subdirectory)
	}
	if err != nil {
		return fmt.Errorf("read the revision: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	_, err = recipe.Load(root.FS(), r.conf.Recipe)
	return err
}
