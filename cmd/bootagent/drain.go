package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/local"
)

// drainPatience is longer than a load balancer's usual deregistration delay (300 s) and a slow stop together.
const drainPatience = 15 * time.Minute

func drainCommand() *cobra.Command {
	d := drain{look: 500 * time.Millisecond}
	c := &cobra.Command{
		Use:   "drain",
		Short: "Take this instance out of service: deregister it, let requests end, stop the app",
		Long: "drain takes this instance out of service and keeps it out, also over restarts of the agent and reboots, until\n" +
			"`bootagent undrain`. It waits until nothing is registered and no process of the app is left; when it is\n" +
			"interrupted, or told not to wait, the instance drains all the same. Its Auto Scaling group is not told.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d.out = c.OutOrStdout()
			return d.run(c.Context())
		},
	}
	socketFlag(c, &d.socket)
	c.Flags().BoolVar(&d.noWait, "no-wait", false, "return as soon as the agent has taken note of it")
	c.Flags().DurationVar(&d.timeout, "timeout", drainPatience, "how long to wait")
	c.Flags().BoolVar(&d.json, "json", false, "print the last status as JSON, and no progress")
	return c
}

func undrainCommand() *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use:   "undrain",
		Short: "Bring this instance back into service after drain",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			before, err := ask(c, socket)
			if err != nil {
				return err
			}
			if err := local.Post(c.Context(), socket, "undrain"); err != nil {
				return err
			}
			switch before.Leaving {
			case agent.Drained:
				fmt.Fprintln(c.OutOrStdout(), "the instance comes back into service by itself; bootagent status shows how far it is")
			case agent.Stays:
				fmt.Fprintln(c.OutOrStdout(), "the instance was not drained: nothing to do")
			default:
				fmt.Fprintf(c.OutOrStdout(), "the instance stays out of service: %s\n", whyLeaving(before))
			}
			return nil
		},
	}
	socketFlag(c, &socket)
	return c
}

type drain struct {
	socket  string
	noWait  bool
	timeout time.Duration
	json    bool
	look    time.Duration // between two looks at the agent
	out     io.Writer
}

func (d drain) run(ctx context.Context) error {
	if d.timeout <= 0 {
		return &usageError{fmt.Errorf("--timeout is %s, and has to be more than nothing", d.timeout)}
	}
	if err := local.Post(ctx, d.socket, "drain"); err != nil {
		return err
	}
	if d.noWait {
		d.say("draining; bootagent status shows how far it is, bootagent undrain brings the instance back")
		return nil
	}
	s, err := d.wait(ctx)
	if d.json && !s.At.IsZero() {
		err = errors.Join(err, encode(d.out, s))
	}
	if err == nil {
		d.say("drained: nothing is registered and no process of the app is left; bootagent undrain brings the instance back")
	}
	return err
}

// wait follows the agent until the instance is drained, and gives the last status.
func (d drain) wait(ctx context.Context) (last agent.Status, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeout, fmt.Errorf("not drained after %s", d.timeout))
	defer cancel()
	told, begun := map[string]bool{}, false
	ticker := time.NewTicker(d.look)
	defer ticker.Stop()
	for {
		var s agent.Status
		if err = local.Get(ctx, d.socket, &s); err == nil {
			last = s
			begun = begun || s.Leaving != agent.Stays // what it said before is of its life before
		}
		if err == nil && begun {
			for _, doing := range s.Doing {
				if !told[doing.Step] {
					told[doing.Step] = true
					d.say("%s", doing.Step)
				}
			}
		}
		switch {
		case err == nil && s.State == "drained":
			return last, nil
		case err == nil && s.Leaving == agent.Stays && begun:
			return last, errors.New("the drain was undone meanwhile: somebody called bootagent undrain")
		}
		select {
		case <-ctx.Done():
			// An agent that does not answer may be one that was just restarted: it drains on.
			cause := context.Cause(ctx)
			if err == nil {
				err = errors.New(last.Left())
			}
			return last, fmt.Errorf("%w (the instance goes on draining by itself; bootagent status shows how far it is): %w", cause, err)
		case <-ticker.C:
		}
	}
}

func (d drain) say(format string, args ...any) {
	if !d.json {
		fmt.Fprintf(d.out, format+"\n", args...)
	}
}

// whyLeaving says why an instance is out of service, or on its way, and what to do about it.
func whyLeaving(s agent.Status) string {
	switch s.Leaving {
	case agent.Drained:
		return fmt.Sprintf("an operator drained it at %s; bootagent undrain brings it back", s.LeavingSince.Local().Format(time.DateTime))
	case agent.Terminating:
		return "its Auto Scaling group ends it"
	case agent.ShuttingDown:
		return "the machine goes down"
	}
	return ""
}
