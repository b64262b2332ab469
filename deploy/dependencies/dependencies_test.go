package dependencies_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/dependencies"
)

// left is a tree with what a build left in deps.
func left(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	deps := filepath.Join(dir, "deps", "read-only")
	if err := errors.Join(os.MkdirAll(deps, 0o755), os.WriteFile(filepath.Join(deps, "file"), []byte(text), 0o444), os.Chmod(deps, 0o555),
		os.WriteFile(filepath.Join(dir, "beside"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(deps, 0o755) })
	return dir
}

func open(t *testing.T) (*dependencies.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dependencies")
	s, err := dependencies.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.Only() }) // with its read-only directories
	return s, dir
}

func TestACopyThatIsNotWholeIsNeverFound(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	d := dependencies.Directory{Path: "deps", Key: "key"}
	enough := errors.New("enough")
	calls := 0
	pause := func() error {
		if calls++; calls > 2 {
			return enough
		}
		return nil
	}
	if err := s.Save(t.Context(), d, 1, left(t, "one"), time.Now(), pause); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if err := s.Save(ctx, d, 1, left(t, "one"), time.Now(), nil); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if ok, err := s.Fill(t.Context(), d, filepath.Join(t.TempDir(), "to")); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

func TestTheNewestOfAKeyTakesTheOldOnesPlace(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	d := dependencies.Directory{Path: "deps", Key: "key"}
	for i, text := range []string{"one", "two"} {
		if err := s.Save(t.Context(), d, int64(i+1), left(t, text), time.Now(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if s.Has(d, 1) || !s.Has(d, 2) {
		t.Error("the old one is there, or the new one is not")
	}
	to := filepath.Join(t.TempDir(), "to")
	if ok, err := s.Fill(t.Context(), d, to); !ok || err != nil {
		t.Fatal(ok, err)
	}
	readOnly := filepath.Join(to, "deps", "read-only")
	t.Cleanup(func() { _ = os.Chmod(readOnly, 0o755) })
	if got, err := os.ReadFile(filepath.Join(readOnly, "file")); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(readOnly); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Lstat(filepath.Join(to, "beside")); err == nil {
		t.Error("what is beside was kept")
	}
	if removed, err := s.Only("deps"); removed || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	if removed, err := s.Only(); !removed || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}
