package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/unit"
)

// killPatience is how long a process may survive SIGKILL: one that hangs in the kernel (a dead network disk) does.
const killPatience = 30 * time.Second

// Stop is in unit.Runner. systemd's own TimeoutStopSec can't be changed once the unit is there, so the grace is ours.
func (r *Runner) Stop(ctx context.Context, name string, grace time.Duration) error {
	if err := r.stop(ctx, name, grace); err != nil {
		return fmt.Errorf("stop the unit %s: %w", name, err)
	}
	return nil
}

func (r *Runner) stop(ctx context.Context, name string, grace time.Duration) error {
	if err := unit.CheckName(name); err != nil {
		return err
	}
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	leave, err := r.turn(ctx, name)
	if err != nil {
		return err
	}
	defer leave()
	service := r.service(name)
	s, there, err := r.look(ctx, service)
	if err != nil || !there {
		return err
	}
	if s.marks.run || s.marks.name != name {
		return fmt.Errorf("%s is %s, and not this unit", service, s.marks.name)
	}
	if grace > 0 {
		if err := r.terminate(ctx, service, grace); err != nil {
			return err
		}
	}
	if err := r.remove(ctx, service); err != nil {
		return err
	}
	r.log.Info("unit stopped", zap.String("unit", name))
	return nil
}

// terminate asks all processes of the unit to end, and waits until they have or grace is over.
func (r *Runner) terminate(ctx context.Context, service string, grace time.Duration) error {
	over := errors.New("the grace is over")
	limited, cancel := context.WithTimeoutCause(ctx, grace, over)
	defer cancel()
	if err := r.signal(limited, service, unix.SIGTERM); err != nil && !errors.Is(err, over) {
		return err
	}
	var left []int
	err := poll(limited, func() (bool, error) {
		now, err := r.processes(limited, service)
		if err == nil {
			left = now
		}
		return len(now) == 0, err
	})
	if err == nil || ctx.Err() == nil && errors.Is(err, over) {
		return nil
	}
	return fmt.Errorf("after SIGTERM its processes %v have not ended yet: %w", left, err)
}

// kill kills every process of the unit, those that are made meanwhile too, and waits until none is left.
func (r *Runner) kill(ctx context.Context, service string) error {
	var left []int
	patient, cancel := context.WithTimeoutCause(ctx, killPatience,
		fmt.Errorf("it is %s since SIGKILL: look at what they wait for in /proc/PID/stack", killPatience))
	defer cancel()
	err := poll(patient, func() (bool, error) {
		now, err := r.processes(patient, service)
		if err != nil || len(now) == 0 {
			return err == nil, err
		}
		left = now
		return false, r.signal(patient, service, unix.SIGKILL)
	})
	if err != nil {
		return fmt.Errorf("its processes %v have not ended yet: %w", left, err)
	}
	return nil
}

// signal sends it to every process of the unit; none is no error.
func (r *Runner) signal(ctx context.Context, service string, signal unix.Signal) error {
	err := r.bus.call(ctx, func(ctx context.Context, c *conn) error {
		return c.KillUnitWithTarget(ctx, service, sd.All, int32(signal))
	})
	if err != nil && !isNoUnit(err) {
		return fmt.Errorf("send %s: %w", unix.SignalName(signal), err)
	}
	return nil
}

// remove kills the unit and makes systemd forget it. It returns when nothing of it is left.
func (r *Runner) remove(ctx context.Context, service string) error {
	if err := r.kill(ctx, service); err != nil {
		return err
	}
	err := r.bus.job(ctx, func(ctx context.Context, c *conn, result chan<- string) error {
		// Units stop after the agent's own (properties), so where that is being stopped, by a restart or with the machine, a
		// job in this order would wait for the agent, which waits for it.
		_, err := c.StopUnitContext(ctx, service, "ignore-dependencies", result)
		return err
	})
	if isNoUnit(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("have systemd stop %s: %w", service, err)
	}
	// One that failed is remembered until this; one that did not is forgotten already.
	err = r.bus.call(ctx, func(ctx context.Context, c *conn) error { return c.ResetFailedUnitContext(ctx, service) })
	if err != nil && !isNoUnit(err) {
		return fmt.Errorf("have systemd forget %s: %w", service, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, killPatience, fmt.Errorf("systemd still lists %s after it was stopped", service))
	defer cancel()
	return poll(ctx, func() (bool, error) {
		_, there, err := r.look(ctx, service)
		return err == nil && !there, err
	})
}

// find gives the state of a unit that is to be in List.
func (r *Runner) find(ctx context.Context, name string) (state, error) {
	if err := unit.CheckName(name); err != nil {
		return state{}, err
	}
	s, there, err := r.look(ctx, r.service(name))
	if err != nil {
		return state{}, err
	}
	if !there || s.marks.run || s.marks.name != name {
		return state{}, fmt.Errorf("%s: %w", name, unit.ErrUnknown)
	}
	return s, nil
}
