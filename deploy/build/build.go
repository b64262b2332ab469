// Package build runs a recipe's build: bounded in time and output, with an
// environment of its own that holds no secret but those that the recipe names.
// Of these nothing is in its log, and nothing may be in what it made.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/mask"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// Runner is the part of unit.Runner that a build needs.
type Runner interface {
	Run(ctx context.Context, s unit.Spec, out io.Writer) error
}

// Job says what is built, and where.
type Job struct {
	Name      string // the unit's
	Release   model.Release
	Build     recipe.Build
	Tree      string   // the whole revision; "" is Dir
	Dir       string   // the app's directory
	Home, Tmp string   // empty directories that go away after the build
	Path      string   // the PATH
	Facts     []string // KEY=value: what every command of a release is told
	User      string   // "" is the agent's own
	// Writable, where it is not nil, is all that the build may write: see unit.Spec.
	Writable []string
	Log      string // the file that gets the output
	// Secrets are the values that the recipe names, by variable.
	Secrets map[string]string
}

// Error is a build, or a task, that failed, with the end of what it printed.
type Error struct {
	Err    error
	Output []string // its last lines
	Log    string   // the file with all of it
}

func (e *Error) Error() string {
	if len(e.Output) == 0 {
		return e.Err.Error() + "; it printed nothing"
	}
	return fmt.Sprintf("%s; its last lines (all of them are in %s):\n  | %s", e.Err, e.Log, strings.Join(e.Output, "\n  | "))
}

func (e *Error) Unwrap() error { return e.Err }

// timeoutError is the cause of a command's context that ran out.
type timeoutError struct {
	key   string
	after time.Duration
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("it was still running after %s, %s, and was ended", e.key, e.after)
}

// Run builds. A build that failed or took too long is an *Error, one that left a
// secret in what it made a *LeakError; ctx's own end and everything else is an
// error of the world's.
func Run(ctx context.Context, runner Runner, j Job) error {
	if len(j.Build.Run) == 0 {
		return nil
	}
	secrets := mask.New(invert(j.Secrets))
	_, err := command{what: "build", key: "build.timeout", timeout: j.Build.Timeout, log: j.Log, secrets: secrets}.run(ctx, runner, unit.Spec{
		Name: j.Name, Command: j.Build.Run, Dir: j.Dir, Environment: j.environment(), User: j.User,
		Writable: j.Writable, Background: true, Release: j.Release, Process: "build",
	})
	if err != nil {
		return err
	}
	return j.search(ctx, secrets)
}

// Task runs a release task: spec is the command with all that it needs, log the file that gets its output, and secrets the values
// that are in its environment, by variable. One that failed or took too long is an *Error; ctx's own end and everything else is an error of the
// world's. Begun is false where nothing of it can have run.
func Task(ctx context.Context, runner Runner, spec unit.Spec, timeout time.Duration, log string, secrets map[string]string) (begun bool, err error) {
	return command{what: "release task", key: "release_task.timeout", timeout: timeout, log: log, secrets: mask.New(invert(secrets))}.run(ctx, runner, spec)
}

// command is one that is run once, bounded in time and output, with a log without its secrets.
type command struct {
	what, key string // in words, and the recipe's key of the time-out
	timeout   time.Duration
	log       string
	secrets   *mask.Mask
}

// run says whether the command may have begun, and how it ended.
func (c command) run(ctx context.Context, runner Runner, spec unit.Spec) (begun bool, err error) {
	log, err := create(c.log)
	if err != nil {
		return false, fmt.Errorf("open the %s's log: %w", c.what, err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, c.timeout, &timeoutError{c.key, c.timeout})
	defer cancel()
	masked := c.secrets.Writer(log)
	err = runner.Run(limited, spec, masked)
	closed := masked.Close()
	if e := log.close(); closed == nil {
		closed = e
	}
	var exit *unit.ExitError
	var timeout *timeoutError
	var unfit *unit.CommandError
	switch {
	case ctx.Err() != nil:
		return true, context.Cause(ctx)
	case closed != nil: // a disk that takes no more is not the revision's fault
		return true, fmt.Errorf("write the %s's log: %w; its last lines:\n  | %s", c.what, closed, strings.Join(log.last(lastLines), "\n  | "))
	case err == nil:
		return true, nil
	case errors.As(context.Cause(limited), &timeout):
		return true, &Error{Err: timeout, Output: log.last(lastLines), Log: c.log}
	case errors.As(err, &exit), errors.As(err, &unfit):
		return true, &Error{Err: err, Output: log.last(lastLines), Log: c.log}
	}
	return true, fmt.Errorf("run the %s: %w", c.what, err)
}

// lastLines is how many lines of a failed build's output its error shows.
const lastLines = 20

// environment is what a build sees: nothing of the agent's own, and no secret
// that the recipe does not name. What bootagent itself says wins over the recipe.
func (j Job) environment() []string {
	env := map[string]string{"PATH": j.Path, "LANG": "C.UTF-8"}
	maps.Copy(env, j.Build.Environment)
	maps.Copy(env, j.Secrets)
	env["HOME"], env["TMPDIR"] = j.Home, j.Tmp
	for _, fact := range j.Facts {
		name, value, _ := strings.Cut(fact, "=")
		env[name] = value
	}
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
