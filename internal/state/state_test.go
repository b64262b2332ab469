package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/state"
)

type doc struct{ N int }

func TestWhatWasSavedIsLoaded(t *testing.T) {
	t.Parallel()
	f := state.At[doc](filepath.Join(t.TempDir(), "memory.json"))
	if got, err := f.Load(); err != nil || got != (doc{}) {
		t.Fatalf("no file yet: got %v, %v; want the zero value", got, err)
	}
	for n := range 3 {
		if err := f.Save(doc{N: n}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := f.Load(); err != nil || got.N != 2 {
		t.Fatalf("got %v, %v; want the last one saved", got, err)
	}
}

func TestASaveLeavesNothingBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := state.At[doc](filepath.Join(dir, "memory.json"))
	if err := f.Save(doc{N: 1}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %v, %v; want the file alone", entries, err)
	}
}

func TestAFileThatCannotBeDecodedIsSaidAndKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "memory.json")
	if err := os.WriteFile(path, []byte(`{"N": 1`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := state.At[doc](path)
	if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v; want an error that names the file", err)
	}
	if kept, err := os.ReadFile(path + ".unreadable"); err != nil || string(kept) != `{"N": 1` {
		t.Fatalf("got %q, %v; want what was there", kept, err)
	}
	if got, err := f.Load(); err != nil || got != (doc{}) {
		t.Fatalf("got %v, %v; want to start anew", got, err)
	}
}

func TestAFullOrMissingDirectoryIsAnErrorThatNamesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gone", "memory.json")
	if err := state.At[doc](path).Save(doc{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v; want an error that names %s", err, path)
	}
}
