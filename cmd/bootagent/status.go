package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/local"
	"github.com/bootagent/bootagent/internal/timeline"
)

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what this instance serves and does",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
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
	socketFlag(c, &socket)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
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
