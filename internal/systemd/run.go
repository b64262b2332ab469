package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/unit"
)

// pipePatience is how long the output may go on after the run's last process has ended: systemd itself may hold it
// open for a moment.
const pipePatience = 2 * time.Second

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
	read, write, err := pipe(s.User)
	if err != nil {
		return exit, err
	}
	defer read.Close()
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

	name := r.service(s.Name + "-" + nonce())
	end, failed := r.toEnd(ctx, name, s, c, write)
	_ = read.SetReadDeadline(time.Now().Add(pipePatience))
	lost := <-copied
	if failed != nil {
		return exit, failed
	}
	exit.ExitCode, exit.Signal = end.exit()
	return exit, lost
}

// toEnd starts the command, waits for its end, and leaves nothing of it. It closes the pipe's end that is the command's.
func (r *Runner) toEnd(ctx context.Context, name string, s unit.Spec, c command, output int) (state, error) {
	now, err := r.launch(ctx, name, s, c, []sd.Property{
		property("StandardOutputFileDescriptor", dbus.UnixFD(output)), property("StandardErrorFileDescriptor", dbus.UnixFD(output)),
	})
	_ = unix.Close(output)
	if err != nil {
		return state{}, err
	}
	gone := errors.New("systemd no longer knows it: did somebody stop it?")
	err = poll(ctx, func() (bool, error) {
		if now.ended() {
			return true, nil
		}
		next, there, err := r.look(ctx, name)
		if err == nil && !there {
			err = gone
		}
		now = next
		return err == nil && now.ended(), err
	})
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // and not the question to systemd that it happened to interrupt
		}
		err = fmt.Errorf("it was killed: %w", err)
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	return now, errors.Join(err, r.remove(undo, name))
}

// pipe makes a pipe whose read end has deadlines, and whose write end blocks, as programs expect. The command's user owns
// it, or the command could not open /dev/stdout.
func pipe(owner string) (read *os.File, write int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("make a pipe for its output: %w", err)
	}
	err = unix.SetNonblock(ends[0], true)
	if who, unknown := user.Lookup(owner); err == nil && unknown == nil {
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		err = unix.Fchown(ends[1], uid, gid)
	} // one that systemd alone knows gets what it is given, and can't open it anew
	if err != nil {
		return nil, -1, errors.Join(fmt.Errorf("make a pipe for its output: %w", err), unix.Close(ends[0]), unix.Close(ends[1]))
	}
	return os.NewFile(uintptr(ends[0]), "output"), ends[1], nil
}

// copyOutput copies until nobody holds the pipe open, its deadline passes, or out fails.
func copyOutput(out io.Writer, pipe *os.File) error {
	_, err := io.Copy(writerOnly{out}, writerTo{pipe})
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("its output could not be kept: %w", err)
}

// writerOnly and writerTo hide ReadFrom and WriteTo: output is to arrive as it comes.
type (
	writerOnly struct{ io.Writer }
	writerTo   struct{ io.Reader }
)
