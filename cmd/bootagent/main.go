// Command bootagent puts an EC2 instance into service, release by release.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/operator"
)

// The exit codes that scripts and systemd rely on.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2 // wrong usage or configuration
	exitRolledBack = 3
	exitHeld       = 4 // locked or frozen
	exitTerminal   = 5 // do not start me again
)

var version = "dev" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "bootagent",
		Short: "Boots an instance into service, release by release",
		Long: "bootagent reads the current release from Parameter Store, checks it out, builds it, starts it,\n" +
			"proves that it is healthy, and only then registers the instance with the load balancer.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		runCommand(), tryCommand(), statusCommand(), timelineCommand(), drainCommand(), undrainCommand(), validateCommand(), versionCommand(),
		deployCommand(), rollbackCommand(), historyCommand(), logsCommand(), pauseCommand(), resumeCommand(), abortCommand(), promoteCommand(),
		freezeCommand(), unfreezeCommand(), cacheCommand(), probeCommand(),
	)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "bootagent:", safe(err.Error()))
	}
	return exitCode(err)
}

// usageError is a wrong flag, argument or file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var usage *usageError
	var terminal *agent.TerminalError
	var asked *operator.Error
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &terminal):
		return exitTerminal
	case errors.As(err, &asked):
		return exitCodeOf(asked.Kind)
	case errors.Is(err, errBreached):
		return breached
	case errors.As(err, &usage), isCobraUsage(err):
		return exitUsage
	default:
		return exitFailed
	}
}

func exitCodeOf(kind operator.Kind) int {
	switch kind {
	case operator.Wrong:
		return exitUsage
	case operator.RolledBack:
		return exitRolledBack
	case operator.Held:
		return exitHeld
	case operator.Failed:
	}
	return exitFailed
}
