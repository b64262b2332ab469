package dependencies

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// LockFiles are the names of the files that say which dependencies a build gets, in the app's directory. docs/recipe.md has the same list.
func LockFiles() []string {
	return []string{
		"Cargo.lock", "Gemfile.lock", "Pipfile.lock", "build.gradle", "build.gradle.kts", "bun.lock", "bun.lockb", "composer.lock", "deno.lock", "go.sum", "gradle.lockfile",
		"mix.lock", "npm-shrinkwrap.json", "package-lock.json", "packages.lock.json", "pdm.lock", "pnpm-lock.yaml", "poetry.lock", "pom.xml", "requirements.txt", "uv.lock", "yarn.lock",
	}
}

// Locks is a digest of the lock files in an app's directory, by their names and contents; "none" where there is none.
func Locks(app *os.Root) (string, error) {
	all := sha256.New()
	found := false
	for _, name := range slices.Sorted(slices.Values(LockFiles())) {
		sum, err := digestOf(app, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read the lock file %s: %w", name, err)
		}
		found = true
		fmt.Fprintf(all, "%s %s\n", name, sum)
	}
	if !found {
		return "none", nil
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// digestOf reads a file; what is none is not there.
func digestOf(app *os.Root, name string) (string, error) {
	info, err := app.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return "", err
	}
	f, err := app.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
