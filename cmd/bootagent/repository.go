package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/config"
)

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
