// Package examples_test deploys the examples that have dependencies, from
// repositories that hold them as they are, over a region on this machine. What
// they depend on was fetched by setup.sh, which `make test` runs: a recipe that
// the test writes from the example's own tells npm and pip to look there and
// nowhere else.
package examples_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bootagent is the program, made once by TestMain.
var bootagent string

// memory is Linux's file system in memory, where there is one.
const memory = "/dev/shm"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	// Agents flush whole file systems, and so wait for whatever else writes to them. In memory a test does not depend on its
	// neighbors' disk.
	if info, err := os.Stat(memory); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", memory); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "bootagent-examples-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bootagent = filepath.Join(dir, "bootagent")
	if out, err := exec.Command("go", "build", "-o", bootagent, "../../cmd/bootagent").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
