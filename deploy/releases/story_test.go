package releases

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/disk"
	"github.com/bootagent/bootagent/internal/disk/disktest"
	"github.com/bootagent/bootagent/internal/model"
)

// truth is what must be on the disk when a call has returned.
type truth struct {
	at      int // so many changes were made by then
	current int64
	list    []int64
}

// story is a life of a store that is recorded.
type story struct {
	dir    string
	record *disktest.Recorder
	// kill ends the process after so many changes that others rely on, by a panic with killed; negative is never.
	kill   int
	store  *Store
	truths []truth
}

type killed struct{}

func begin(t *testing.T) *story {
	t.Helper()
	y := &story{dir: t.TempDir(), kill: -1}
	y.record = disktest.Record(y.dir)
	if err := y.open(); err != nil {
		t.Fatal(err)
	}
	return y
}

func (y *story) watch(c disk.Change) {
	if y.kill == 0 {
		panic(killed{})
	}
	if y.record.Watch(c); y.kill > 0 && (c.Op == disk.Rename || c.Op == disk.Symlink || disktest.IsSync(c)) {
		y.kill--
	}
}

// open opens the store. What it shows from then on is the truth.
func (y *story) open() (err error) {
	if y.store, err = openOn(disk.Disk{Watch: y.watch}, y.dir); err != nil {
		return err
	}
	seen := truth{}
	list, damaged, err := y.store.List()
	if err != nil || len(damaged) > 0 {
		return fmt.Errorf("%v %w", damaged, err)
	}
	for _, r := range list {
		seen.list = append(seen.list, r.Release.Number)
	}
	seen.current, err = y.store.Current()
	y.holds(seen)
	return err
}

func (y *story) holds(now truth) {
	now.at = y.record.Len()
	y.truths = append(y.truths, now)
}

func (y *story) now() truth { return y.truths[len(y.truths)-1] }

// add builds a release as builds do: nothing of what they write is flushed.
func (y *story) add(number int64) error {
	a, err := y.store.Begin(number)
	if err != nil {
		return err
	}
	d := y.store.disk
	if err := errors.Join(
		d.Put(filepath.Join(a.App(), "server"), fmt.Appendf(nil, "server %d", number), 0o755),
		d.Mkdir(filepath.Join(a.App(), "lib"), 0o755),
		d.Symlink("../server", filepath.Join(a.App(), "lib", "self")),
	); err != nil {
		return err
	}
	_, err = a.Commit(Release{
		Release:  model.Release{Number: number, Ref: "main", Revision: strings.Repeat("a", 40)},
		Prepared: noon,
		Recipe:   recipe.Recipe{Processes: []recipe.Process{{Name: "web", Run: recipe.Shell("./server"), Port: true}}},
	})
	if err != nil {
		return err
	}
	next := y.now()
	next.list = append(slices.Clone(next.list), number)
	slices.Sort(next.list)
	y.holds(next)
	return nil
}

func (y *story) promote(number int64) error {
	if err := y.store.Promote(number, noon); err != nil {
		return err
	}
	next := y.now()
	next.current = number
	y.holds(next)
	return nil
}

func (y *story) discard(number int64) error {
	a, err := y.store.Begin(number)
	if err != nil {
		return err
	}
	return errors.Join(y.store.disk.Put(filepath.Join(a.App(), "half"), []byte("half"), 0o644), a.Discard())
}

func (y *story) remove(number int64) error {
	if err := y.store.Remove(number); err != nil {
		return err
	}
	next := y.now()
	next.list = slices.DeleteFunc(slices.Clone(next.list), func(n int64) bool { return n == number })
	y.holds(next)
	return nil
}

// around gives what held before the call of a moment, and what held once it had returned; between two calls that is the same.
func around(truths []truth, done int) (before, after truth) {
	n := slices.IndexFunc(truths, func(x truth) bool { return x.at > done })
	switch {
	case n == 0:
		return truth{}, truths[0]
	case n < 0:
		n = len(truths)
	}
	before = truths[n-1]
	if n == len(truths) || before.at == done {
		return before, before
	}
	return before, truths[n]
}

// replay is how a story's disks are checked.
func replay(truths *[]truth) *disktest.Replay {
	return &disktest.Replay{
		Demand: func(done int) string {
			before, after := around(*truths, done)
			return fmt.Sprint(before.current, before.list, after.current, after.list)
		},
		Check: func(dir string, done int) error {
			before, after := around(*truths, done)
			if _, err := os.Lstat(filepath.Join(dir, releasesName)); err == nil {
				if err := right(&Store{state: dir}, before, after); err != nil {
					return fmt.Errorf("as it was found: %w", err)
				}
			}
			s, err := Open(dir)
			if err != nil {
				return err
			}
			if err := right(s, before, after); err != nil {
				return fmt.Errorf("after the next start: %w", err)
			}
			return tidy(s)
		},
	}
}

// right says whether a store holds what it must, and nothing but what it may.
func right(s *Store, before, after truth) error {
	list, damaged, err := s.List()
	if err != nil || len(damaged) > 0 {
		return fmt.Errorf("damaged: %v, %w", damaged, err)
	}
	promoted := map[int64]bool{}
	var numbers []int64
	for _, r := range list {
		n := r.Release.Number
		numbers = append(numbers, n)
		promoted[n] = r.Promoted
		if !slices.Contains(before.list, n) && !slices.Contains(after.list, n) {
			return fmt.Errorf("release %d is there, which should not be", n)
		}
		if err := whole(r, n); err != nil {
			return fmt.Errorf("release %d: %w", n, err)
		}
	}
	for _, n := range before.list {
		if slices.Contains(after.list, n) && !slices.Contains(numbers, n) {
			return fmt.Errorf("release %d is gone", n)
		}
	}
	current, err := s.Current()
	switch {
	case err != nil:
		return err
	case current != before.current && current != after.current:
		return fmt.Errorf("current is %d", current)
	case current == 0:
		return nil
	case !slices.Contains(numbers, current):
		return fmt.Errorf("current is %d, which is not there", current)
	case !promoted[current]:
		return fmt.Errorf("current is %d, which has no mark", current)
	}
	if got, err := os.ReadFile(filepath.Join(s.state, currentName, "lib", "self")); err != nil || string(got) != fmt.Sprintf("server %d", current) {
		return fmt.Errorf("through current: %q, %w", got, err)
	}
	mark, err := os.ReadFile(filepath.Join(s.tree(current), promotedName))
	if err != nil {
		return err
	}
	_, err = time.Parse(time.RFC3339, strings.TrimSpace(string(mark)))
	return err
}

// whole says whether a release is all that was built.
func whole(r Release, number int64) error {
	got, err := os.ReadFile(filepath.Join(r.Dir, "server"))
	if err != nil || string(got) != fmt.Sprintf("server %d", number) {
		return fmt.Errorf("its server is %q, %w", got, err)
	}
	if to, err := os.Readlink(filepath.Join(r.Dir, "lib", "self")); err != nil || to != "../server" {
		return fmt.Errorf("its link names %q, %w", to, err)
	}
	if !r.Prepared.Equal(noon) || len(r.Recipe.Processes) != 1 {
		return fmt.Errorf("its record is %+v", r)
	}
	return nil
}

// tidy says whether an opened store holds its releases and nothing else.
func tidy(s *Store) error {
	var found [2][]string
	for i, dir := range []string{s.releases(), s.trees()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			found[i] = append(found[i], e.Name())
		}
	}
	if !slices.Equal(found[0], found[1]) {
		return fmt.Errorf("these are named: %v; these are there: %v", found[0], found[1])
	}
	entries, err := os.ReadDir(s.state)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("%s was left", e.Name())
		}
	}
	for _, name := range found[1] {
		files, err := os.ReadDir(filepath.Join(s.trees(), name))
		if err != nil {
			return err
		}
		for _, f := range files {
			if !slices.Contains([]string{appName, recordName, promotedName}, f.Name()) {
				return fmt.Errorf("release %s has %s", name, f.Name())
			}
		}
	}
	return err
}
