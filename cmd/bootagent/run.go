package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/local"
	"github.com/bootagent/bootagent/internal/systemd"
)

func runCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "run",
		Short: "Bring this instance into service and keep it there (the daemon)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := config.Load(path)
			if err != nil {
				return terminal(c.Context(), c.ErrOrStderr(), err)
			}
			err = runAgent(c.Context(), conf)
			var usage *usageError
			var breach *wallError
			if errors.As(err, &usage) || errors.As(err, &breach) {
				return terminal(c.Context(), c.ErrOrStderr(), err)
			}
			return err
		},
	}
	configFlag(c, &path)
	return c
}

func configFlag(c *cobra.Command, path *string) {
	value := os.Getenv("BOOTAGENT_CONFIG")
	if value == "" {
		value = config.DefaultPath
	}
	c.Flags().StringVar(path, "config", value, "the configuration")
}

func defaultSocket() string { return config.DirectoriesFrom(os.Getenv).Socket() }

// runAgent is the daemon: find out who this instance is, then let the agent
// run until it is told to stop.
func runAgent(ctx context.Context, conf config.Config) error {
	log, err := newLogger(conf.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // standard error can't be flushed everywhere
	log.Info("bootagent starts", zap.String("version", version), zap.String("app", conf.App), zap.String("env", conf.Env))

	dirs := config.DirectoriesFrom(os.Getenv)
	d, err := wire(ctx, conf, dirs, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() {
		if err := d.close(); err != nil {
			log.Warn("let go of the units and of the role", zap.Error(err))
		}
	}()

	// The agent lives on a little when it is told to stop: where the machine goes down it drains first.
	group, life := errgroup.WithContext(context.WithoutCancel(ctx))
	group.Go(func() error { return d.units.wait(life) })
	if d.role != nil {
		group.Go(func() error { return d.role.Run(life) })
		group.Go(func() error {
			if err := d.role.Prove(life); err != nil && life.Err() == nil { // which an app that serves must not die of
				log.Error("the app gets no credentials for now", zap.Error(err))
			}
			return nil
		})
	}
	group.Go(func() error {
		return local.Serve(life, dirs.Socket(), func() any { return d.agent.Status() },
			map[string]local.Verb{"drain": d.agent.Drain, "undrain": d.agent.Undrain})
	})
	group.Go(func() error { return announce(life, d.agent.Status, log) })
	group.Go(func() error { return d.agent.Run(life) })
	group.Go(func() error {
		select {
		case <-life.Done():
			return nil
		case <-ctx.Done():
		}
		depart(life, d.agent, log)
		return errEnded // so that the others end
	})
	if err := group.Wait(); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

var errEnded = errors.New("the agent was told to stop")

// shutdownPatience is how long a drain may hold up the machine's shutdown: less than TimeoutStopSec=5min in
// bootagent.service, so that the agent ends by itself.
const shutdownPatience = 4*time.Minute + 30*time.Second

// depart does what is to be done when systemd stops the agent: nothing when it is only the agent that ends, and a drain when
// the machine goes down.
func depart(ctx context.Context, a *agent.Agent, log *zap.Logger) {
	down, err := systemd.ShuttingDown(ctx)
	if err != nil {
		log.Warn("it can't be seen whether the machine goes down, so nothing is drained", zap.Error(err))
	}
	if !down {
		log.Info("bootagent stops; the app goes on")
		return
	}
	log.Info("the machine goes down: this instance is taken out of service first", zap.Duration("at most", shutdownPatience))
	ctx, cancel := context.WithTimeoutCause(ctx, shutdownPatience, fmt.Errorf("it took longer than %s", shutdownPatience))
	defer cancel()
	if err := a.Leave(ctx); err != nil {
		log.Error("the machine goes down with requests in flight", zap.Error(err))
		return
	}
	log.Info("drained; bootagent stops")
}

// terminal ends an agent whose configuration is wrong: the launch hook is
// completed with ABANDON where that can be done, because waiting for its
// time-out would change nothing, and systemd is told not to start it again.
// The cause is told first: who this instance is may take a minute to find out.
func terminal(ctx context.Context, stderr io.Writer, cause error) error {
	fmt.Fprintln(stderr, "bootagent:", cause)
	hook, err := abandon(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("it does not run with a wrong configuration; a launch hook, if there is one, could not be completed with ABANDON and will time out: %w", err)
	case hook == "":
		err = errors.New("it does not run with a wrong configuration; no launch hook waits for this instance")
	default:
		err = fmt.Errorf("it does not run with a wrong configuration; the launch hook %s was completed with ABANDON, so the Auto Scaling group replaces this instance", hook)
	}
	return &agent.TerminalError{Err: err}
}
