//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// adoptPatience bounds the killing of leftovers when a Runner is made.
const adoptPatience = 15 * time.Second

// adopt takes over what an earlier agent left behind.
func (r *Runner) adopt() error {
	ctx, cancel := context.WithTimeout(r.ctx, adoptPatience)
	defer cancel()
	if err := r.endRuns(ctx); err != nil {
		return err
	}
	records, err := loadRecords(r.records)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if err := r.adoptUnit(ctx, rec); err != nil {
			return fmt.Errorf("adopt the unit %s: %w", rec.Name, err)
		}
	}
	return nil
}

// endRuns kills what is left of runs whose agent died.
func (r *Runner) endRuns(ctx context.Context) error {
	entries, err := os.ReadDir(r.runs)
	if err != nil {
		return fmt.Errorf("read the marks of runs: %w", err)
	}
	for _, e := range entries {
		marker := strings.Replace(e.Name(), "~", "/", 1)
		r.log.Info("a run was cut off: what is left of it is killed", zap.String("run", marker))
		if err := end(ctx, mark{marker: marker}, map[ident]bool{}, 0); err != nil {
			return fmt.Errorf("end what is left of the run %s: %w", marker, err)
		}
		if err := os.Remove(filepath.Join(r.runs, e.Name())); err != nil {
			return fmt.Errorf("forget the run %s: %w", marker, err)
		}
	}
	return nil
}

func (r *Runner) adoptUnit(ctx context.Context, rec record) error {
	if rec.BootID != r.opts.BootID {
		// Its pid means nothing now. Nothing can carry its marker either, unless the machine only says that it was
		// booted (a simulated one): then this is what a boot would have done.
		if err := end(ctx, mark{marker: rec.marker()}, map[ident]bool{}, 0); err != nil {
			return err
		}
		return r.remove(rec.Name)
	}
	if rec.PID == 0 {
		if err := r.recover(&rec); err != nil {
			return err
		}
		if rec.PID == 0 { // it was never made, or is gone without a trace
			if err := end(ctx, r.mark(rec), map[ident]bool{}, 0); err != nil {
				return err
			}
			return r.remove(rec.Name)
		}
	}
	e := &entry{rec: rec, ended: make(chan struct{})}
	r.units[rec.Name] = e
	if rec.Exit == nil {
		fd, err := rec.leader().open()
		if err == nil {
			r.log.Info("unit adopted", zap.String("unit", rec.Name), zap.Int("pid", rec.PID))
			// An agent that executed its successor in place is still the parent.
			main, _ := lookUp(rec.PID)
			return r.watch(e, fd, main.parent == os.Getpid())
		}
		if !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("watch its main process %d: %w", rec.PID, err)
		}
	}
	defer close(e.ended)
	if rec.Exit == nil {
		e.rec.Exit = &exit{Code: -1, At: time.Now()}
		if err := e.rec.save(r.records); err != nil {
			return err
		}
		r.log.Info("a unit ended while no agent was watching", zap.String("unit", rec.Name), zap.Int("pid", rec.PID))
	}
	return end(ctx, r.mark(rec), map[ident]bool{}, 0)
}

// recover finds the main process of a unit whose agent died between making the process and writing down its pid:
// of those that carry the marker, the oldest that leads a session.
func (r *Runner) recover(rec *record) error {
	alive, err := members(r.mark(*rec), map[ident]bool{})
	if err != nil {
		return err
	}
	sort.Slice(alive, func(i, j int) bool { return alive[i].start < alive[j].start })
	for _, p := range alive {
		if p.session == p.pid {
			rec.PID, rec.StartTicks = p.pid, p.start
			return rec.save(r.records)
		}
	}
	return nil
}
