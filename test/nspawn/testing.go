package nspawn

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildPatience is for the image, the first time: the mirror may be slow.
const buildPatience = 15 * time.Minute

// Variable switches these tests on: `make e2e` sets it to 1, after it has installed what they need.
const Variable = "BOOTAGENT_E2E"

// Prepare gives a test the image, which it makes the first time. Without Variable the test is left out; with it, a host that can't
// boot machines is a failure.
func Prepare(t testing.TB) *Image {
	t.Helper()
	if os.Getenv(Variable) != "1" {
		t.Skip("LEFT OUT: it boots machines, which needs root and is what `make e2e` is for")
	}
	if err := Missing(); err != nil {
		t.Fatalf("no machine can be booted here: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildPatience)
	defer cancel()
	image, err := Build(ctx, cache(t))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Boot boots a machine for a test, which is closed when the test ends; one that fails prints the machine's journal. It is left out,
// or fails, as Prepare says.
func Boot(t testing.TB, o Options) *Machine {
	t.Helper()
	image := Prepare(t)
	began := time.Now()
	m, err := image.Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s at %s answered after %s", m.Name, m.Address, time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if t.Failed() {
			journal, err := m.Journal(ctx, "--lines=100")
			t.Logf("the journal of %s (%v):\n%s", m.Name, err, journal)
		}
		if err := m.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

// cache is where images are kept: BOOTAGENT_CACHE, or the module's .cache.
func cache(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("BOOTAGENT_CACHE"); dir != "" {
		return filepath.Join(dir, "nspawn")
	}
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal("find the module:", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), ".cache", "nspawn")
}
