package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/internal/operator"
)

func deployCommand() *cobra.Command {
	var f fleetFlags
	var p policyFlags
	var r operator.Request
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "deploy REF",
		Short: "Roll a branch, a tag or a full SHA out over the fleet, and watch it",
		Long: "deploy finds out which commit REF is, once, looks whether it can be rolled out now, and puts it into the release\n" +
			"parameter. From there on the agents carry it out: a canary, a bake, batches, a last bake; where it fails they go back by\n" +
			"themselves. The command only watches, and may be interrupted.\n\n" +
			"Exit codes: 0 stable · 1 failed, or paused · 2 wrong usage or configuration · 3 rolled back · 4 locked, frozen, or another is under way.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			r.Ref = args[0]
			if r.Policy, err = p.changes(c); err != nil {
				return err
			}
			o, err := f.operator(c.Context(), screenOf(c, asJSON))
			if err != nil {
				return err
			}
			if dryRun {
				plan, err := o.Plan(c.Context(), r)
				if err != nil {
					return err
				}
				return printed(c, asJSON, plan, plan.Text())
			}
			result, err := o.Deploy(c.Context(), r)
			return resulted(c, asJSON, result, err)
		},
	}
	f.add(c)
	p.add(c)
	c.Flags().StringVarP(&r.Message, "message", "m", "", "why, for the history")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and write nothing")
	c.Flags().BoolVar(&r.NoWait, "no-wait", false, "return once the agents have taken it up")
	c.Flags().BoolVar(&r.Force, "force", false, "also over a rollout that is under way, a revision that failed before, and a fleet that is not healthy")
	c.Flags().BoolVar(&r.NewEpoch, "new-epoch", false, "the release parameter was deleted and made anew, and that is meant")
	jsonFlag(c, &asJSON)
	return c
}

func rollbackCommand() *cobra.Command {
	var f fleetFlags
	var p policyFlags
	var b operator.Back
	var asJSON bool
	c := &cobra.Command{
		Use:   "rollback [N]",
		Short: "Go back to release N, or to the one that was stable before; during a rollout, abort it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if len(args) > 0 {
				if b.Number, err = releaseNumber(args[0]); err != nil {
					return err
				}
			}
			if b.Policy, err = p.changes(c); err != nil {
				return err
			}
			o, err := f.operator(c.Context(), screenOf(c, asJSON))
			if err != nil {
				return err
			}
			result, err := o.Rollback(c.Context(), b)
			return resulted(c, asJSON, result, err)
		},
	}
	f.add(c)
	p.add(c)
	c.Flags().StringVarP(&b.Message, "message", "m", "", "why, for the history")
	c.Flags().BoolVar(&b.NoWait, "no-wait", false, "return once the agents have taken it up")
	c.Flags().BoolVar(&b.Force, "force", false, "also to a revision that failed before")
	jsonFlag(c, &asJSON)
	return c
}

// policyFlags are the keys of policy, for this once.
type policyFlags struct {
	canary, maxFailures                    int
	bake, minHealthyTime, progressDeadline time.Duration
	batch, minHealthy, onFailure, promote  string
}

func (p *policyFlags) add(c *cobra.Command) {
	const once = " (default: the configuration's)"
	c.Flags().IntVar(&p.canary, "canary", 0, "instances that take it first, alone"+once)
	c.Flags().DurationVar(&p.bake, "bake", 0, "how long the canary, and at the end the fleet, must stay healthy"+once)
	c.Flags().StringVar(&p.batch, "batch", "", "instances that switch at a time, 3 or 25%"+once)
	c.Flags().StringVar(&p.minHealthy, "min-healthy", "", "instances that must stay healthy, 3 or 75%"+once)
	c.Flags().IntVar(&p.maxFailures, "max-failures", 0, "instances that may fail"+once)
	c.Flags().DurationVar(&p.minHealthyTime, "min-healthy-time", 0, "how long an instance must be healthy before it counts"+once)
	c.Flags().DurationVar(&p.progressDeadline, "progress-deadline", 0, "how long it may go without getting on"+once)
	c.Flags().StringVar(&p.onFailure, "on-failure", "", "rollback, stop or pause"+once)
	c.Flags().StringVar(&p.promote, "promote", "", "auto or manual"+once)
}

// changes are the keys that were given, as an intent carries them; nil for none.
func (p *policyFlags) changes(c *cobra.Command) (json.RawMessage, error) {
	changed := map[string]any{}
	for flag, value := range map[string]any{
		"canary": p.canary, "max-failures": p.maxFailures, "bake": p.bake.String(), "min-healthy-time": p.minHealthyTime.String(),
		"progress-deadline": p.progressDeadline.String(), "batch": p.batch, "min-healthy": p.minHealthy, "on-failure": p.onFailure, "promote": p.promote,
	} {
		if c.Flags().Changed(flag) {
			changed[underscored(flag)] = value
		}
	}
	if len(changed) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(changed)
	if err != nil {
		return nil, &usageError{fmt.Errorf("the policy of the flags: %w", err)}
	}
	return text, nil
}
