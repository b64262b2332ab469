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

// Error is a build that failed, with the end of what it printed.
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

// timeoutError is the cause of a build's context that ran out.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("it was still running after build.timeout, %s, and was ended", e.after)
}

// Run builds. A build that failed or took too long is an *Error, one that left a
// secret in what it made a *LeakError; ctx's own end and everything else is an
// error of the world's.
func Run(ctx context.Context, runner Runner, j Job) error {
	if len(j.Build.Run) == 0 {
		return nil
	}
	log, err := create(j.Log)
	if err != nil {
		return fmt.Errorf("open the build's log: %w", err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, j.Build.Timeout, &timeoutError{j.Build.Timeout})
	defer cancel()
	secrets := mask.New(invert(j.Secrets))
	masked := secrets.Writer(log)
	err = runner.Run(limited, unit.Spec{
		Name: j.Name, Command: j.Build.Run, Dir: j.Dir, Environment: j.environment(), User: j.User,
		Writable: j.Writable, Background: true, Release: j.Release, Process: "build",
	}, masked)
	closed := masked.Close()
	if e := log.close(); closed == nil {
		closed = e
	}
	var exit *unit.ExitError
	var timeout *timeoutError
	var command *unit.CommandError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case closed != nil: // a disk that takes no more is not the revision's fault
		return fmt.Errorf("write the build's log: %w; its last lines:\n  | %s", closed, strings.Join(log.last(lastLines), "\n  | "))
	case err == nil:
		return j.search(ctx, secrets)
	case errors.As(context.Cause(limited), &timeout):
		return &Error{Err: timeout, Output: log.last(lastLines), Log: j.Log}
	case errors.As(err, &exit), errors.As(err, &command):
		return &Error{Err: err, Output: log.last(lastLines), Log: j.Log}
	}
	return fmt.Errorf("run the build: %w", err)
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
