package releases

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
)

const (
	homeName = "home"
	tmpName  = "tmp"
)

// Attempt is a release that is being made. End it with Commit or Discard.
type Attempt struct {
	store  *Store
	number int64
	dir    string
	// done: it is a release, or gone. named: its name may be on the disk.
	done, named bool
}

// Begin starts a release, in the directory where it stays. Nobody takes it for one, for it has no name yet. What an earlier
// attempt at that number left is removed; there is one attempt at a number at a time.
func (s *Store) Begin(number int64) (*Attempt, error) {
	fail := func(err error) (*Attempt, error) {
		return nil, fmt.Errorf("begin release %d: %w", number, err)
	}
	if number < 1 {
		return fail(errors.New("numbers start at 1"))
	}
	if s.Has(number) {
		return fail(fmt.Errorf("%s exists already", s.name(number)))
	}
	if exists(s.tree(number)) {
		if err := s.Remove(number); err != nil {
			return fail(err)
		}
	}
	a := &Attempt{store: s, number: number, dir: s.tree(number)}
	for _, dir := range []string{a.dir, a.App(), a.Home(), a.Tmp()} {
		if err := s.disk.Mkdir(dir, 0o755); err != nil {
			_ = a.Discard() // the first error is the one to report; Open removes what is left
			return fail(err)
		}
	}
	return a, nil
}

// App is where the repository's tree goes: an empty directory, which keeps its path when it is a release's.
func (a *Attempt) App() string { return filepath.Join(a.dir, appName) }

// Clear empties the attempt: it is as Begin made it.
func (a *Attempt) Clear() error {
	for _, name := range []string{appName, homeName, tmpName} {
		err := a.store.disk.RemoveAll(a.dir, name)
		if err == nil {
			err = a.store.disk.Mkdir(filepath.Join(a.dir, name), 0o755)
		}
		if err != nil {
			return fmt.Errorf("begin release %d anew: %w", a.number, err)
		}
	}
	return nil
}

// Home is an empty directory for the build's HOME. It is no part of the release.
func (a *Attempt) Home() string { return filepath.Join(a.dir, homeName) }

// Tmp is an empty directory for the build's TMPDIR. It is no part of the release.
func (a *Attempt) Tmp() string { return filepath.Join(a.dir, tmpName) }

// Commit makes the release exist: everything is flushed before it gets its name, and the name before Commit returns.
func (a *Attempt) Commit(r Release) (Release, error) {
	s := a.store
	fail := func(err error) (Release, error) {
		return Release{}, fmt.Errorf("complete release %d: %w", a.number, err)
	}
	if s.Has(a.number) {
		return fail(fmt.Errorf("%s exists already", s.name(a.number)))
	}
	if err := a.dropScratch(); err != nil {
		return fail(err)
	}
	r.Schema = Schema
	r.Release.Number = a.number
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fail(err)
	}
	if err := s.disk.Put(filepath.Join(a.dir, recordName), append(data, '\n'), 0o644); err != nil {
		return fail(err)
	}
	if err := s.disk.SyncTree(a.dir); err != nil {
		return fail(err)
	}
	a.named = true
	if err := s.point(s.name(a.number), target(a.number)); err != nil {
		return fail(err)
	}
	out, err := s.read(a.number)
	if err != nil {
		return fail(err)
	}
	a.done = true
	return out, nil
}

// dropScratch removes what is no part of the release.
func (a *Attempt) dropScratch() error {
	for _, sub := range []string{homeName, tmpName} {
		if err := a.store.disk.RemoveAll(a.dir, sub); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes what was made. After a Commit that went well it does nothing.
func (a *Attempt) Discard() error {
	if a.done {
		return nil
	}
	a.done = true
	if a.named { // and not known to last: it goes as a release does
		return a.store.Remove(a.number)
	}
	if err := a.store.removeTree(a.number); err != nil {
		return fmt.Errorf("discard release %d: %w", a.number, err)
	}
	return nil
}
