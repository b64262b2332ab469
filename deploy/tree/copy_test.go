package tree_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/tree"
)

// copyOf is a step that copies a file.
func copyOf(from, name string) step {
	return func(w *tree.Writer) error {
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		return errors.Join(w.Copy(context.Background(), name, f), f.Close())
	}
}

func TestACopyIsTheFileAndSharesNothingWithIt(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_600_000_000, 123_456_000)
	for name, body := range map[string][]byte{"empty": nil, "small": []byte("hello"), "large": bytes.Repeat([]byte("0123456789abcdef"), 200_000)} {
		from, dir := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), "tree")
		if err := errors.Join(os.WriteFile(from, body, 0o600), os.Chmod(from, 0o4775), os.Chtimes(from, time.Time{}, at)); err != nil {
			t.Fatal(err)
		}
		if err := write(t, dir, tree.Limits{}, copyOf(from, "a/copy")); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, "a", "copy")
		info, err := os.Stat(to)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o755 || !info.ModTime().Equal(at) {
			t.Errorf("%s is %v of %v", name, info.Mode(), info.ModTime())
		}
		if err := os.WriteFile(from, []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s has %d bytes, %v", name, len(got), err)
		}
	}
}

func TestACopyIsBoundedAndReplacesNothing(t *testing.T) {
	t.Parallel()
	from := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(from, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	var limit *tree.LimitError
	if err := write(t, filepath.Join(t.TempDir(), "tree"), tree.Limits{FileBytes: 4}, copyOf(from, "a")); !errors.As(err, &limit) {
		t.Errorf("of one that is too large: %v", err)
	}
	if err := write(t, filepath.Join(t.TempDir(), "tree"), tree.Limits{Bytes: 8}, copyOf(from, "a"), copyOf(from, "b")); !errors.As(err, &limit) {
		t.Errorf("of two that are: %v", err)
	}
	var hostile *tree.HostileError
	for name, steps := range map[string][]step{
		"twice": {copyOf(from, "a"), copyOf(from, "a")}, "out": {copyOf(from, "../a")}, "through a link": {link("a", "b"), copyOf(from, "a/b")},
		"a directory": {copyOf(t.TempDir(), "a")},
	} {
		if err := write(t, filepath.Join(t.TempDir(), "tree"), tree.Limits{}, steps...); !errors.As(err, &hostile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
