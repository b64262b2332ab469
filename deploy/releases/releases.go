// Package releases keeps the releases on this machine's disk. A release is
// complete or does not exist, also after kill -9 and power loss:
//
//	<state>/trees/7/app             the repository's tree after the build
//	<state>/trees/7/release.json    what it is (Release)
//	<state>/trees/7/promoted        there once the release was in service here
//	<state>/releases/7 -> ../trees/7
//	<state>/current -> releases/7/app
//
// A tree is made where it stays, for what a build makes may hold its own path
// (a Python virtual environment does). It is no release: that is the name in
// releases/, which appears when the whole tree is flushed, and is taken away,
// flushed again, before the first file of the tree goes. trees/7 has home and
// tmp besides while it is made. What has no name, and names that begin with a
// dot, are litter for whoever opens the store next. One process at a time may
// have it open: the Runner's lock on the same state directory sees to that.
//
// Linux only: it flushes with syncfs(2). Files belong to the agent's user, and
// where the app runs as that same user nothing keeps it from writing to its
// release; Attempt.Give and Attempt.Take part them where users are separate.
package releases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/disk"
	"github.com/bootagent/bootagent/internal/model"
)

// Schema is the version of release.json that this package writes, and the highest it reads.
const Schema = 1

const (
	releasesName   = "releases"
	treesName      = "trees"
	currentName    = "current"
	recordName     = "release.json"
	promotedName   = "promoted"
	appName        = "app"
	maxRecordBytes = 1 << 20
)

// Release is a complete release, as release.json keeps it.
type Release struct {
	Schema   int           `json:"schema"`
	Release  model.Release `json:"release"`
	Prepared time.Time     `json:"prepared"`
	// Subdirectory is where in the tree the app is, "" for its top.
	Subdirectory string        `json:"subdirectory,omitempty"`
	Recipe       recipe.Recipe `json:"recipe"`
	// Brought are the directories that the commit has in the places of shared ones.
	Brought []string `json:"brought,omitempty"`
	// Artifact is the digest of the artifact that it was unpacked from, "" where it was built here.
	Artifact string `json:"artifact,omitempty"`
	// Dependencies says under which keys what its build left for the next one is kept; nil where nothing is.
	Dependencies *Dependencies `json:"dependencies,omitempty"`

	// Dir is the app's directory, absolute, and free of links: where it was built.
	Dir string `json:"-"`
	// Promoted says that the release was in service on this machine.
	Promoted bool `json:"-"`
}

// Dependencies are the directories of build.cache that the commit has nothing in the place of.
type Dependencies struct {
	// Locks is the digest of the lock files as the commit has them: a build may write them anew.
	Locks string `json:"locks"`
	// Keys are by the directory, as the recipe names it.
	Keys map[string]string `json:"keys"`
}

// Damaged is a release's name with something behind it that can't be used as one.
type Damaged struct {
	Number int64
	Err    error
}

// Store is the releases below one state directory.
type Store struct {
	state string
	disk  disk.Disk
	named atomic.Int64 // counts names of litter
}

// Open makes the directories, flushes what a killed process may have left unflushed, and removes what it left behind.
func Open(state string) (*Store, error) { return openOn(disk.Disk{}, state) }

func openOn(d disk.Disk, state string) (*Store, error) {
	state, err := filepath.Abs(state)
	if err != nil {
		return nil, err
	}
	s := &Store{state: state, disk: d}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	for _, dir := range []string{s.releases(), s.trees()} {
		if _, err := os.Lstat(dir); err == nil {
			continue
		}
		if err := s.disk.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the directory of releases: %w", err)
		}
	}
	return s, s.clean()
}

func (s *Store) releases() string { return filepath.Join(s.state, releasesName) }
func (s *Store) trees() string    { return filepath.Join(s.state, treesName) }

// name is the path that makes a tree a release.
func (s *Store) name(number int64) string {
	return filepath.Join(s.releases(), strconv.FormatInt(number, 10))
}

func (s *Store) tree(number int64) string {
	return filepath.Join(s.trees(), strconv.FormatInt(number, 10))
}

// target is what a release's name says.
func target(number int64) string {
	return filepath.Join("..", treesName, strconv.FormatInt(number, 10))
}

var numberForm = regexp.MustCompile(`^[1-9][0-9]{0,17}$`)

// List gives the complete releases and the damaged ones, each by number.
func (s *Store) List() ([]Release, []Damaged, error) {
	entries, err := os.ReadDir(s.releases())
	if err != nil {
		return nil, nil, fmt.Errorf("list the releases: %w", err)
	}
	var complete []Release
	var damaged []Damaged
	for _, e := range entries {
		if !numberForm.MatchString(e.Name()) {
			continue
		}
		number, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("list the releases: %w", err)
		}
		if r, err := s.read(number); err != nil {
			damaged = append(damaged, Damaged{number, err})
		} else {
			complete = append(complete, r)
		}
	}
	slices.SortFunc(complete, func(a, b Release) int { return compare(a.Release.Number, b.Release.Number) })
	slices.SortFunc(damaged, func(a, b Damaged) int { return compare(a.Number, b.Number) })
	return complete, damaged, nil
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Has says whether anything has that release's name, complete or damaged.
func (s *Store) Has(number int64) bool { return exists(s.name(number)) }

// exists says whether there is something; what can't be seen is taken for it.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *Store) read(number int64) (Release, error) {
	dir := s.tree(number)
	fail := func(err error) (Release, error) {
		return Release{}, fmt.Errorf("release %d in %s can't be used: %w", number, dir, err)
	}
	to, err := os.Readlink(s.name(number))
	if err == nil && to != target(number) {
		err = fmt.Errorf("%s names %q", s.name(number), to)
	}
	if err != nil {
		return fail(err)
	}
	data, err := readBounded(filepath.Join(dir, recordName))
	if err != nil {
		return fail(err)
	}
	var r Release
	if err := json.Unmarshal(data, &r); err != nil {
		return fail(fmt.Errorf("decode %s: %w", recordName, err))
	}
	if r.Schema != Schema {
		return fail(fmt.Errorf("%s has schema %d, and this version of bootagent knows %d", recordName, r.Schema, Schema))
	}
	if r.Release.Number != number || !filepath.IsLocal(filepath.Join(appName, r.Subdirectory)) {
		return fail(fmt.Errorf("%s does not belong to it", recordName))
	}
	r.Dir = filepath.Join(dir, appName, r.Subdirectory)
	if info, err := os.Stat(r.Dir); err != nil {
		return fail(err)
	} else if !info.IsDir() {
		return fail(fmt.Errorf("%s is not a directory", r.Dir))
	}
	_, err = os.Lstat(filepath.Join(dir, promotedName))
	r.Promoted = err == nil
	return r, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecordBytes {
		return nil, fmt.Errorf("%s is not a record of ours", path)
	}
	return os.ReadFile(path)
}

// Current gives the number of the release that `current` names, 0 where there is none yet.
func (s *Store) Current() (int64, error) {
	to, err := os.Readlink(filepath.Join(s.state, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read which release is current: %w", err)
	}
	parts := strings.Split(filepath.ToSlash(to), "/")
	if len(parts) != 3 || parts[0] != releasesName || parts[2] != appName || !numberForm.MatchString(parts[1]) {
		return 0, fmt.Errorf("%s names %q, which is no release of ours; remove it", filepath.Join(s.state, currentName), to)
	}
	return strconv.ParseInt(parts[1], 10, 64)
}

// Promote lets `current` name that release and marks it as one that was in service. It is idempotent.
func (s *Store) Promote(number int64, now time.Time) error {
	r, err := s.read(number)
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	if !r.Promoted {
		mark := []byte(now.UTC().Format(time.RFC3339) + "\n")
		if err := s.disk.Replace(filepath.Join(s.tree(number), promotedName), mark, 0o644); err != nil {
			return fmt.Errorf("mark release %d as promoted: %w", number, err)
		}
	}
	if current, err := s.Current(); err == nil && current == number {
		return nil
	}
	if err := s.point(filepath.Join(s.state, currentName), filepath.Join(releasesName, strconv.FormatInt(number, 10), appName)); err != nil {
		return fmt.Errorf("let current name release %d: %w", number, err)
	}
	return nil
}

// point lets a link name a target, in place of what it named before, at once and to stay.
func (s *Store) point(path, to string) error {
	link := s.litter(path, "link")
	if err := s.disk.Symlink(to, link); err != nil {
		return err
	}
	if err := s.disk.Rename(link, path); err != nil {
		_ = s.disk.Remove(link) // the first error is the one to report; Open removes what is left
		return err
	}
	return s.disk.SyncDir(filepath.Dir(path))
}

// Remove takes a release, or a damaged one, off the disk. One that is not there is no error.
func (s *Store) Remove(number int64) error {
	fail := func(err error) error { return fmt.Errorf("remove release %d: %w", number, err) }
	var gone string
	if s.Has(number) {
		// From here on the release does not exist.
		gone = s.litter(s.name(number), "removing")
		if err := s.disk.Rename(s.name(number), gone); err != nil {
			return fail(err)
		}
	}
	// Also for a name that went before: were it back after a loss of power, the tree would not be.
	if err := s.disk.SyncDir(s.releases()); err != nil {
		return fail(err)
	}
	if gone != "" {
		if err := s.disk.RemoveAll(s.releases(), filepath.Base(gone)); err != nil {
			return fail(err)
		}
	}
	if err := s.removeTree(number); err != nil {
		return fail(err)
	}
	return nil
}

// removeTree removes a tree that has no name, and that can't get one back. Its place is free before the first file goes.
func (s *Store) removeTree(number int64) error {
	if !exists(s.tree(number)) {
		return nil
	}
	gone := s.litter(s.tree(number), "removing")
	if err := s.disk.Rename(s.tree(number), gone); err != nil {
		return err
	}
	return s.disk.RemoveAll(s.trees(), filepath.Base(gone))
}
