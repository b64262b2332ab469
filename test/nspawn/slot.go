package nspawn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// slotsDir holds the machines of all tests on this host.
	slotsDir = "/run/bootagent-nspawn"
	// slots is how many machines there may be at once: the third byte of their addresses.
	slots = 250
)

// slot is a machine's place on this host: its name, its addresses and its directories follow from the number. It is taken
// as long as its lock is held, so it is free again when the test ends, however that ends.
type slot struct {
	number int
	lock   *os.File
}

func (s slot) name() string            { return "ba" + strconv.Itoa(s.number) }
func (s slot) dir() string             { return filepath.Join(slotsDir, s.name()) }
func (s slot) root() string            { return filepath.Join(s.dir(), "root") }
func (s slot) console() string         { return filepath.Join(s.dir(), "console.log") }
func (s slot) netns() string           { return "/run/netns/" + s.name() }
func (s slot) gateway() netip.Addr     { return netip.AddrFrom4([4]byte{10, 213, byte(s.number), 1}) }
func (s slot) address() netip.Addr     { return netip.AddrFrom4([4]byte{10, 213, byte(s.number), 2}) }
func (s slot) cgroup(in string) string { return filepath.Join(in, s.name()) }

// take takes a free slot, and clears what a test that was killed left in it and in others.
func take(ctx context.Context) (slot, error) {
	if err := os.MkdirAll(slotsDir, 0o755); err != nil {
		return slot{}, fmt.Errorf("make the directory of machines: %w", err)
	}
	var taken slot
	for n := 1; n <= slots; n++ {
		s := slot{number: n}
		_, err := os.Stat(s.dir())
		stale := err == nil
		if taken.lock != nil && !stale {
			continue
		}
		file, err := os.OpenFile(s.dir()+".lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return slot{}, fmt.Errorf("lock a machine's slot: %w", err)
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			_ = file.Close()
			continue
		}
		if err := s.clear(ctx); err != nil {
			return slot{}, errors.Join(fmt.Errorf("clear the slot %s of a machine that was left behind: %w", s.name(), err), file.Close())
		}
		if taken.lock == nil {
			taken = slot{number: n, lock: file}
			continue
		}
		_ = file.Close()
	}
	if taken.lock == nil {
		return slot{}, fmt.Errorf("all %d slots for machines in %s are taken", slots, slotsDir)
	}
	return taken, nil
}

func (s slot) release() error { return s.lock.Close() }

// clear ends the slot's processes, and removes its mounts, network and control groups. What is not there is no error.
func (s slot) clear(ctx context.Context) error {
	errs := []error{s.killAll(ctx)}
	if info, err := os.Stat(s.root()); err == nil {
		// systemd-nspawn's lock on the directory, which it names after the inode.
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			errs = append(errs, os.RemoveAll(fmt.Sprintf("/run/systemd/nspawn/locks/inode-%d:%d", stat.Dev, stat.Ino)))
		}
	}
	for _, dir := range []string{s.root(), s.dir()} {
		// Lazily: a mount that is still busy for a moment goes when it is not.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", dir, err))
		}
	}
	// The pair is deleted by itself: the kernel does that for a deleted namespace too, but some time later, and
	// the slot's next machine wants the name.
	if _, err := os.Stat("/sys/class/net/" + s.name()); err == nil {
		errs = append(errs, run(ctx, "ip", "link", "delete", s.name()))
	}
	if _, err := os.Stat(s.netns()); err == nil {
		errs = append(errs, run(ctx, "ip", "netns", "delete", s.name()))
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir()), s.forgetRun())...)
}

// forgetRun removes what a systemd-nspawn that was killed leaves behind, with which it would not start again.
func (s slot) forgetRun() error {
	mounts, err := cgroups()
	errs := []error{err, os.RemoveAll("/run/systemd/nspawn/propagate/" + s.name())}
	for _, mount := range mounts {
		errs = append(errs, removeGroups(s.cgroup(mount)))
	}
	return errors.Join(errs...)
}

// killAll kills every process of the machine at once, as a power cut does, and waits until they are gone.
func (s slot) killAll(ctx context.Context) error {
	mounts, err := cgroups()
	if err != nil {
		return err
	}
	group := s.cgroup(mounts[0])
	if err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("kill the machine %s: %w", s.name(), err)
	}
	return until(ctx, patience, "the processes of "+s.name()+" have ended", func() error {
		text, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
		if err == nil && strings.Contains(string(text), "populated 1") {
			err = errors.New("the control group is populated")
		}
		return err
	})
}

func removeGroups(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = unix.Rmdir(dirs[i])
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the control groups %s: %w", top, err)
	}
	return nil
}

// cgroups gives where the control groups that systemd uses are mounted: version 2 first, and where the host has
// both, version 1's name=systemd, into which systemd-nspawn copies its own.
func cgroups() ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var v2, v1 []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		mount, kind, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		switch {
		case len(fields) < 5:
		case strings.HasPrefix(kind, "cgroup2 "):
			v2 = append(v2, fields[4])
		case strings.HasPrefix(kind, "cgroup ") && strings.Contains(kind, "name=systemd"):
			v1 = append(v1, fields[4])
		}
	}
	if len(v2) == 0 {
		return nil, errors.New("no control groups of version 2 are mounted on this machine")
	}
	return append(v2[:1], v1...), nil
}

// patience is how long what takes milliseconds may take on a machine that is busy with other things.
const patience = time.Minute

// until waits until done returns nil.
func until(ctx context.Context, patience time.Duration, what string, done func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		last := done()
		if last == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w: %w", what, context.Cause(ctx), last)
		}
	}
}

// run runs a command of the host's.
func run(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
