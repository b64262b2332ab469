package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/artifact"
)

// built makes a tree as builds leave them.
func built(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	for _, d := range []string{"", "lib", "lib/deep", "empty", "node_modules/.bin", "venv/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]fs.FileMode{"server": 0o755, "lib/a": 0o644, "lib/deep/secret": 0o600, "lib/" + strings.Repeat("long", 50): 0o444, "lib/ü": 0o640} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("this is "+name), 0o600), os.Chmod(path, mode), os.Chtimes(path, time.Time{}, time.Unix(1700000000, 0))); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"node_modules/.bin/run": "../../server", "lib/self": "../lib/a", "venv/bin/python3": "/usr/bin/python3", "broken": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "lib/deep"), 0o550); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "lib/deep"), 0o755) })
	return dir
}

// inventory is all that a tree is: by path, what stands there.
func inventory(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + to
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %s", info.ModTime().Unix(), data)
		}
		name, err := filepath.Rel(dir, path)
		all[name] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// packed is a tree's archive and its manifest.
func packed(t testing.TB, dir string) ([]byte, artifact.Manifest) {
	t.Helper()
	var out bytes.Buffer
	p, err := artifact.Pack(context.Background(), artifact.Packing{Dir: dir}, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), artifact.Manifest{Schema: artifact.Schema, Key: "key", Archive: p.Archive, Content: p.Content}
}

func nothingIn(t testing.TB, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		t.Errorf("%s was left", entries[0].Name())
	}
}

func TestWhatWasPackedIsUnpackedToTheByteModeAndLink(t *testing.T) {
	t.Parallel()
	dir := built(t)
	data, m := packed(t, dir)
	to := filepath.Join(t.TempDir(), "app")
	if err := artifact.Unpack(t.Context(), io.NopCloser(bytes.NewReader(data)), m, to, artifact.Limits{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(inventory(t, dir), inventory(t, to)); d != "" {
		t.Error(d)
	}
	again, m2 := packed(t, to)
	if !bytes.Equal(data, again) || m.Archive.SHA256 != m2.Archive.SHA256 || m.Content != m2.Content {
		t.Error("the same tree elsewhere is another archive")
	}
	if err := os.Chmod(filepath.Join(to, "lib/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
}
