package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/local"
	"github.com/bootagent/bootagent/internal/operator"
	"github.com/bootagent/bootagent/internal/timeline"
)

func statusCommand() *cobra.Command {
	var f fleetFlags
	var socket string
	var fleet, watch, asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what this instance serves and does; away from one, or with --fleet, how the fleet is",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if here := c.Flags().Changed("socket") || exists(socket); !here || fleet {
				err := fleetStatus(c, &f, watch, asJSON)
				var unnamed *unnamedError
				if !fleet && errors.As(err, &unnamed) {
					return &usageError{fmt.Errorf("no agent runs here (there is no %s), and for the status of a fleet: %w", socket, err)}
				}
				return err
			}
			if watch {
				return &usageError{errors.New("--watch is for a fleet: give --fleet")}
			}
			status, err := ask(c, socket)
			if err != nil {
				return err
			}
			if asJSON {
				return encode(c.OutOrStdout(), status)
			}
			printStatus(c.OutOrStdout(), status)
			return nil
		},
	}
	f.add(c)
	socketFlag(c, &socket)
	c.Flags().BoolVar(&fleet, "fleet", false, "the fleet's status, also on an instance")
	c.Flags().BoolVar(&watch, "watch", false, "go on showing the fleet's until interrupted")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with --watch an object whenever something changes")
	return c
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// watchPause is how often a fleet that is watched is looked at.
const watchPause = 2 * time.Second

func fleetStatus(c *cobra.Command, f *fleetFlags, watch, asJSON bool) error {
	screen := screenOf(c, asJSON)
	o, err := f.operator(c.Context(), screen)
	if err != nil {
		return err
	}
	_, drawn := screen.(*drawing)
	last := ""
	for {
		status, err := o.Status(c.Context())
		var failed *operator.Error
		if errors.As(err, &failed) && (!watch || failed.Kind == operator.Wrong) { // all else may pass
			return err
		}
		text := status.Text()
		switch {
		case c.Context().Err() != nil:
		case err != nil:
			screen.Show([]string{"the fleet can't be seen just now: " + err.Error()})
		case watch && !asJSON && drawn:
			screen.Show(strings.Split(text, "\n"))
		case text != last:
			if err := printed(c, asJSON, status, text); err != nil {
				return err
			}
		}
		if last = text; !watch {
			return nil
		}
		select {
		case <-c.Context().Done():
			return nil
		case <-time.After(watchPause):
		}
	}
}

func timelineCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "timeline",
		Short: "Draw where this instance's time went, release by release",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			status, err := ask(c, socket)
			if err != nil {
				return err
			}
			if asJSON {
				return encode(c.OutOrStdout(), status.Timeline)
			}
			timeline.Draw(c.OutOrStdout(), status.Timeline, status.At)
			return nil
		},
	}
	socketFlag(c, &socket)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func socketFlag(c *cobra.Command, socket *string) {
	c.Flags().StringVar(socket, "socket", defaultSocket(), "the agent's socket")
}

func ask(c *cobra.Command, socket string) (agent.Status, error) {
	var status agent.Status
	err := local.Get(c.Context(), socket, &status)
	return status, err
}

func encode(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printStatus is the status for a person: what serves first, what is wrong next.
func printStatus(out io.Writer, s agent.Status) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("app", "%s %s", s.App, s.Env)
	line("instance", "%s in %s", s.Identity.InstanceID, s.Identity.Region)
	if s.Group.Group != "" {
		line("group", "%s, %s", s.Group.Group, s.Group.Lifecycle)
	}
	line("state", "%s", strings.ReplaceAll(s.State, "_", " "))
	if why := whyLeaving(s); why != "" {
		line("leaving", "%s", why)
	}
	if s.InService.IsZero() {
		line("in service", "nothing")
	} else {
		line("in service", "%s, ref %s, on port %d", s.InService, s.InService.Ref, s.Port)
	}
	if !s.Deploying.IsZero() {
		line("deploying", "%s, ref %s", s.Deploying, s.Deploying.Ref)
	}
	if !s.Stable.IsZero() {
		line("stable", "%s", s.Stable)
	}
	for _, d := range s.Doing {
		line("doing", "%s, for %s", d.Step, s.At.Sub(d.Since).Round(100*time.Millisecond))
	}
	for _, subject := range slices.Sorted(maps.Keys(s.Problems)) {
		line("problem", "%s: %s", subject, indent(s.Problems[subject]))
	}
	for _, f := range s.Failed {
		line("failed", "%s at %s: %s", f.Release, f.At.Local().Format(time.DateTime), indent(f.Reason))
	}
	_ = w.Flush()
	if len(s.Timeline) > 0 {
		fmt.Fprintln(out)
		timeline.Draw(out, s.Timeline, s.At)
	}
}

// indent keeps the lines of an app's output below the sentence that quotes them.
func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n            ") }
