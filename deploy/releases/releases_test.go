package releases

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/disk"
	"github.com/bootagent/bootagent/internal/model"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// TestMain lets this test binary be the process that is killed: see TestKilledAnywhereOnlyCompleteReleasesAreSeen.
func TestMain(m *testing.M) {
	if state := os.Getenv("RELEASES_TEST_STATE"); state != "" {
		at, err := strconv.Atoi(os.Getenv("RELEASES_TEST_KILL_AT"))
		if err == nil {
			err = life(state, at)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// In memory, where there is such a file system: a flush of a disk waits for what others write to it. What a flush is
	// worth is asked in powerloss_test.go, and not of a disk.
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", "/dev/shm"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// life is what a store sees: a second release takes over, a third is discarded, the first goes. At its at-th change
// of the disk the process is killed.
func life(state string, at int) error {
	s, err := openOn(disk.Disk{Watch: func(disk.Change) {
		if at--; at == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}}, state)
	if err != nil {
		return err
	}
	if _, err := add(s, 2); err != nil {
		return err
	}
	if err := s.Promote(2, noon); err != nil {
		return err
	}
	a, err := s.Begin(3)
	if err != nil {
		return err
	}
	return errors.Join(a.Discard(), s.Remove(1))
}

// add makes a complete release with a file in it, as a build leaves one.
func add(s *Store, number int64) (Release, error) {
	a, err := s.Begin(number)
	if err != nil {
		return Release{}, err
	}
	mod := filepath.Join(a.Home(), "go", "mod")
	if err := errors.Join(
		os.WriteFile(filepath.Join(a.App(), "server"), []byte(strconv.FormatInt(number, 10)), 0o755),
		os.WriteFile(filepath.Join(a.Tmp(), "x"), nil, 0o600),
		os.MkdirAll(mod, 0o755),
		os.WriteFile(filepath.Join(mod, "x"), nil, 0o444),
		os.Chmod(mod, 0o555), // as Go's module cache is
	); err != nil {
		return Release{}, err
	}
	return a.Commit(Release{
		Release:  model.Release{Number: number, Ref: "main", Revision: strings.Repeat("a", 40)},
		Prepared: noon,
		Recipe:   recipe.Recipe{Processes: []recipe.Process{{Name: "web", Run: recipe.Shell("./server"), Port: true}}},
	})
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustAdd(t *testing.T, s *Store, numbers ...int64) {
	t.Helper()
	for _, n := range numbers {
		if _, err := add(s, n); err != nil {
			t.Fatal(err)
		}
	}
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestAReleaseIsThereOnlyOnceItIsComplete(t *testing.T) {
	t.Parallel()
	s := open(t)
	a, err := s.Begin(10)
	if err != nil {
		t.Fatal(err)
	}
	if list, damaged, err := s.List(); err != nil || len(list)+len(damaged) != 0 {
		t.Fatalf("an attempt shows: %v %v %v", list, damaged, err)
	}
	if err := a.Discard(); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, 10, 9)
	list, damaged, err := s.List()
	if err != nil || len(damaged) != 0 || len(list) != 2 {
		t.Fatalf("%v %v %v", list, damaged, err)
	}
	if list[0].Release.Number != 9 || list[1].Release.Number != 10 {
		t.Errorf("not in order of number: %v", list)
	}
	if got, err := os.ReadFile(filepath.Join(list[1].Dir, "server")); err != nil || string(got) != "10" {
		t.Errorf("the app holds %q, %v", got, err)
	}
	if list[1].Recipe.Processes[0].Name != "web" || !list[1].Prepared.Equal(noon) || list[1].Promoted {
		t.Errorf("got %+v", list[1])
	}
	if d := cmp.Diff([]string{"10", "9"}, names(t, s.releases())); d != "" {
		t.Errorf("something was left behind: %s", d)
	}
	if d := cmp.Diff([]string{"10", "9"}, names(t, s.trees())); d != "" {
		t.Errorf("something was left behind: %s", d)
	}
	if d := cmp.Diff([]string{"app", "release.json"}, names(t, s.tree(10))); d != "" {
		t.Errorf("the build's home is in the release: %s", d)
	}
	if _, err := add(s, 10); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second release 10 gave %v", err)
	}
}

func TestCurrentMovesAndIsMarked(t *testing.T) {
	t.Parallel()
	s := open(t)
	if n, err := s.Current(); n != 0 || err != nil {
		t.Fatalf("a new store's current is %d, %v", n, err)
	}
	if err := s.Promote(1, noon); err == nil {
		t.Error("a release that is not there was promoted")
	}
	mustAdd(t, s, 1, 2)
	for _, n := range []int64{1, 2, 2, 1} {
		if err := s.Promote(n, noon); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Current(); got != n || err != nil {
			t.Errorf("current is %d, %v; want %d", got, err, n)
		}
		if got, err := os.ReadFile(filepath.Join(s.state, "current", "server")); err != nil || string(got) != strconv.FormatInt(n, 10) {
			t.Errorf("current/server is %q, %v", got, err)
		}
	}
	if list, _, err := s.List(); err != nil || !list[0].Promoted || !list[1].Promoted {
		t.Errorf("not marked: %+v, %v", list, err)
	}
	if err := errors.Join(os.Remove(filepath.Join(s.state, "current")), os.Symlink("/etc", filepath.Join(s.state, "current"))); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Current(); err == nil {
		t.Errorf("a current that names /etc is release %d", n)
	}
}

func TestWhatIsDamagedIsToldAndCanBeRemoved(t *testing.T) {
	t.Parallel()
	s := open(t)
	mustAdd(t, s, 1, 2, 3, 4, 5, 7, 8, 9)
	if err := errors.Join(
		os.Remove(filepath.Join(s.tree(1), recordName)),
		os.WriteFile(filepath.Join(s.tree(2), recordName), []byte(`{"schema": 2}`), 0o644),
		os.WriteFile(filepath.Join(s.tree(3), recordName), []byte(`{"schema": 1, "release": {"number": 3}, "subdirectory": "../../.."}`), 0o644),
		os.RemoveAll(filepath.Join(s.tree(4), "app")),
		os.Mkdir(filepath.Join(s.releases(), "06"), 0o755),
		os.Remove(s.name(7)),
		os.Symlink("../trees/5", s.name(7)),
		os.RemoveAll(s.tree(8)),
		os.Remove(s.name(9)),
		os.MkdirAll(filepath.Join(s.name(9), "app"), 0o755), // no link: an older layout
	); err != nil {
		t.Fatal(err)
	}
	list, damaged, err := s.List()
	if err != nil || len(list) != 1 || list[0].Release.Number != 5 {
		t.Fatalf("%v %v", list, err)
	}
	want := map[int64]string{1: "no such file", 2: "has schema 2, and this version of bootagent knows 1", 3: "does not belong to it", 4: "no such file",
		7: `names "../trees/5"`, 8: "no such file", 9: "invalid argument"}
	for _, d := range damaged {
		if want[d.Number] == "" || !strings.Contains(d.Err.Error(), want[d.Number]) {
			t.Errorf("%d: %v, want %q", d.Number, d.Err, want[d.Number])
		}
		delete(want, d.Number)
		if err := s.Remove(d.Number); err != nil {
			t.Error(err)
		}
	}
	if len(want) != 0 {
		t.Errorf("not told: %v", want)
	}
	if err := s.Remove(99); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	if d := cmp.Diff([]string{"06", "5"}, names(t, s.releases())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"5"}, names(t, s.trees())); d != "" {
		t.Error(d)
	}
}

func TestKilledAnywhereOnlyCompleteReleasesAreSeen(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for at := 1; ; at++ {
		state := t.TempDir()
		s, err := Open(state)
		if err != nil {
			t.Fatal(err)
		}
		mustAdd(t, s, 1)
		if err := s.Promote(1, noon); err != nil {
			t.Fatal(err)
		}
		child := exec.Command(self)
		child.Env = append(os.Environ(), "RELEASES_TEST_STATE="+state, fmt.Sprintf("RELEASES_TEST_KILL_AT=%d", at))
		out, err := child.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
			t.Fatalf("step %d: %v\n%s", at, err, out)
		}
		lived := err == nil

		check := func(when string) {
			list, damaged, err := s.List()
			if err != nil || len(damaged) != 0 {
				t.Fatalf("step %d, %s: %v %v", at, when, damaged, err)
			}
			var numbers []int64
			for _, r := range list {
				numbers = append(numbers, r.Release.Number)
				if got, err := os.ReadFile(filepath.Join(r.Dir, "server")); err != nil || string(got) != strconv.FormatInt(r.Release.Number, 10) {
					t.Errorf("step %d, %s: release %d holds %q, %v", at, when, r.Release.Number, got, err)
				}
			}
			current, err := s.Current()
			if err != nil || !slices.Contains(numbers, current) {
				t.Errorf("step %d, %s: current is %d of %v, %v", at, when, current, numbers, err)
			}
		}
		check("as the kill left it")
		if s, err = Open(state); err != nil {
			t.Fatalf("step %d: %v", at, err)
		}
		check("after the next start")
		named := names(t, s.releases())
		if d := cmp.Diff(named, names(t, s.trees())); d != "" {
			t.Errorf("step %d: trees and names differ: %s", at, d)
		}
		inside := names(t, s.state)
		for _, tree := range names(t, s.trees()) {
			inside = append(inside, names(t, filepath.Join(s.trees(), tree))...)
		}
		for _, name := range slices.Concat(named, inside) {
			if strings.HasPrefix(name, ".") {
				t.Errorf("step %d: %s is left behind", at, name)
			}
		}
		if lived {
			if at < 35 {
				t.Errorf("only %d steps were walked", at-1)
			}
			return
		}
	}
}

func TestAHalfRemovedReleaseIsNone(t *testing.T) {
	t.Parallel()
	s := open(t)
	mustAdd(t, s, 1)
	seen := false
	s.disk.Watch = func(c disk.Change) {
		if c.Op != disk.RemoveAll || filepath.Dir(c.Path) != s.trees() {
			return
		}
		// Not a file is gone yet, and it is no release any more.
		seen = true
		if _, err := os.Stat(filepath.Join(c.Path, "app", "server")); err != nil {
			t.Errorf("before the first file goes: %v", err)
		}
		if list, damaged, err := s.List(); err != nil || len(list)+len(damaged) != 0 || s.Has(1) {
			t.Errorf("before the first file goes: %v %v %v", list, damaged, err)
		}
	}
	if err := s.Remove(1); err != nil || !seen {
		t.Error(seen, err)
	}
}

func TestRemovalFollowsNoLinkAndOpensReadOnlyDirectories(t *testing.T) {
	t.Parallel()
	s, outside := open(t), t.TempDir()
	mustAdd(t, s, 1)
	if err := errors.Join(
		os.WriteFile(filepath.Join(outside, "keep"), nil, 0o644),
		os.Symlink(outside, filepath.Join(s.tree(1), "app", "link")),
		os.Mkdir(filepath.Join(s.tree(1), "app", "closed"), 0o755),
		os.Symlink(outside, filepath.Join(s.tree(1), "app", "closed", "link")),
		os.Chmod(filepath.Join(s.tree(1), "app", "closed"), 0o000),
		s.Remove(1),
	); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"keep"}, names(t, outside)); d != "" {
		t.Error(d)
	}
	if got := slices.Concat(names(t, s.releases()), names(t, s.trees())); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// As root nothing is read-only, so this walks the same life as another user.
func TestAnUnprivilegedAgentRemovesReadOnlyDirectoriesToo(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "releases-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	copied := filepath.Join(dir, "life")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(copied, binary, 0o755), os.Mkdir(filepath.Join(dir, "state"), 0o755)); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(copied)
	child.Env = append(os.Environ(), "RELEASES_TEST_STATE="+filepath.Join(dir, "state"), "RELEASES_TEST_KILL_AT=0")
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := os.Chown(filepath.Join(dir, "state"), nobody, nobody); err != nil {
			t.Fatal(err)
		}
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if d := cmp.Diff([]string{"2"}, names(t, filepath.Join(dir, "state", "releases"))); d != "" {
		t.Error(d)
	}
}

func TestWhatRetentionRemoves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		list    string // p: was in service
		current int64
		used    []int64
		keep    int
		want    []int64
	}{
		{"keeps five that were in service", "1p 2p 3p 4p 5p 6p 7p", 7, nil, 5, []int64{1, 2}},
		{"failed ones push no good one out", "1p 2p 3 4 5 6 7 8p", 8, nil, 3, []int64{3, 4, 5, 6}},
		{"the current is old", "1p 2p 3p 4p", 1, nil, 1, []int64{2, 3}},
		{"the previous good is kept", "1p 2p 3 4p", 4, nil, 1, []int64{1}},
		{"one in use is kept", "1p 2 3p 4p", 4, []int64{1, 2}, 1, nil},
		{"the newest that never served is kept", "1p 2p 3 4", 2, nil, 5, []int64{3}},
		{"nothing current yet", "1 2 3", 0, nil, 5, []int64{1, 2}},
		{"nothing", "", 0, nil, 5, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var list []Release
			for _, f := range strings.Fields(c.list) {
				n, err := strconv.ParseInt(strings.TrimSuffix(f, "p"), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, Release{Release: model.Release{Number: n}, Promoted: strings.HasSuffix(f, "p")})
			}
			got := Expired(list, c.current, func(n int64) bool { return slices.Contains(c.used, n) }, c.keep)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRetentionNeverRemovesWhatIsNeeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var list []Release
		used := map[int64]bool{}
		for n := range int64(rapid.IntRange(0, 30).Draw(t, "releases")) {
			if rapid.Bool().Draw(t, "there") {
				list = append(list, Release{Release: model.Release{Number: n + 1}, Promoted: rapid.Bool().Draw(t, "promoted")})
				used[n+1] = rapid.IntRange(0, 4).Draw(t, "used") == 0
			}
		}
		keep := rapid.IntRange(1, 8).Draw(t, "keep")
		var current, previous int64
		var good []int64
		for _, r := range list {
			if r.Promoted {
				good = append(good, r.Release.Number)
			}
		}
		if len(good) > 0 {
			current = rapid.SampledFrom(good).Draw(t, "current")
			if i := slices.Index(good, current); i > 0 {
				previous = good[i-1]
			}
		}
		gone := Expired(list, current, func(n int64) bool { return used[n] }, keep)
		for _, n := range gone {
			if n == current || n == previous || used[n] {
				t.Fatalf("release %d goes; current %d, previous %d", n, current, previous)
			}
		}
		for _, n := range good[max(0, len(good)-keep):] {
			if slices.Contains(gone, n) {
				t.Fatalf("release %d goes, and is one of the newest %d good ones of %v", n, keep, good)
			}
		}
		// What stays is bounded: keep, the current, the previous good, the newest that never served, and what is in use.
		bound := keep + 3
		for _, r := range list {
			if used[r.Release.Number] {
				bound++
			}
		}
		if left := len(list) - len(gone); left > bound {
			t.Fatalf("%d releases stay, %d may", left, bound)
		}
	})
}
