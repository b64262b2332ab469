//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// sweepPatience bounds the killing of what a main process left behind when it ended by itself.
const sweepPatience = 5 * time.Second

// watch waits in a goroutine for the end of the unit's main process, which fd (a pidfd; watch owns it) stands for, and writes it
// down. child says that it is our own, so that its exit code can be asked for.
func (r *Runner) watch(e *entry, fd int, child bool) error {
	main, err := newPidfd(fd)
	if err != nil {
		return fmt.Errorf("watch the main process of %s: %w", e.rec.Name, err)
	}
	closing := context.AfterFunc(r.ctx, func() { _ = main.Close() })
	r.work.Go(func() {
		defer main.Close()
		defer closing()
		if err := main.wait(); err != nil {
			if r.ctx.Err() == nil {
				r.log.Error("the end of a unit can no longer be seen", zap.String("unit", e.rec.Name), zap.Error(err))
			}
			return // the unit runs on, and the next agent adopts it
		}
		r.mainEnded(e, child)
	})
	return nil
}

// mainEnded kills what the main process left behind, reaps it and writes its exit down.
func (r *Runner) mainEnded(e *entry, child bool) {
	r.mu.Lock()
	rec, stopping := e.rec, e.stopping
	r.mu.Unlock()
	log := r.log.With(zap.String("unit", rec.Name), zap.Int("pid", rec.PID))
	if !stopping {
		// Before it is reaped: as long as it is a zombie nobody else can get its pid, so that its session is surely its own.
		ctx, cancel := context.WithTimeout(r.ctx, sweepPatience)
		err := end(ctx, r.mark(rec), map[ident]bool{}, 0)
		cancel()
		if r.ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Warn("a unit has exited and something of it still runs", zap.Error(err))
		}
	}
	rec.Exit = &exit{Code: -1, At: time.Now()}
	if child {
		rec.Exit.Code, rec.Exit.Signal = reap(rec.PID)
	}
	if err := rec.save(r.records); err != nil {
		log.Warn("the exit of a unit could not be written down", zap.Error(err))
	}
	r.mu.Lock()
	e.rec = rec
	r.mu.Unlock()
	close(e.ended)
	log.Info("unit "+rec.status().Ended(), zap.Bool("stopping", stopping))
}

// reap asks for the exit of our child, which has ended; -1 without a signal when it can't be had.
func reap(pid int) (code int, signal string) {
	var status unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || got != pid:
			return -1, ""
		case status.Signaled():
			return -1, unix.SignalName(status.Signal())
		}
		return status.ExitStatus(), ""
	}
}

// pidfd stands for one process and becomes readable when it ends. It lives in Go's poller, so that waiting costs no
// thread and Close ends it.
type pidfd struct{ *os.File }

func newPidfd(fd int) (pidfd, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return pidfd{}, err
	}
	return pidfd{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait returns nil when the process has ended, and an error when the pidfd was closed before.
func (p pidfd) wait() error {
	conn, err := p.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && ready == 1
	})
}
