//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// killPatience is how long a process may survive SIGKILL: one that hangs in the kernel (a dead network disk) does.
	killPatience = 30 * time.Second
	shortPause   = 5 * time.Millisecond
	longPause    = 100 * time.Millisecond
)

// end ends every process of the unit: SIGTERM to those that there are, up to grace for them to end, then SIGKILL until a
// look at all processes finds none. known are members found earlier; see members. With no grace there is no SIGTERM.
func end(ctx context.Context, m mark, known map[ident]bool, grace time.Duration) error {
	if grace > 0 {
		if err := terminate(ctx, m, known, grace); err != nil {
			return err
		}
	}
	limit := time.Now().Add(killPatience)
	for pause := shortPause; ; pause = min(2*pause, longPause) {
		alive, err := members(m, known)
		if err != nil || len(alive) == 0 {
			return err
		}
		for _, p := range alive {
			if err := p.signal(unix.SIGKILL); err != nil {
				return err
			}
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s did not end %s after SIGKILL: look at what they wait for in /proc/PID/stack", describe(alive), killPatience)
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%s not ended yet: %w", describe(alive), err)
		}
	}
}

// terminate asks all processes of the unit to end, and waits until they have or grace is over. Those that are made
// meanwhile are not asked: they may be how the app cleans up.
func terminate(ctx context.Context, m mark, known map[ident]bool, grace time.Duration) error {
	limit := time.Now().Add(grace)
	alive, err := members(m, known)
	if err != nil {
		return err
	}
	for _, p := range alive {
		if err := p.signal(unix.SIGTERM); err != nil {
			return err
		}
	}
	for len(alive) > 0 && time.Now().Before(limit) {
		for pause := shortPause; anyAlive(alive) && time.Now().Before(limit); pause = min(2*pause, longPause) {
			if err := sleep(ctx, min(pause, time.Until(limit))); err != nil {
				return fmt.Errorf("%s not ended yet after SIGTERM: %w", describe(alive), err)
			}
		}
		if alive, err = members(m, known); err != nil {
			return err
		}
	}
	return nil
}

func anyAlive(processes []proc) bool {
	for _, p := range processes {
		if p.alive() {
			return true
		}
	}
	return false
}

// describe names processes by their pids.
func describe(processes []proc) string {
	pids := make([]int, 0, len(processes))
	for _, p := range processes {
		pids = append(pids, p.pid)
	}
	sort.Ints(pids)
	more := ""
	if len(pids) > 5 {
		pids, more = pids[:5], ", …"
	}
	return fmt.Sprintf("%d processes (pid %s%s)", len(processes), strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", ", "), "[]"), more)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stop is in unit.Runner.
func (r *Runner) Stop(ctx context.Context, name string, grace time.Duration) error {
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return fmt.Errorf("stop the unit %s: %w", name, err)
	}
	defer done()
	leave, err := r.turn(ctx, name)
	if err != nil {
		return err
	}
	defer leave()
	e, rec, err := r.find(name)
	if err != nil {
		if errors.Is(err, errClosed) {
			return fmt.Errorf("stop the unit %s: %w", name, err)
		}
		return nil
	}
	r.setStopping(e, true)
	defer r.setStopping(e, false)
	if err := end(ctx, r.mark(rec), map[ident]bool{}, grace); err != nil {
		return fmt.Errorf("stop the unit %s: %w", name, err)
	}
	select {
	case <-e.ended: // so that no zombie is left, and nobody writes the record again
	case <-ctx.Done():
		return fmt.Errorf("stop the unit %s: it has ended, but was not reaped: %w", name, context.Cause(ctx))
	}
	return r.remove(name)
}

func (r *Runner) setStopping(e *entry, stopping bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.stopping = stopping
}

// remove forgets the unit and removes its log.
func (r *Runner) remove(name string) error {
	if err := forget(r.records, name); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.units, name) // before the log, or boundLogs would make it anew
	r.mu.Unlock()
	return r.removeLog(name)
}
