// Package unit says what a unit is, and the port that runs one. A unit is a
// process of the app, or a build, that lives and dies by itself: it outlives
// the agent that started it. Two adapters run them, held to one contract
// suite (unittest): internal/systemd (transient units) and internal/process
// (child processes, for a machine without systemd).
package unit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// Spec is everything needed to start a unit.
type Spec struct {
	// Name identifies the unit on this machine: bootagent-<app>-<release>-<process>.
	Name string
	// Command is executed as it is, without a shell. Command[0] is looked up in the PATH of Environment.
	Command []string
	// Dir is the working directory, absolute.
	Dir string
	// Environment is the whole environment, as KEY=value: nothing is inherited from the agent.
	// It may hold secrets: no adapter writes it to a file that outlives the unit, to argv or to a log.
	Environment []string
	// User runs the unit; empty means the agent's own user.
	User string
	// Background gives the unit low CPU and I/O weight and makes it the first to be killed when memory runs out:
	// for builds, which must not take anything from the app that serves.
	Background bool
	// Writable, where it is not nil, makes the file system read-only for the unit, but for these directories (absolute,
	// and there) and a /tmp of its own. With nil the unit may write what its user may.
	Writable []string
	// Metadata lets the unit reach the instance metadata service, and there the instance's credentials.
	Metadata bool
	// StopTimeout is how long the machine's shutdown gives the unit between SIGTERM and SIGKILL; 0 is 10 seconds. (Stop
	// is told its own grace.)
	StopTimeout time.Duration
	// Child processes have neither of the last three: see the package internal/process.

	// What follows says whose unit this is. An adapter keeps it, so that List
	// gives it back to an agent that was started anew.
	Release model.Release
	Process string // the process's name in the recipe, "web" for example
	Port    int    // the port it was told to listen on; 0 for none
}

// State is whether a unit runs.
type State string

// A unit runs as long as its main process, the one that Start started, does. When that ends the unit has exited,
// and what it left behind is killed: nothing of an exited unit runs. One that was stopped by Stop is gone from List.
const (
	Running State = "running"
	Exited  State = "exited"
)

// Status is what is known of a unit. Spec's Environment and Command are empty here.
type Status struct {
	Spec
	State   State
	PID     int
	Started time.Time
	// ExitCode is the exit code of an exited unit; -1 when a signal ended it (Signal says which) or when it
	// ended unwatched, while no agent ran.
	ExitCode int
	Signal   string
}

// Ended says in words how an exited unit ended.
func (s Status) Ended() string {
	switch {
	case s.State != Exited:
		return "is running"
	case s.Signal != "":
		return "was ended by signal " + s.Signal
	case s.ExitCode < 0:
		return "ended while no agent was watching"
	default:
		return fmt.Sprintf("exited with code %d", s.ExitCode)
	}
}

// Sockets is what a unit's processes listen on.
type Sockets struct {
	// Owned says that the unit itself listens on the port it was told.
	Owned bool
	// Others are the other TCP ports that the unit listens on, in ascending order.
	Others []int
}

// ErrUnknown is what Tail and Sockets return for a name that is not in List.
var ErrUnknown = errors.New("no such unit")

// Runner runs units. All its methods may be called concurrently.
type Runner interface {
	// Start starts the unit. One of that name that runs already is left alone, and that is no error; one that
	// has exited is started again. The unit's standard output and error go to a bounded log that Tail reads.
	Start(ctx context.Context, s Spec) error
	// Stop sends SIGTERM, waits up to grace, then kills the unit with every process it made, and forgets it.
	// It returns when none of its processes is left. A unit that is not there is no error.
	Stop(ctx context.Context, name string, grace time.Duration) error
	// List gives every unit of this agent, running or exited, in order of name, those that were started by
	// an earlier agent on the same boot included.
	List(ctx context.Context) ([]Status, error)
	// Tail gives the last lines of the unit's output, n at most, oldest first, each cleaned for a terminal
	// and cut to MaxLine bytes (CleanLine).
	Tail(ctx context.Context, name string, n int) ([]string, error)
	// Sockets says what the unit listens on.
	Sockets(ctx context.Context, name string) (Sockets, error)
	// Yield says whether the unit goes before others when memory runs out, as a candidate does that nobody needs yet, or
	// stands with them again. It concerns the processes that the unit has, and those that they start later. One
	// that has exited is no error.
	Yield(ctx context.Context, name string, yields bool) error
	// Run runs a command to its end and kills every process that is left of it, also when ctx ends first (its
	// cause is then in the error). Output goes to out as it comes, from one goroutine, and never after Run has
	// returned; out bounds it, and an error from its Write ends the command. A command that could run and failed is
	// an *ExitError. A run is no unit: it is not in List, and does not outlive the agent for long, since the next
	// agent kills what is left of it.
	Run(ctx context.Context, s Spec, out io.Writer) error
}

// ExitError says how a command that Run ran failed.
type ExitError struct {
	Name     string
	ExitCode int    // -1 when a signal ended it
	Signal   string // "" or the signal's name, SIGKILL for example
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return fmt.Sprintf("%s was ended by signal %s", e.Name, e.Signal)
	}
	return fmt.Sprintf("%s exited with code %d", e.Name, e.ExitCode)
}

// CommandError is what Start and Run return for a command that can't be executed: it is not there, or no program, or
// may not be executed. The fault lies in the command: another try gives the same.
type CommandError struct{ Err error }

func (e *CommandError) Error() string { return e.Err.Error() }
func (e *CommandError) Unwrap() error { return e.Err }
