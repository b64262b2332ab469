package releases

import (
	"encoding/json"
	"fmt"
	"os"
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
}

// Begin starts a release in a directory that nobody takes for one.
func (s *Store) Begin(number int64) (*Attempt, error) {
	if number < 1 {
		return nil, fmt.Errorf("begin release %d: numbers start at 1", number)
	}
	s.step("make")
	dir, err := os.MkdirTemp(s.releases(), fmt.Sprintf("%s%d-", incomplete, number))
	if err != nil {
		return nil, fmt.Errorf("begin release %d: %w", number, err)
	}
	a := &Attempt{store: s, number: number, dir: dir}
	for _, sub := range []string{a.App(), a.Home(), a.Tmp()} {
		s.step("make " + filepath.Base(sub))
		if err := os.Mkdir(sub, 0o755); err != nil {
			_ = a.Discard() // the first error is the one to report; Open removes what is left
			return nil, fmt.Errorf("begin release %d: %w", number, err)
		}
	}
	return a, nil
}

// App is where the repository's tree goes: an empty directory.
func (a *Attempt) App() string { return filepath.Join(a.dir, appName) }

// Home is an empty directory for the build's HOME. It is no part of the release.
func (a *Attempt) Home() string { return filepath.Join(a.dir, homeName) }

// Tmp is an empty directory for the build's TMPDIR. It is no part of the release.
func (a *Attempt) Tmp() string { return filepath.Join(a.dir, tmpName) }

// Commit makes the release exist: everything is flushed before the rename, and the rename before Commit returns.
func (a *Attempt) Commit(r Release) (Release, error) {
	final := a.store.path(a.number)
	fail := func(err error) (Release, error) {
		return Release{}, fmt.Errorf("complete release %d: %w", a.number, err)
	}
	if _, err := os.Lstat(final); err == nil {
		return fail(fmt.Errorf("%s exists already", final))
	}
	for _, sub := range []string{homeName, tmpName} {
		a.store.step("clean " + sub)
		if err := removeAll(a.dir, sub); err != nil {
			return fail(err)
		}
	}
	r.Schema = Schema
	r.Release.Number = a.number
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fail(err)
	}
	a.store.step("record")
	if err := writeFile(filepath.Join(a.dir, recordName), append(data, '\n')); err != nil {
		return fail(err)
	}
	// MkdirTemp made it for its owner alone; an app's user has to get in.
	if err := os.Chmod(a.dir, 0o755); err != nil {
		return fail(err)
	}
	a.store.step("flush")
	if err := syncTree(a.dir); err != nil {
		return fail(err)
	}
	a.store.step("rename")
	if err := os.Rename(a.dir, final); err != nil {
		return fail(err)
	}
	a.store.step("flush the name")
	if err := syncDir(a.store.releases()); err != nil {
		return fail(err)
	}
	out, err := a.store.read(a.number)
	if err != nil {
		return fail(err)
	}
	return out, nil
}

// Discard removes what was made. After Commit it does nothing.
func (a *Attempt) Discard() error {
	if err := removeAll(a.store.releases(), filepath.Base(a.dir)); err != nil {
		return fmt.Errorf("discard release %d: %w", a.number, err)
	}
	return nil
}
