// Package contract holds the region to third parties: the same stories are told
// to it and to moto, and the stock AWS CLI drives it. Both are Python.
package contract

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// python returns a Python that can import the module, or says which were tried.
// BOOTAGENT_PYTHON is taken as it is, then comes what make test sets up, then
// whatever the machine has.
func python(module string) (string, error) {
	candidates := []string{"python3"}
	if root, err := moduleRoot(); err == nil {
		candidates = append([]string{filepath.Join(root, ".cache", "venv", "bin", "python")}, candidates...)
	}
	if chosen := os.Getenv("BOOTAGENT_PYTHON"); chosen != "" {
		candidates = []string{chosen}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, candidate := range candidates {
		// find_spec looks for the module without importing it: importing costs a second.
		probe := fmt.Sprintf("import importlib.util, sys; sys.exit(importlib.util.find_spec(%q) is None)", module)
		if exec.CommandContext(ctx, candidate, "-c", probe).Run() == nil {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("no Python that can import %s (tried %v): run make test, which sets one up, or set BOOTAGENT_PYTHON", module, candidates)
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		err = fmt.Errorf("no go.mod above %s", dir)
	}
	return "", err
}

// leaveOut skips a test whose tool is missing, loudly, and fails it in CI.
func leaveOut(t *testing.T, what string, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s can't be tested, and CI=true leaves nothing out: %v", what, why)
	}
	t.Skipf("LEFT OUT: %s: %v", what, why)
}
