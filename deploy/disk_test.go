package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/deploy"
)

// smallDisk is a file system of its own, of that many MiB and files.
func smallDisk(t *testing.T, mib, files int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk: run this test as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,nr_inodes=%d", mib, files)); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// free is what a disk has left, in MiB.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize >> 20
}

// heavy is a source whose revisions weigh: bytes by revision.
type heavy struct {
	*trees
	weighs map[string]int
}

func (s heavy) Fetch(ctx context.Context, sha, dir string) error {
	if err := s.trees.Fetch(ctx, sha, dir); err != nil {
		return err
	}
	if n := s.weighs[sha]; n > 0 {
		if err := os.WriteFile(filepath.Join(dir, "weight"), make([]byte, n), 0o644); err != nil {
			return fmt.Errorf("fetch %s: %w: %w", sha, revisionError{errors.New("too large")}, err) // a source that blames the revision for it
		}
	}
	return nil
}

func TestAFullDiskIsNeverTheRevisionsFault(t *testing.T) {
	t.Parallel()
	const fill = "head -c 200000000 /dev/zero 2>/dev/null > big"
	built := func(run string) map[string]string {
		return map[string]string{"bootagent.yaml": fmt.Sprintf("version: 1\nprocesses: {web: x}\nbuild: {run: %q}\n", run)}
	}
	for _, c := range []struct {
		name  string
		tree  map[string]string
		bytes int
		files int
		other int // MiB that something else has on the disk when the build runs
		want  string
	}{
		{"the revision does not fit", map[string]string{"Procfile": "web: x\n"}, 100 << 20, 5000, 0, "no space left on device"},
		{"the build fills it", built(fill), 0, 5000, 0, "exited with code 1"},
		{"the build fills it and tidies up", built(fill + " || { sleep 0.5; rm big; exit 7; }"), 0, 5000, 0, "exited with code 7"},
		{"the build makes too many files", built("i=0; while [ $i -lt 600 ]; do i=$((i+1)); : > f$i || exit 5; done"), 0, 400, 0, "room for "},
		{"the build's log does not fit", built("head -c 3000000 /dev/zero | tr '\\0' x; echo; sleep 0.3; yes y | head -c 5000000"), 0, 5000, 46, "; its last lines:\n  | "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, 48, c.files)
			src := heavy{&trees{of: map[string]map[string]string{rev("a"): {"Procfile": "web: a\n"}, rev("b"): c.tree, rev("c"): {"Procfile": "web: c\n"}}},
				map[string]int{rev("a"): 1 << 20, rev("b"): c.bytes, rev("c"): 20 << 20}}
			m := machine(t, src, func(o *deploy.Options) { o.StateDir, o.FreeSpace = dir, 1<<20 })
			prepare(t, m, release(1, "a"))
			if err := m.Promote(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			before := free(t, dir)
			ballast := filepath.Join(dir, "ballast")
			if c.other > 0 {
				if err := os.WriteFile(ballast, make([]byte, (c.other-2)<<20), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := m.Prepare(t.Context(), release(2, "b"), nil)
			var full *deploy.FullError
			var bad *deploy.RevisionError
			if !errors.As(err, &full) || errors.As(err, &bad) {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{"the disk of " + dir + " was full, with ", " free", "make room there, lower keep_releases, or use a larger disk", c.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if d := cmp.Diff([]string{"1"}, onDisk(t, m)); d != "" {
				t.Error(d)
			}
			if err := os.Remove(ballast); err != nil && c.other > 0 {
				t.Fatal(err)
			}
			if after := free(t, dir); after < before-9 { // the log of a build, 8 MiB at most, stays
				t.Errorf("%d MiB were free, and %d are", before, after)
			}
			prepare(t, m, release(3, "c"))
			if err := m.Promote(t.Context(), 3); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestABuildThatFailsOnADiskWithRoomIsToBlame(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 64, 5000)
	m := machine(t, &trees{of: map[string]map[string]string{rev("a"): {"bootagent.yaml": "version: 1\nprocesses: {web: x}\nbuild: {run: 'echo No space left on device; exit 1'}\n"}}},
		func(o *deploy.Options) { o.StateDir = dir })
	_, err := m.Prepare(t.Context(), release(1, "a"), nil)
	var bad *deploy.RevisionError
	if !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
}

func TestOldReleasesGoFromADiskWithoutAByteOfRoom(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 16, 5000)
	src := heavy{&trees{of: map[string]map[string]string{}}, map[string]int{}}
	m := machine(t, src, func(o *deploy.Options) { o.StateDir, o.FreeSpace, o.KeepReleases = dir, 1<<20, 5 })
	for n := int64(1); n <= 4; n++ {
		letter := fmt.Sprint(n)
		src.of[rev(letter)], src.weighs[rev(letter)] = map[string]string{"Procfile": "web: x\n"}, 2<<20
		prepare(t, m, release(n, letter))
		if err := m.Promote(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "log"), make([]byte, 16<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	src.of[rev("5")], src.weighs[rev("5")] = map[string]string{"Procfile": "web: x\n"}, 2<<20
	prepare(t, m, release(5, "5"))
	if d := cmp.Diff([]string{"3", "4", "5"}, onDisk(t, m)); d != "" {
		t.Error(d)
	}
}
