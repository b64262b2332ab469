package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/strictyaml"
)

// fleetFlags say which app's fleet a command speaks of.
type fleetFlags struct{ app, env, region, config, group string }

func (f *fleetFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.app, "app", "", "the app (default: BOOTAGENT_APP, or app in ./.bootagent)")
	c.Flags().StringVar(&f.env, "env", "", "the env (default: BOOTAGENT_ENV, or env in ./.bootagent)")
	c.Flags().StringVar(&f.region, "region", "", "the AWS region (default: AWS_REGION, or region in ./.bootagent)")
	c.Flags().StringVar(&f.config, "config", os.Getenv("BOOTAGENT_CONFIG"), "a configuration file, in place of the parameter /bootagent/<app>/<env>/config")
	c.Flags().StringVar(&f.group, "group", "", "the Auto Scaling group (default: that of the instances in the target groups)")
}

// places are where settings are looked for, beside the flags.
type places struct {
	getenv func(string) string
	here   string // ./.bootagent
	// instance is the configuration of the instance that this is, if it is one.
	instance string
	// parameter reads a parameter in a region, "" for what the AWS SDK finds itself.
	parameter func(ctx context.Context, region, name string) (value string, found bool, err error)
}

// settings are an instance's configuration, and whether it is the one of this very instance.
type settings struct {
	config.Config
	local bool
}

// hereFile is the file in the working directory that names an app, for people who work on it.
const hereFile = ".bootagent"

// find finds the settings. Who names the app and the env comes first; the rest is in a configuration, wherever that is.
func (f *fleetFlags) find(ctx context.Context, p places) (settings, error) {
	here, err := readHere(p.here)
	if err != nil {
		return settings{}, &usageError{err}
	}
	app := first(f.app, p.getenv("BOOTAGENT_APP"), here.app)
	env := first(f.env, p.getenv("BOOTAGENT_ENV"), here.env)
	region := first(f.region, p.getenv("AWS_REGION"), p.getenv("AWS_DEFAULT_REGION"), here.region)
	s, from, err := f.load(ctx, p, app, env, region)
	if err != nil {
		return settings{}, err
	}
	for _, c := range []struct{ what, wanted, is string }{{"app", app, s.App}, {"env", env, s.Env}} {
		if c.wanted != "" && c.wanted != c.is {
			return settings{}, &usageError{fmt.Errorf("the %s is %s, and the configuration in %s is for the %s %s: give another one, or leave the %s out", c.what, c.wanted, from, c.what, c.is, c.what)}
		}
	}
	s.Region = first(region, s.Region)
	return s, nil
}

// load finds the configuration, and says where it was.
func (f *fleetFlags) load(ctx context.Context, p places, app, env, region string) (s settings, from string, err error) {
	if f.config != "" {
		if s.Config, err = config.Load(f.config); err != nil {
			return s, "", &usageError{err}
		}
		s.local = f.config == p.instance
		return s, f.config, nil
	}
	name := "/bootagent/" + app + "/" + env + "/config"
	if app != "" && env != "" {
		value, found, err := p.parameter(ctx, region, name)
		if err != nil {
			return s, "", fmt.Errorf("read the configuration of %s %s: %w", app, env, err)
		}
		if found {
			if s.Config, err = config.Parse(name, []byte(value)); err != nil {
				return s, "", &usageError{err}
			}
			return s, name, nil
		}
	}
	if _, err := os.Stat(p.instance); err == nil {
		if s.Config, err = config.Load(p.instance); err != nil {
			return s, "", &usageError{err}
		}
		s.local = true
		return s, p.instance, nil
	}
	if app == "" || env == "" {
		return s, "", &usageError{&unnamedError{app == ""}}
	}
	return s, "", &usageError{fmt.Errorf("there is no configuration of %s %s: put the instances' one into Parameter Store, with aws ssm put-parameter --name %s --type String --value file://config.yaml, "+
		"or name a file with --config", app, env, name)}
}

// unnamedError says that nothing tells which app, or which env of it.
type unnamedError struct{ app bool }

func (e *unnamedError) Error() string {
	what, example := "env", "prod"
	if e.app {
		what, example = "app", "shop"
	}
	return fmt.Sprintf("which %s? Give --app and --env, set BOOTAGENT_APP and BOOTAGENT_ENV, write them into ./%s (%s: %s), or name a configuration with --config", what, hereFile, what, example)
}

// here is what ./.bootagent says.
type here struct{ app, env, region string }

func readHere(path string) (h here, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("read the settings of this directory: %w", err)
	}
	doc, err := strictyaml.Parse(path, data)
	if err != nil {
		return h, err
	}
	m := doc.Root().Map()
	m.Get("app").String(&h.app)
	m.Get("env").String(&h.env)
	m.Get("region").String(&h.region)
	m.Done()
	return h, doc.Err()
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
