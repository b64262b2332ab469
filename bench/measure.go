package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// modeMeasure is the life in which this program runs one command and says what it took. A child's peak of memory begins
// with its parent's size, so the parent must be small: not the run itself, which has a whole region in it.
const modeMeasure = "measure"

// usage is what a command took, with all of its children that it waited for.
type usage struct {
	// Wall is from its start to its end.
	Wall time.Duration
	// CPU is user and system time.
	CPU time.Duration
	// Peak is the resident set of its largest process, in bytes. It can't be seen below that of the parent: see floor.
	Peak int64
}

// measureHere runs the command in its arguments and prints its usage as JSON.
func measureHere(args []string) error {
	if len(args) == 0 {
		return errors.New("measure what?")
	}
	command := exec.Command(args[0], args[1:]...)
	// Standard output is for what it took.
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	began := time.Now()
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	wall := time.Since(began)
	spent, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("there is no rusage here")
	}
	return json.NewEncoder(os.Stdout).Encode(usage{
		Wall: wall, CPU: command.ProcessState.UserTime() + command.ProcessState.SystemTime(), Peak: spent.Maxrss << 10,
	})
}

// measure runs a command in dir with exactly that environment, and gives what it took.
func (b *bench) measure(ctx context.Context, dir string, env []string, args ...string) (usage, error) {
	command := exec.CommandContext(ctx, b.self, append([]string{modeMeasure}, args...)...)
	command.Dir, command.Env = dir, env
	// The whole family ends, not only the one that measures.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if ctx.Err() != nil {
		return usage{}, context.Cause(ctx)
	}
	if err != nil {
		return usage{}, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	var u usage
	if err := json.Unmarshal(out, &u); err != nil {
		return usage{}, fmt.Errorf("%s: its usage can't be read: %w", strings.Join(args, " "), err)
	}
	return u, nil
}

// floor is the peak that a command shows which needs nothing.
func (b *bench) floor(ctx context.Context) (int64, error) {
	u, err := b.measure(ctx, b.dir, os.Environ(), "true")
	return u.Peak, err
}
