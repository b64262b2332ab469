package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/bootagent/bootagent/internal/disk"
)

// TestMain runs everything under a mean umask: modes must not depend on it.
func TestMain(m *testing.M) {
	syscall.Umask(0o077)
	os.Exit(m.Run())
}

func TestAFileTakesTheNamesPlaceAndFollowsNoLink(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(disk.Disk, string, []byte, fs.FileMode) error{"Put": disk.Disk.Put, "Replace": disk.Disk.Replace} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, path := t.TempDir(), ""
			outside := filepath.Join(dir, "outside")
			path = filepath.Join(dir, "record")
			if err := errors.Join(
				os.WriteFile(outside, []byte("theirs"), 0o600),
				os.Symlink(outside, path),
				os.Symlink(outside, filepath.Join(dir, ".record-new")), // what a build may have laid in our way
				put(disk.Disk{}, path, []byte("ours"), 0o644),
			); err != nil {
				t.Fatal(err)
			}
			for at, want := range map[string]string{outside: "theirs", path: "ours"} {
				if got, err := os.ReadFile(at); err != nil || string(got) != want {
					t.Errorf("%s holds %q, %v", at, got, err)
				}
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o644 {
				t.Errorf("its mode is %v, %v", info.Mode(), err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
				t.Errorf("there are %v, %v", left, err)
			}
		})
	}
}

func TestEachChangeIsToldJustBeforeItIsMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told []disk.Op
	d := disk.Disk{Watch: func(c disk.Change) {
		told = append(told, c.Op)
		_, err := os.Lstat(c.Path)
		switch made := err == nil; c.Op {
		case disk.Mkdir, disk.Create, disk.Symlink:
			if made {
				t.Errorf("%s %s is told too late", c.Op, c.Path)
			}
		default:
			if !made {
				t.Errorf("%s %s is told too late", c.Op, c.Path)
			}
		}
	}}
	sub := filepath.Join(dir, "sub")
	if err := errors.Join(
		d.Mkdir(sub, 0o750),
		d.Replace(filepath.Join(sub, "a"), []byte("a"), 0o600),
		d.Symlink("a", filepath.Join(sub, "link")),
		d.Rename(filepath.Join(sub, "link"), filepath.Join(sub, "b")),
		d.Remove(filepath.Join(sub, "b")),
		d.SyncTree(dir),
		d.RemoveAll(dir, "sub"),
	); err != nil {
		t.Fatal(err)
	}
	want := []disk.Op{disk.Mkdir, disk.Create, disk.Write, disk.SyncFile, disk.Rename, disk.SyncDir, disk.Symlink, disk.Rename, disk.Remove, disk.SyncTree, disk.RemoveAll}
	if !slices.Equal(told, want) {
		t.Errorf("told were %v", told)
	}
}
