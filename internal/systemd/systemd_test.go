package systemd

import (
	"fmt"
	"hash/fnv"
	"os"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/internal/unit/unittest"
)

func TestMain(m *testing.M) { os.Exit(unittest.Main(m)) }

// machine is what a test needs that drives a real systemd: it is skipped where systemd is not init, or this is not root. The
// tests in test/nspawn run this binary inside a machine that they have booted, where it must not be.
func machine(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/run/systemd/private"); err == nil && os.Geteuid() == 0 {
		return
	}
	if os.Getenv("BOOTAGENT_SYSTEMD") != "" {
		t.Fatal("BOOTAGENT_SYSTEMD says that this is a machine under systemd, and root: it is not")
	}
	t.Skip("SKIPPED: systemd is not this machine's init, or this is not root; test/nspawn runs this inside a machine of its own")
}

func newRunner(t testing.TB, dir string) *Runner {
	t.Helper()
	hash := fnv.New64a()
	fmt.Fprint(hash, dir)
	r, err := New(t.Context(), Options{Prefix: fmt.Sprintf("bootagent-t%x-", hash.Sum64()), Dir: dir, Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error("close the runner:", err)
		}
	})
	return r
}

func TestContract(t *testing.T) {
	machine(t)
	unittest.Contract(t, func(t testing.TB, dir string) unit.Runner { return newRunner(t, dir) })
}
