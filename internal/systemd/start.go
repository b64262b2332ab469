package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/unit"
)

// Start is in unit.Runner.
func (r *Runner) Start(ctx context.Context, s unit.Spec) error {
	if err := r.start(ctx, s); err != nil {
		return fmt.Errorf("start the unit %s: %w", s.Name, err)
	}
	return nil
}

func (r *Runner) start(ctx context.Context, s unit.Spec) error {
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	c, err := prepare(s)
	if err != nil {
		return err
	}
	leave, err := r.turn(ctx, s.Name)
	if err != nil {
		return err
	}
	defer leave()
	name := r.service(s.Name)
	switch old, there, err := r.look(ctx, name); {
	case err != nil:
		return err
	case there && !old.ended():
		return nil
	case there:
		if err := r.remove(ctx, name); err != nil {
			return fmt.Errorf("end what is left of it from before: %w", err)
		}
	}
	now, err := r.launch(ctx, name, s, c, nil)
	if err != nil {
		return err
	}
	r.log.Info("unit started", zap.String("unit", s.Name), zap.Int("pid", now.pid), zap.Int64("release", s.Release.Number),
		zap.String("revision", s.Release.Revision), zap.Int("port", s.Port))
	return nil
}

// undoPatience is for taking back a start that failed.
const undoPatience = time.Minute

// launch has systemd start the service, and gives its state just after. On an error nothing of it is left. A run
// says with more where its output goes.
func (r *Runner) launch(ctx context.Context, name string, s unit.Spec, c command, run []sd.Property) (state, error) {
	file, environment, err := environmentFile(c.environment)
	if err != nil {
		return state{}, err
	}
	started := r.bus.job(ctx, func(ctx context.Context, conn *conn, result chan<- string) error {
		_, err := conn.StartTransientUnitContext(ctx, name, "fail", append(r.properties(s, c, environment, run != nil), run...), result)
		return err
	})
	_ = file.Close() // it was read, or never will be
	now, err := r.judge(ctx, name, s, c, started)
	if err == nil {
		return now, nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	return state{}, errors.Join(err, r.remove(undo, name))
}

// judge says whether the program was executed. One that ended at once may have made systemd's job fail, and was started
// all the same.
func (r *Runner) judge(ctx context.Context, name string, s unit.Spec, c command, started error) (state, error) {
	var failed *jobError
	if started != nil && !errors.As(started, &failed) {
		return state{}, fmt.Errorf("systemd: %w", started)
	}
	now, there, err := r.look(ctx, name)
	switch {
	case err != nil:
		return state{}, err
	case started == nil && there:
		return now, nil
	case !there:
		return state{}, fmt.Errorf("systemd has forgotten it at once: did somebody stop it? (%w)", errors.Join(started, errGone))
	}
	if code, signal := now.exit(); !now.ended() || signal == "" && isExecFailure(code) {
		return state{}, refusal(s, c, now, started)
	}
	return now, nil
}

var errGone = errors.New("no such unit")

// Exit codes by which systemd says that it could not execute a program: systemd.exec(5), "Process exit codes".
const (
	exitChdir     = 200
	exitExec      = 203
	exitGroup     = 216
	exitUser      = 217
	exitNamespace = 226
	firstExit     = 200
	lastExit      = 245
)

func isExecFailure(code int) bool { return firstExit <= code && code <= lastExit }

// refusal says why systemd did not execute the program.
func refusal(s unit.Spec, c command, now state, cause error) error {
	code, _ := now.exit()
	if !now.ended() {
		code = 0
	}
	switch code {
	case exitChdir:
		return fmt.Errorf("its user %s can't enter its working directory %s (200/CHDIR): %w", userName(s), s.Dir, cause)
	case exitExec:
		return &unit.CommandError{Err: fmt.Errorf("%s can't be executed (203/EXEC): it is no program for this machine, its interpreter "+
			"(the #! line, or the dynamic loader) is not there, or its user %s may not read it: %w", c.path, userName(s), cause)}
	case exitGroup, exitUser:
		return fmt.Errorf("its user %s is not known on this machine (217/USER): %w", userName(s), cause)
	case exitNamespace:
		return fmt.Errorf("its view of the file system could not be made (226/NAMESPACE): is each of the directories that it may write there (%q)? %w", s.Writable, cause)
	case 0:
		return fmt.Errorf("%w (%s, result %s): see journalctl -u %s", cause, now.active, now.result, now.unit)
	}
	return fmt.Errorf("%w: exit code %d is systemd's own, see \"Process exit codes\" in systemd.exec(5), and journalctl -u %s", cause, code, now.unit)
}

func userName(s unit.Spec) string {
	if s.User == "" {
		return "root"
	}
	return s.User
}
