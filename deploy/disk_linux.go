package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

// FullError is a disk that has no room. It is the machine's, never a revision's: with room the same revision may be good.
type FullError struct {
	Dir   string // where, on that disk
	Free  int64  // bytes that were free for others than root
	Files int64  // files that could still be made; -1 where the file system has no such number
	Err   error  // what failed for it
}

func (e *FullError) Error() string {
	left := strictyaml.Size(e.Free) + " free"
	if e.Files >= 0 && e.Files < fewFiles {
		left += fmt.Sprintf(" and room for %d more files (inodes)", e.Files)
	}
	return fmt.Sprintf("the disk of %s was full, with %s at its worst: make room there, lower keep_releases, or use a larger disk; "+
		"what was begun is removed, and it is tried again by itself: %s", e.Dir, left, e.Err)
}

func (e *FullError) Unwrap() error { return e.Err }

const (
	// nearlyFull is the least that counts as room: a program that could not write its next piece of a file has left that much
	// free at the most, and compilers remove what they began.
	nearlyFull = 16 << 20
	// fewFiles is as much for files: a package manager makes thousands.
	fewFiles = 64
	// sampled is how often the disk is looked at while a build runs, for one that fails may tidy up before it ends.
	sampled = 100 * time.Millisecond
)

// space is what a disk has left.
type space struct{ bytes, files int64 }

func (m *Machine) space() (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(m.StateDir, &st); err != nil {
		return space{}, fmt.Errorf("ask for the free space of %s: %w", m.StateDir, err)
	}
	s := space{bytes: int64(st.Bavail) * st.Bsize, files: -1}
	if st.Files > 0 { // btrfs counts none
		s.files = int64(st.Ffree)
	}
	return s, nil
}

// full says whether a program may have failed for want of room.
func (m *Machine) full(s space) bool {
	return s.bytes < max(nearlyFull, m.FreeSpace/4) || s.files >= 0 && s.files < fewFiles
}

// leastSpace looks at the disk until stop is called, which gives the least that was free. Call it, or the looking goes on.
func (m *Machine) leastSpace(ctx context.Context) (stop func() space) {
	ctx, cancel := context.WithCancel(ctx)
	least := space{bytes: 1 << 62, files: -1}
	look := func() {
		if now, err := m.space(); err == nil { // one that can't be looked at is no full one
			least.bytes = min(least.bytes, now.bytes)
			if now.files >= 0 && (least.files < 0 || now.files < least.files) {
				least.files = now.files
			}
		}
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(sampled):
				look()
			}
		}
	})
	return func() space {
		cancel()
		work.Wait()
		look()
		return least
	}
}

// blameDisk gives the disk the blame for what failed: where the error says so, or, for what another program did, where there
// was no room.
func (m *Machine) blameDisk(err error, least space, another bool) error {
	var already *FullError
	if err == nil || errors.As(err, &already) {
		return err
	}
	if noSpace(err) || another && m.full(least) {
		return &FullError{Dir: m.StateDir, Free: least.bytes, Files: least.files, Err: err}
	}
	return err
}

// blameDiskNow is blameDisk for what this program did: the error says so, or it was something else.
func (m *Machine) blameDiskNow(err error) error {
	if err == nil || !noSpace(err) {
		return err
	}
	now, e := m.space()
	if e != nil {
		return errors.Join(err, e)
	}
	return m.blameDisk(err, now, false)
}

func noRoom(err error) bool {
	var full *FullError
	return errors.As(err, &full)
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
