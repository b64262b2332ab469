package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// app is a copy of an example in a git repository of its own.
type app struct {
	dir   string // the repository
	cache string // Go's build cache, which the demo's instances share
}

// newApp copies the example into a new repository and warms the build cache.
func newApp(ctx context.Context, example string) (_ *app, err error) {
	dir, err := os.MkdirTemp("", "bootagent-demo-")
	if err != nil {
		return nil, err
	}
	a := &app{dir: filepath.Join(dir, "hello"), cache: filepath.Join(dir, "cache")}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.remove())
		}
	}()
	if err := os.CopyFS(a.dir, os.DirFS(example)); err != nil {
		return nil, err
	}
	recipe := filepath.Join(a.dir, "bootagent.yaml")
	text, err := os.ReadFile(recipe)
	if err != nil {
		return nil, err
	}
	// An instance builds in a home of its own. Three of them on one laptop would each compile Go's standard library first.
	const place = "    CGO_ENABLED: \"0\"\n"
	shared := strings.Replace(string(text), place, place+"    GOCACHE: "+a.cache+"   # of the demo: shared by its instances\n", 1)
	if shared == string(text) {
		return nil, fmt.Errorf("%s has no line %q after which the demo could name its build cache", recipe, place)
	}
	if err := os.WriteFile(recipe, []byte(shared), 0o644); err != nil {
		return nil, err
	}
	fmt.Println("demo: compiling the app once, so that its instances find Go's standard library compiled")
	build := exec.CommandContext(ctx, "go", "build", "-o", os.DevNull, ".")
	build.Dir = a.dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off", "GOCACHE="+a.cache)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the app: %w: %s", err, out)
	}
	return a, a.git(ctx, "init", "--quiet", "--initial-branch", "main")
}

// unwell lets the app's health fail so long after its start, from the next release on.
func (a *app) unwell(after string) error {
	recipe := filepath.Join(a.dir, "bootagent.yaml")
	text, err := os.ReadFile(recipe)
	if err != nil {
		return err
	}
	const place = "  GREETING: Hello\n"
	changed := strings.Replace(string(text), place, place+"  UNWELL_AFTER: "+after+"\n", 1)
	if changed == string(text) {
		return fmt.Errorf("%s has no line %q after which the demo could make the app unwell", recipe, place)
	}
	return os.WriteFile(recipe, []byte(changed), 0o644)
}

// release commits the app with that version, and tags the commit.
func (a *app) release(ctx context.Context, version, tag string) error {
	if err := os.WriteFile(filepath.Join(a.dir, "VERSION"), []byte(version+"\n"), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "-m", "Release " + tag}, {"tag", tag}} {
		if err := a.git(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) git(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, "git", append([]string{"-C", a.dir, "-c", "user.name=demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgsign=false"}, args...)...)
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return nil
}

func (a *app) remove() error { return os.RemoveAll(filepath.Dir(a.dir)) }
