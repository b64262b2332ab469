//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/unit"
)

// Start is in unit.Runner. The unit is written down before its process is made, and again with its pid: whenever
// the agent dies, the next one knows of it.
func (r *Runner) Start(ctx context.Context, s unit.Spec) error {
	if err := r.start(ctx, s); err != nil {
		return fmt.Errorf("start the unit %s: %w", s.Name, err)
	}
	return nil
}

func (r *Runner) start(ctx context.Context, s unit.Spec) error {
	if err := unit.CheckName(s.Name); err != nil {
		return err
	}
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	leave, err := r.turn(ctx, s.Name)
	if err != nil {
		return err
	}
	defer leave()
	before, old, err := r.find(s.Name)
	switch {
	case errors.Is(err, unit.ErrUnknown):
	case err != nil:
		return err
	case old.Exit == nil:
		return nil
	default:
		<-before.ended // closed just after the exit is set
		if err := end(ctx, r.mark(old), map[ident]bool{}, 0); err != nil {
			return fmt.Errorf("end what is left of it from before: %w", err)
		}
	}
	c, err := prepare(s)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	rec := record{
		Schema: schema, Name: s.Name, Nonce: nonce(), BootID: r.opts.BootID, Started: time.Now(),
		Release: s.Release, Process: s.Process, Port: s.Port, Dir: s.Dir, User: s.User,
	}
	e, err := r.launch(ctx, rec, c)
	if err != nil {
		// The unit does not run. What was known of it before is as true as it was.
		restored := forget(r.records, s.Name)
		if before != nil {
			restored = old.save(r.records)
		}
		return errors.Join(err, restored)
	}
	r.mu.Lock()
	r.units[s.Name] = e
	r.mu.Unlock()
	r.log.Info("unit started", zap.String("unit", s.Name), zap.Int("pid", e.rec.PID), zap.Int64("release", s.Release.Number),
		zap.String("revision", s.Release.Revision), zap.Int("port", s.Port))
	return nil
}

// launch makes the process between the two writes of its record. On an error nothing runs.
func (r *Runner) launch(ctx context.Context, rec record, c command) (*entry, error) {
	if err := rec.save(r.records); err != nil {
		return nil, err
	}
	output, err := r.openLog(rec.Name, c.credential)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	main, fd, err := c.spawn(ctx, rec.marker(), output)
	if err != nil {
		return nil, err
	}
	rec.PID, rec.StartTicks = main.pid, main.start
	e := &entry{rec: rec, ended: make(chan struct{})}
	err = rec.save(r.records)
	if err == nil {
		err = r.watch(e, fd, true)
	} else {
		_ = unix.Close(fd)
	}
	if err == nil {
		return e, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killPatience)
	defer cancel()
	err = errors.Join(err, end(ctx, r.mark(rec), map[ident]bool{}, 0))
	reap(main.pid)
	return nil, err
}

// busyTries is how often a program is tried that is "busy": while any child of this agent is just being made it may hold
// the program's file open for writing, if the agent has only just written it (golang/go#22315).
const busyTries = 20

// spawn makes the process as the leader of a session of its own: no signal from the agent's terminal reaches it, and
// it does not end with the agent. The pidfd that it returns is the caller's.
func (c command) spawn(ctx context.Context, marker string, output *os.File) (main ident, fd int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return ident{}, -1, err
	}
	defer null.Close()
	environment := append(c.environment[:len(c.environment):len(c.environment)], markerVariable+"="+marker)
	for try := 1; ; try++ {
		fd = -1
		attr := &os.ProcAttr{
			Dir: c.dir, Env: environment, Files: []*os.File{null, output, output},
			Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &fd, Credential: c.credential},
		}
		var child *os.Process
		child, err = os.StartProcess(c.path, c.argv, attr)
		if err == nil {
			main.pid = child.Pid
			_ = child.Release() // watched and reaped by us, through fd
			break
		}
		if !errors.Is(err, syscall.ETXTBSY) || try == busyTries {
			return ident{}, -1, c.explain(err)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return ident{}, -1, err
		}
	}
	p, ok := lookUp(main.pid) // it can't be gone: it is our child, and nobody has reaped it
	if !ok || fd < 0 {
		_ = unix.Kill(main.pid, unix.SIGKILL)
		_, _ = unix.Wait4(main.pid, nil, 0, nil)
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return ident{}, -1, fmt.Errorf("its process %d can't be seen in /proc: is /proc mounted with hidepid, or the kernel older than 5.4?", main.pid)
	}
	main.start = p.start
	if c.background {
		lower(main.pid)
	}
	return main, fd, nil
}

// What a background unit is given: see sched(7), ioprio_set(2) and proc_pid_oom_score_adj(5). Each is inherited, may
// be had without privilege, and is done as well as the kernel lets us: a build that runs at full weight is no failure.
const (
	backgroundNice   = 10
	backgroundIO     = 2<<13 | 7 // class best effort, the lowest level of it
	ioprioWhoProcess = 1
)

func lower(pid int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, backgroundNice)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(pid), backgroundIO)
	dir := fmt.Sprintf("/proc/%d/", pid)
	_ = os.WriteFile(dir+"oom_score_adj", []byte(fmt.Sprint(unit.BackgroundScore)), 0)
	// A session is a scheduling group of its own where the kernel has autogroups, and inside of a group of one nice
	// says nothing: the group's own niceness does.
	_ = os.WriteFile(dir+"autogroup", []byte(fmt.Sprint(backgroundNice)), 0)
}
