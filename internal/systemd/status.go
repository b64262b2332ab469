package systemd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// state is what systemd knows of a unit of ours.
type state struct {
	unit  string // its name in systemd
	marks marks

	active  string // ActiveState
	sub     string // SubState
	result  string // Result, "success" or why not
	pid     int    // of the main process, also when it has ended
	started time.Time
	code    int // how the main process ended, CLD_ of waitid(2); 0 while it runs, or before it does
	status  int // its exit code or signal

	dir  string
	user string
}

// codeExited is waitid(2)'s CLD_EXITED: status is an exit code; otherwise it is a signal.
const codeExited = 1

// ended says whether the main process has.
func (s state) ended() bool { return s.code != 0 }

// exit is the exit code or the signal's name.
func (s state) exit() (code int, signal string) {
	if s.code == codeExited {
		return s.status, ""
	}
	name := unix.SignalName(unix.Signal(s.status))
	if name == "" {
		name = fmt.Sprint(s.status)
	}
	return -1, name
}

// report is what the port says of it.
func (s state) report() unit.Status {
	out := unit.Status{
		Spec: unit.Spec{
			Name: s.marks.name, Dir: s.dir, User: s.user, Process: s.marks.process, Port: s.marks.port,
			Release: model.Release{Number: s.marks.number, Ref: s.marks.ref, Revision: s.marks.revision},
		},
		State: unit.Running, PID: s.pid, Started: s.started,
	}
	if s.ended() {
		out.State = unit.Exited
		out.ExitCode, out.Signal = s.exit()
	}
	return out
}

// look asks for one unit. There is none where systemd does not know it, where it has ended and is about to be forgotten,
// and where it is not ours.
func (r *Runner) look(ctx context.Context, name string) (s state, there bool, err error) {
	var all map[string]any
	err = r.bus.call(ctx, func(ctx context.Context, c *conn) (err error) {
		all, err = c.GetAllPropertiesContext(ctx, name)
		return err
	})
	if isNoUnit(err) {
		return state{}, false, nil
	}
	if err != nil {
		return state{}, false, fmt.Errorf("ask systemd for the unit %s: %w", name, err)
	}
	p := answer(all)
	s = state{
		unit: name, active: p.text("ActiveState"), sub: p.text("SubState"), result: p.text("Result"),
		pid: int(p.number("ExecMainPID")), code: int(p.number("ExecMainCode")), status: int(p.number("ExecMainStatus")),
		started: time.UnixMicro(p.number("ExecMainStartTimestamp")),
		dir:     p.text("WorkingDirectory"), user: p.text("User"),
	}
	var ours bool
	if p.text("Slice") == runSlice {
		s.marks, ours = marks{name: p.text("SyslogIdentifier"), run: true}, true
	} else {
		fields, _ := all["LogExtraFields"].([][]byte)
		s.marks, ours = marksIn(fields)
	}
	// One whose file somebody has damaged runs on, and is there.
	return s, ours && p.text("LoadState") != "not-found" && s.active != "inactive", nil
}

// answer is what D-Bus answered. A property that is not there, since systemd is of another age, is zero.
type answer map[string]any

func (p answer) text(name string) string {
	text, _ := p[name].(string)
	return text
}

func (p answer) number(name string) int64 {
	switch n := p[name].(type) {
	case int32:
		return int64(n)
	case uint32:
		return int64(n)
	case uint64:
		return int64(n) // microseconds since 1970
	}
	return 0
}

// lookAll asks for all units and runs of ours.
func (r *Runner) lookAll(ctx context.Context) ([]state, error) {
	var names []string
	err := r.bus.call(ctx, func(ctx context.Context, c *conn) error {
		// A dot, a dash and a colon mean themselves in a glob; unit.CheckName lets no other character that means more pass.
		units, err := c.ListUnitsByPatternsContext(ctx, nil, []string{r.opts.Prefix + "*.service"})
		for _, u := range units {
			names = append(names, u.Name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask systemd for the units %s*: %w", r.opts.Prefix, err)
	}
	var all []state
	for _, name := range names {
		s, there, err := r.look(ctx, name)
		if err != nil {
			return nil, err
		}
		if there {
			all = append(all, s)
		}
	}
	return all, nil
}

// List is in unit.Runner. It ends what the main process of an exited unit has left behind.
func (r *Runner) List(ctx context.Context) ([]unit.Status, error) {
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	all, err := r.lookAll(ctx)
	if err != nil {
		return nil, err
	}
	var list []unit.Status
	for _, s := range all {
		switch {
		case s.marks.run:
			continue
		case s.ended() && r.isBusy(s.marks.name): // Stop gives them their grace
		case s.ended():
			if err := r.sweep(ctx, s); err != nil {
				return nil, err
			}
		}
		list = append(list, s.report())
	}
	slices.SortFunc(list, func(a, b unit.Status) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// sweep kills what the main process left behind, and waits until systemd has done with the unit.
func (r *Runner) sweep(ctx context.Context, s state) error {
	left, err := r.processes(ctx, s.unit)
	if err != nil || len(left) == 0 {
		return err
	}
	r.log.Warn("a unit has ended and left processes behind: they are killed", zap.String("unit", s.marks.name), zap.Ints("pids", left))
	return r.kill(ctx, s.unit)
}

// processes gives every process of the unit's control group, and of those below it.
func (r *Runner) processes(ctx context.Context, name string) ([]int, error) {
	var found []struct {
		Group   string
		PID     uint32
		Command string
	}
	err := r.bus.call(ctx, func(ctx context.Context, c *conn) error {
		return c.raw.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.GetUnitProcesses", 0, name).Store(&found)
	})
	if isNoUnit(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask systemd for the processes of %s: %w", name, err)
	}
	var pids []int
	for _, p := range found {
		pids = append(pids, int(p.PID))
	}
	return pids, nil
}
