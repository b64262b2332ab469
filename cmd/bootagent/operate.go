package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/internal/operator"
)

func pauseCommand() *cobra.Command {
	return asking("pause", "Hold the rollout that is under way: no instance begins to switch any more", true,
		func(ctx context.Context, o *operator.Operator, a operator.Ask) error { return o.Pause(ctx, a) })
}

func resumeCommand() *cobra.Command {
	return asking("resume", "Let a paused rollout go on; what failed is tried again", false,
		func(ctx context.Context, o *operator.Operator, _ operator.Ask) error { return o.Resume(ctx) })
}

func promoteCommand() *cobra.Command {
	return asking("promote", "Make the release stable that has baked, or let it be once it has (promote: manual)", false,
		func(ctx context.Context, o *operator.Operator, _ operator.Ask) error { return o.Promote(ctx) })
}

func freezeCommand() *cobra.Command {
	return asking("freeze", "Let nobody deploy; rollouts that are under way, abort and rollback pass", true,
		func(ctx context.Context, o *operator.Operator, a operator.Ask) error { return o.Freeze(ctx, a) })
}

func unfreezeCommand() *cobra.Command {
	return asking("unfreeze", "Let people deploy again", false,
		func(ctx context.Context, o *operator.Operator, _ operator.Ask) error { return o.Unfreeze(ctx) })
}

// asking is a command that asks for one thing and says how it is then.
func asking(name, short string, message bool, do func(context.Context, *operator.Operator, operator.Ask) error) *cobra.Command {
	var f fleetFlags
	var a operator.Ask
	c := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.operator(c.Context(), screenOf(c, false))
			if err != nil {
				return err
			}
			return do(c.Context(), o, a)
		},
	}
	f.add(c)
	if message {
		c.Flags().StringVarP(&a.Message, "message", "m", "", "why")
	}
	return c
}

func abortCommand() *cobra.Command {
	var f fleetFlags
	var a operator.Ask
	var asJSON bool
	c := &cobra.Command{
		Use:   "abort",
		Short: "End the rollout that is under way: the fleet goes back to stable",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.operator(c.Context(), screenOf(c, asJSON))
			if err != nil {
				return err
			}
			result, err := o.Abort(c.Context(), a)
			return resulted(c, asJSON, result, err)
		},
	}
	f.add(c)
	c.Flags().StringVarP(&a.Message, "message", "m", "", "why")
	c.Flags().BoolVar(&a.NoWait, "no-wait", false, "return at once; the fleet goes back all the same")
	jsonFlag(c, &asJSON)
	return c
}

func historyCommand() *cobra.Command {
	var f fleetFlags
	var limit int
	var asJSON bool
	c := &cobra.Command{
		Use:   "history",
		Short: "List the releases that were asked for, and what became of them",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.operator(c.Context(), screenOf(c, asJSON))
			if err != nil {
				return err
			}
			past, err := o.History(c.Context(), limit)
			if err != nil {
				return err
			}
			if past == nil {
				past = []operator.Past{} // [] in JSON
			}
			return printed(c, asJSON, past, operator.HistoryText(past))
		},
	}
	f.add(c)
	c.Flags().IntVarP(&limit, "number", "n", 20, "how many; 0 for all that Parameter Store has")
	jsonFlag(c, &asJSON)
	return c
}

func jsonFlag(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, "json", false, "print JSON; progress goes to standard error")
}

// screenOf is where a command's progress goes: what is to be read by a program stays alone on standard output.
func screenOf(c *cobra.Command, asJSON bool) operator.Screen {
	if asJSON {
		return screenOn(c.ErrOrStderr())
	}
	return screenOn(c.OutOrStdout())
}

// printed prints for a program or for a person.
func printed(c *cobra.Command, asJSON bool, value any, text string) error {
	if asJSON {
		return encode(c.OutOrStdout(), value)
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), safe(text))
	return err
}

// resulted prints what became of a release for a program; a person has seen it.
func resulted(c *cobra.Command, asJSON bool, result operator.Result, err error) error {
	if asJSON && !result.Release.IsZero() {
		return errors.Join(err, encode(c.OutOrStdout(), result))
	}
	return err
}

func releaseNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, &usageError{fmt.Errorf("%q is no release's number: bootagent history lists them", text)}
	}
	return n, nil
}

func underscored(flag string) string { return strings.ReplaceAll(flag, "-", "_") }
