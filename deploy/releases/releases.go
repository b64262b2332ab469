// Package releases keeps the releases on this machine's disk. A release is
// complete or does not exist, also after kill -9 and power loss:
//
//	<state>/releases/7/app            the repository's tree after the build
//	<state>/releases/7/release.json   what it is (Release)
//	<state>/releases/7/promoted       there once the release was in service here
//	<state>/current -> releases/7/app the release in service
//
// A release is made in releases/.incomplete-7-…, flushed, and renamed to its
// number as the last step; one that goes is renamed to releases/.removing-7-…
// as the first. Names that begin with a dot are litter for whoever opens the
// store next. One process at a time may have it open: the Runner's lock on the
// same state directory sees to that.
//
// Linux only: it flushes with syncfs(2). Files belong to the agent's user, and
// where the app runs as that same user nothing keeps it from writing to its
// release; separate users come with a later version.
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
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
)

// Schema is the version of release.json that this package writes, and the highest it reads.
const Schema = 1

const (
	releasesName   = "releases"
	currentName    = "current"
	recordName     = "release.json"
	promotedName   = "promoted"
	appName        = "app"
	incomplete     = ".incomplete-"
	removing       = ".removing-"
	currentLitter  = ".current-"
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

	// Dir is the app's directory, absolute.
	Dir string `json:"-"`
	// Promoted says that the release was in service on this machine.
	Promoted bool `json:"-"`
}

// Damaged is a directory that has a release's name and can't be used as one.
type Damaged struct {
	Number int64
	Err    error
}

// Store is the releases below one state directory.
type Store struct {
	state string
	// step is called before every change of the disk; tests end the process there.
	step func(name string)
}

// Open makes the directories and removes what killed attempts left behind.
func Open(state string) (*Store, error) {
	state, err := filepath.Abs(state)
	if err != nil {
		return nil, err
	}
	s := &Store{state: state, step: func(string) {}}
	if err := os.MkdirAll(s.releases(), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of releases: %w", err)
	}
	return s, s.clean()
}

func (s *Store) releases() string { return filepath.Join(s.state, releasesName) }

func (s *Store) path(number int64) string {
	return filepath.Join(s.releases(), strconv.FormatInt(number, 10))
}

// clean removes litter. What can't be removed is an error, for it would fill the disk unseen.
func (s *Store) clean() error {
	var errs []error
	for dir, prefixes := range map[string][]string{s.releases(): {incomplete, removing}, s.state: {currentLitter}} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("look for litter: %w", err)
		}
		for _, e := range entries {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e.Name(), p) }) {
				if err := removeAll(dir, e.Name()); err != nil {
					errs = append(errs, fmt.Errorf("remove the rest of a killed attempt: %w", err))
				}
			}
		}
	}
	return errors.Join(errs...)
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
func (s *Store) Has(number int64) bool {
	_, err := os.Lstat(s.path(number))
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *Store) read(number int64) (Release, error) {
	dir := s.path(number)
	fail := func(err error) (Release, error) {
		return Release{}, fmt.Errorf("release %d in %s can't be used: %w", number, dir, err)
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
		s.step("mark")
		if err := writeFile(filepath.Join(s.path(number), promotedName), []byte(now.UTC().Format(time.RFC3339)+"\n")); err != nil {
			return fmt.Errorf("mark release %d as promoted: %w", number, err)
		}
	}
	if current, err := s.Current(); err == nil && current == number {
		return nil
	}
	s.step("link")
	link := filepath.Join(s.state, currentLitter+strconv.FormatInt(now.UnixNano(), 36))
	if err := os.Symlink(filepath.Join(releasesName, strconv.FormatInt(number, 10), appName), link); err != nil {
		return fmt.Errorf("let current name release %d: %w", number, err)
	}
	s.step("swap")
	if err := os.Rename(link, filepath.Join(s.state, currentName)); err != nil {
		_ = os.Remove(link) // the first error is the one to report; Open removes what is left
		return fmt.Errorf("let current name release %d: %w", number, err)
	}
	s.step("flush")
	return syncDir(s.state)
}

// Remove takes a release, or a damaged one, off the disk. One that is not there is no error.
func (s *Store) Remove(number int64) error {
	litter, err := os.MkdirTemp(s.releases(), fmt.Sprintf("%s%d-", removing, number))
	if err != nil {
		return fmt.Errorf("remove release %d: %w", number, err)
	}
	s.step("rename")
	// From here on the release does not exist.
	err = os.Rename(s.path(number), filepath.Join(litter, "release"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(litter) // the first error is the one to report; Open removes what is left
		return fmt.Errorf("remove release %d: %w", number, err)
	}
	s.step("flush")
	if err := syncDir(s.releases()); err != nil {
		return fmt.Errorf("remove release %d: %w", number, err)
	}
	s.step("delete")
	if err := removeAll(s.releases(), filepath.Base(litter)); err != nil {
		return fmt.Errorf("remove release %d: %w", number, err)
	}
	return nil
}
