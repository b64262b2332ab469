package dependencies_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/deploy/dependencies"
)

func locks(t *testing.T, dir string) string {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	digest, err := dependencies.Locks(root)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestLockFilesAreKnownByNameAndContent(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, writes := range map[string]func(dir string) error{
		"none": func(string) error { return nil },
		"package-lock": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "package-lock.json"), []byte("1"), 0o644)
		},
		"another content": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "package-lock.json"), []byte("2"), 0o644)
		},
		"another name": func(dir string) error { return os.WriteFile(filepath.Join(dir, "yarn.lock"), []byte("1"), 0o644) },
		"empty":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "yarn.lock"), nil, 0o644) },
		"a link to another": func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "locked"), []byte("3"), 0o644), os.Symlink("locked", filepath.Join(dir, "yarn.lock")))
		},
	} {
		dir := t.TempDir()
		if err := writes(dir); err != nil {
			t.Fatal(err)
		}
		digest := locks(t, dir)
		if other, twice := seen[digest]; twice {
			t.Errorf("%s is the same as %s", name, other)
		}
		seen[digest] = name
	}
	if seen["none"] != "none" {
		t.Error(seen)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "go.sum"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := locks(t, dir); got != "none" {
		t.Errorf("a directory is a lock file: %s", got)
	}
}

func TestTheDocumentationHasTheLockFiles(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/recipe.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range dependencies.LockFiles() {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/recipe.md does not name %s", name)
		}
	}
}
