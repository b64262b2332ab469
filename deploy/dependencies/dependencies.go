// Package dependencies keeps, on this machine, what builds left in the directories that the next build begins with:
//
//	<dir>/<directory, digested>/<key>.<release>/<path below the tree>
//
// Each is whole or not there, also after kill -9 and power loss: it is copied beside, flushed and renamed. Names that begin with a dot are
// litter for whoever opens it next. A copy shares no file with the release that it was made of, nor with the one that it is filled into.
//
// It is for Linux alone, and belongs to the agent's user, as the only one who may enter.
package dependencies

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/disk"
)

// keysMost is how many keys of one directory are kept: that of the newest release, and of the one before it, for a rollback or a branch that
// goes back and forth.
const keysMost = 2

// Store is the directories that are kept. It is safe for concurrent use.
type Store struct {
	dir   string
	disk  disk.Disk
	named atomic.Int64 // counts names of litter

	mu sync.Mutex // held while one is read, put in its place, or removed
}

// Directory says which directory, below a release's tree, of which key.
type Directory struct{ Path, Key string }

// Open removes what a killed process has left. The directory itself is made when something is kept.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for kept dependencies: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			if err := s.disk.RemoveAll(dir, e.Name()); err != nil {
				errs = append(errs, fmt.Errorf("remove dependencies that were not kept whole: %w", err))
			}
		}
	}
	return s, errors.Join(errs...)
}

// slot is the name of what is kept of one directory, whatever characters its own has.
func slot(path string) string { return artifact.Digest([]byte(path))[:16] }

func entry(key string, release int64) string { return key + "." + strconv.FormatInt(release, 10) }

// Has says whether this very release's is kept.
func (s *Store) Has(d Directory, release int64) bool {
	info, err := os.Lstat(filepath.Join(s.dir, slot(d.Path), entry(d.Key, release)))
	return err == nil && info.IsDir()
}

// Fill copies what is kept into an empty or a new directory, at the path that it has below a tree, and says whether there was anything. After
// an error nothing is left there.
func (s *Store) Fill(ctx context.Context, d Directory, to string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, err := s.kept(d.Path)
	if err != nil {
		return false, fmt.Errorf("look for kept dependencies: %w", err)
	}
	for _, name := range kept {
		if key, _, _ := strings.Cut(name, "."); key != d.Key {
			continue
		}
		if err := copyTree(ctx, filepath.Join(s.dir, slot(d.Path), name), to, d.Path, nil); err != nil {
			return false, fmt.Errorf("copy the kept %s: %w", d.Path, err)
		}
		return true, nil
	}
	return false, nil
}

// kept are the names of what is kept of one directory, the newest first.
func (s *Store) kept(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, slot(path)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var all []aged
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, aged{e.Name(), info.ModTime()})
	}
	slices.SortStableFunc(all, func(a, b aged) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(b.name, a.name)) })
	var names []string
	for _, a := range all {
		names = append(names, a.name)
	}
	return names, nil
}

// Save copies a directory below a release's tree, in place of what was kept of that key, and removes what is more than is kept. pause is
// called again and again; its error ends it.
func (s *Store) Save(ctx context.Context, d Directory, release int64, tree string, now time.Time, pause func() error) error {
	fail := func(err error) error { return fmt.Errorf("keep %s for the next build: %w", d.Path, err) }
	if err := s.make(); err != nil {
		return fail(err)
	}
	litter := s.litter("saving")
	defer func() { _ = s.disk.RemoveAll(s.dir, litter) }() // there is none where all went well; what stays goes at the next start
	whole := filepath.Join(s.dir, litter)
	err := copyTree(ctx, tree, whole, d.Path, pause)
	if err == nil {
		err = os.Chtimes(whole, now, now)
	}
	if err == nil {
		err = s.disk.SyncTree(whole)
	}
	if err == nil {
		err = s.place(d, entry(d.Key, release), litter)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func (s *Store) make() error {
	if err := s.disk.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// place gives what was copied its name, and takes it from what had the same key, or is too old.
func (s *Store) place(d Directory, name, litter string) error {
	gone, err := s.swap(d, name, litter)
	return errors.Join(err, s.sweep(gone))
}

// swap renames alone, for a build may wait for the lock: who removes does so at leisure.
func (s *Store) swap(d Directory, name, litter string) (gone []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := filepath.Join(s.dir, slot(d.Path))
	if err := s.disk.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	kept, err := s.kept(d.Path)
	if err != nil {
		return nil, err
	}
	others := 0
	for _, old := range kept {
		if key, _, _ := strings.Cut(old, "."); key != d.Key {
			if others++; others < keysMost {
				continue
			}
		}
		retired, err := s.retire(filepath.Join(slot(d.Path), old))
		if err != nil {
			return gone, err
		}
		gone = append(gone, retired)
	}
	if err := s.disk.Rename(filepath.Join(s.dir, litter), filepath.Join(dir, name)); err != nil {
		return gone, err
	}
	return gone, s.disk.SyncDir(dir)
}

// retire takes something out of its place: it is litter.
func (s *Store) retire(name string) (string, error) {
	gone := s.litter("removing")
	return gone, s.disk.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, gone))
}

func (s *Store) sweep(litter []string) error {
	var errs []error
	for _, name := range litter {
		errs = append(errs, s.disk.RemoveAll(s.dir, name))
	}
	return errors.Join(errs...)
}

func (s *Store) litter(why string) string { return fmt.Sprintf(".%s-%d", why, s.named.Add(1)) }

// Only removes what is kept of other directories than these, of all where none is named, and says whether there was anything.
func (s *Store) Only(paths ...string) (removed bool, err error) {
	gone, err := s.retireOthers(paths)
	if err = errors.Join(err, s.sweep(gone)); err != nil {
		err = fmt.Errorf("remove kept dependencies: %w", err)
	}
	return len(gone) > 0, err
}

func (s *Store) retireOthers(paths []string) (gone []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stay := map[string]bool{}
	for _, p := range paths {
		stay[slot(p)] = true
	}
	for _, e := range entries {
		if stay[e.Name()] || strings.HasPrefix(e.Name(), ".") { // litter may still be written
			continue
		}
		retired, e := s.retire(e.Name())
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		gone = append(gone, retired)
	}
	return gone, err
}
