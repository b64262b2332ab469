package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// What an agent should cost that only serves, and its program.
const (
	aimAnonymous = 15e6
	aimBinary    = 25e6
)

// settle is how long an agent is left alone before it is watched: what it did to boot is over, and its garbage collected.
const settle = 10 * time.Second

// idle watches one agent that serves, after a boot of its own.
func (b *bench) idle(ctx context.Context, s *section) (err error) {
	a, err := b.app(ctx)
	if err != nil {
		return err
	}
	f, err := b.newFleet(ctx, a, group{size: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	id := f.Instances()[0].ID
	m, ok := f.Machines.Machine(id)
	if !ok {
		return fmt.Errorf("instance %s does not run any more", id)
	}
	pid := m.AgentPID()
	b.say("  watching an agent that serves for %s", b.watch)
	if err := pause(ctx, settle); err != nil {
		return err
	}
	began := time.Now()
	before, err := processorTime(pid, false)
	if err != nil {
		return err
	}
	if err := pause(ctx, b.watch); err != nil {
		return err
	}
	after, err := processorTime(pid, false)
	if err != nil {
		return err
	}
	watched := time.Since(began)
	calls := f.Region.Calls(wire.Filter{Instance: id, Since: began})
	total, anonymous, err := residentSet(pid)
	if err != nil {
		return err
	}
	program, err := os.Stat(b.agent)
	if err != nil {
		return err
	}
	s.intro = fmt.Sprintf("One agent in a group of one, %s after its boot, watched for %s.", settle, watched.Round(time.Second))
	s.table.head = []string{"", "", "aim"}
	s.table.add("anonymous memory", megabytes(anonymous), aim(anonymous, aimAnonymous))
	s.table.add("resident memory", megabytes(total), "")
	s.table.add("CPU in an hour", seconds(time.Duration(float64(after-before)*float64(time.Hour)/float64(watched))), "")
	for _, c := range hourly(calls, watched) {
		s.table.add("calls an hour, "+c.operation, strconv.Itoa(c.count), "")
	}
	s.table.add("the program", megabytes(program.Size())+stripped(b.agent), aim(program.Size(), aimBinary))
	s.note("Calls are those that the region saw while it was watched, times what is missing to an hour: what happens once an hour is not among them, or counted too often. " +
		"IMDS is on the instance itself.")
	return nil
}

// aim says whether a figure is within what it should be.
func aim(got int64, most float64) string {
	said := "at most " + megabytes(int64(most))
	if float64(got) > most {
		return said + ": **missed**"
	}
	return said
}

// hour is how often an operation is called in one.
type hour struct {
	operation string
	count     int
}

// hourly counts calls by service and operation, and stretches the time in which they came to an hour.
func hourly(calls []wire.Record, watched time.Duration) (out []hour) {
	counts := map[string]int{}
	for _, c := range calls {
		counts[c.Service+":"+c.Operation]++
	}
	for _, operation := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, hour{operation, int(float64(counts[operation])*float64(time.Hour)/float64(watched) + 0.5)})
	}
	return out
}

// residentSet reads /proc/PID/smaps_rollup, in bytes: all that is resident, and what of it is backed by no file.
func residentSet(pid int) (total, anonymous int64, err error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	for name, to := range map[string]*int64{"Rss": &total, "Anonymous": &anonymous} {
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(field(path, name), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read %s of %s: %w", name, path, err)
		}
		*to = kilobytes << 10
	}
	return total, anonymous, nil
}

// stripped says of a program that still has its symbols that it has.
func stripped(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if f.Section(".symtab") != nil {
		return " (not stripped)"
	}
	return ""
}

// pause waits, unless the run ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
