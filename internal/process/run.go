//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/unit"
)

// pipePatience is how long the output may go on after every process of the run was killed: only a process that got
// away (see the package's comment) holds it open then.
const pipePatience = time.Second

// Run is in unit.Runner.
func (r *Runner) Run(ctx context.Context, s unit.Spec, out io.Writer) error {
	exit, err := r.run(ctx, s, out)
	if err != nil {
		return fmt.Errorf("run %s: %w", s.Name, err)
	}
	if exit.ExitCode != 0 || exit.Signal != "" {
		return &exit
	}
	return nil
}

func (r *Runner) run(ctx context.Context, s unit.Spec, out io.Writer) (exit unit.ExitError, err error) {
	exit.Name = s.Name
	if err := unit.CheckName(s.Name); err != nil {
		return exit, err
	}
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return exit, err
	}
	defer done()
	c, err := prepare(s)
	if err != nil {
		return exit, err
	}
	if ctx.Err() != nil {
		return exit, context.Cause(ctx)
	}
	// An empty file marks the run, for the agent that comes after one that was killed. It need not outlive the boot.
	number := nonce()
	note := filepath.Join(r.runs, s.Name+"~"+number)
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		return exit, fmt.Errorf("write it down: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return exit, errors.Join(err, os.Remove(note))
	}
	defer read.Close()
	marker := s.Name + "/" + number
	main, fd, err := c.spawn(ctx, marker, write)
	_ = write.Close()
	if err != nil {
		return exit, errors.Join(err, os.Remove(note))
	}

	// Whatever happens from here on ends with no process left, and with the copier back.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	copied := make(chan error, 1)
	go func() {
		err := copyOutput(out, read)
		if err != nil {
			cancel(err) // or the command would be stuck on a full pipe
		}
		copied <- err
	}()
	ended := waitEnd(ctx, fd)

	killing, stop := context.WithTimeout(context.WithoutCancel(ctx), killPatience)
	defer stop()
	left := end(killing, mark{marker: marker, leader: main}, map[ident]bool{}, 0)
	if left == nil {
		exit.ExitCode, exit.Signal = reap(main.pid)
		left = os.Remove(note)
	}
	_ = read.SetReadDeadline(time.Now().Add(pipePatience))
	lost := <-copied
	switch {
	case ended != nil:
		return exit, errors.Join(fmt.Errorf("it was killed: %w", ended), left)
	case left != nil:
		r.log.Warn("a run has ended and something of it is left", zap.String("run", s.Name), zap.Error(left))
		return exit, left
	}
	return exit, lost
}

// waitEnd waits until the process that fd (a pidfd, which it closes) stands for has ended: nil; or ctx has: its cause.
func waitEnd(ctx context.Context, fd int) error {
	main, err := newPidfd(fd)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = main.Close() })
	defer main.Close()
	defer stop()
	if err := main.wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// copyOutput copies until nobody holds the pipe open, its deadline passes, or out fails.
func copyOutput(out io.Writer, pipe *os.File) error {
	_, err := io.Copy(writerOnly{out}, pipe)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("its output could not be kept: %w", err)
}

// writerOnly hides ReadFrom: output is to arrive as it comes.
type writerOnly struct{ io.Writer }
