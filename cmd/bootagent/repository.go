package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/signature"
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
	// verify holds revisions to source.verify: on instances, where its files are.
	verify bool
}

// verification reads whose signatures count, as the files say now; nil where none is demanded.
func (r *repository) verification() (*source.Verification, error) {
	v := r.conf.Source.Verify
	if !r.verify || v.Mode == config.VerifyOff || v.Mode == "" {
		return nil, nil
	}
	trust, err := signature.Open(signature.Config{Keys: v.Keys, AllowedSigners: v.AllowedSigners, Principals: v.Principals})
	if err != nil {
		return nil, err
	}
	return &source.Verification{Tag: v.Mode == config.VerifyTag, Trust: trust}, nil
}

func (r *repository) open(ctx context.Context) (*source.Source, error) {
	c := source.Config{
		URL: r.conf.Source.URL,
		Limits: tree.Limits{
			Bytes: r.conf.Limits.Bytes, FileBytes: r.conf.Limits.File, Files: r.conf.Limits.Files,
		},
		Engine:     source.Engine(r.conf.Source.Engine),
		KnownHosts: r.conf.Source.KnownHosts, SubmoduleHosts: r.conf.Source.SubmoduleHosts, Log: r.log,
	}
	var err error
	if c.Verify, err = r.verification(); err != nil {
		return nil, err
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

// Verify holds a revision that comes from elsewhere to source.verify; without one it asks nobody but Parameter Store.
func (r *repository) Verify(ctx context.Context, sha string) error {
	s, err := r.open(ctx)
	if err != nil {
		return err
	}
	return s.Verify(ctx, sha)
}
