package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/config"
)

// looked is a cache in a directory, and a configuration that names it.
type looked struct {
	*testing.T
	dir, config string
}

func newLooked(t *testing.T) looked {
	t.Helper()
	l := looked{t, t.TempDir(), filepath.Join(t.TempDir(), "config.yaml")}
	text := "version: 1\napp: shop\nenv: prod\nregion: us-east-1\nsource: {url: https://example.com/shop.git}\nbalancer: {mode: none}\ncache: {url: \"file://" + l.dir + "\"}\n"
	if err := os.WriteFile(l.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

// keep keeps a release of a revision that is so many days old.
func (l looked) keep(letter string, days int) string {
	l.Helper()
	tree, revision := l.TempDir(), strings.Repeat(letter, 40)
	if err := os.WriteFile(filepath.Join(tree, "server"), []byte(letter), 0o755); err != nil {
		l.Fatal(err)
	}
	c, err := openCache(config.Config{App: "shop", Env: "prod", Cache: config.Cache{URL: "file://" + l.dir}}, "", nil, nil, l.TempDir())
	if err != nil {
		l.Fatal(err)
	}
	k, err := c.Keep(l.Context(), artifact.Wanted{Revision: revision, Home: "/x"}, artifact.Built{Instance: "i-0123456789", Release: 7, Revision: revision}, artifact.Packing{Dir: tree}, nil)
	if err != nil || k.Name == "" {
		l.Fatal(k, err)
	}
	at := time.Now().AddDate(0, 0, -days)
	err = filepath.WalkDir(filepath.Join(l.dir, filepath.Dir(k.Name)), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, at, at))
	})
	if err != nil {
		l.Fatal(err)
	}
	return k.Name
}

func (l looked) run(args ...string) (out string, code int) {
	l.Helper()
	var stdout, stderr bytes.Buffer
	code = run(l.Context(), append(append([]string{"cache"}, args...), "--config", l.config), &stdout, &stderr)
	return stdout.String() + stderr.String(), code
}

func TestTheCacheIsListedVerifiedAndPruned(t *testing.T) {
	t.Parallel()
	l := newLooked(t)
	if out, code := l.run("list"); code != 0 || !strings.Contains(out, "there are no artifacts") {
		t.Errorf("%d: %s", code, out)
	}
	ages := map[string]int{"a": 100, "b": 50, "c": 40, "d": 1}
	names := map[string]string{}
	for letter, days := range ages {
		names[letter] = l.keep(letter, days)
	}
	out, code := l.run("list")
	if code != 0 || strings.Count(out, "i-0123456789") != 4 || strings.Index(out, names["d"]) > strings.Index(out, names["a"]) {
		t.Errorf("%d: %s", code, out)
	}
	out, code = l.run("list", "--json")
	var all []artifact.Stored
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || len(all) != 4 || all[0].Manifest.Built.Release != 7 {
		t.Errorf("%d: %v %s", code, err, out)
	}
	if out, code := l.run("verify"); code != 0 || strings.Count(out, "good ") != 4 {
		t.Errorf("%d: %s", code, out)
	}
	for _, damage := range []struct{ name, says string }{{names["a"] + ".tar.zst", "the archive"}, {names["b"] + ".json", "its manifest can't be used"}} {
		path, old := filepath.Join(l.dir, damage.name), time.Now().AddDate(0, 0, -45)
		if err := errors.Join(os.WriteFile(path, []byte("rubbish"), 0o644), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
		if out, code := l.run("verify"); code != 1 || !strings.Contains(out, damage.says) {
			t.Errorf("%d: %s", code, out)
		}
	}
	if out, code := l.run("verify", "dddd"); code != 0 || strings.Count(out, "good ") != 1 {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := l.run("verify", "eeee"); code != 2 {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := l.run("prune", "--keep", "2", "--dry-run"); code != 0 || !strings.Contains(out, "would be removed: "+names["a"]) || strings.Contains(out, names["c"]) {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := l.run("prune", "--keep", "2"); code != 0 || !strings.Contains(out, "removed "+names["a"]) || !strings.Contains(out, "removed "+names["b"]) {
		t.Errorf("%d: %s", code, out)
	}
	if left, err := filepath.Glob(filepath.Join(l.dir, "shop", "prod", "*")); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
	if out, code := l.run("prune", "--keep", "0"); code != 2 {
		t.Errorf("%d: %s", code, out)
	}
}

func TestAFleetWithoutACacheHasNothingToLookAfter(t *testing.T) {
	t.Parallel()
	l := newLooked(t)
	text, err := os.ReadFile(l.config)
	if err == nil {
		text, _, _ = bytes.Cut(text, []byte("cache:"))
		err = os.WriteFile(l.config, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, code := l.run("list"); code != 2 || !strings.Contains(out, "cache.url") {
		t.Errorf("%d: %s", code, out)
	}
}

func TestWhatBuildsLeftIsListedAndPrunedAsThat(t *testing.T) {
	t.Parallel()
	l := newLooked(t)
	c, err := openCache(config.Config{App: "shop", Env: "prod", Cache: config.Cache{URL: "file://" + l.dir}}, "", nil, nil, l.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for lock, days := range map[string]int{"one": 100, "two": 90, "three": 80} {
		tree, revision := t.TempDir(), strings.Repeat("a", 40)
		if err := errors.Join(os.Mkdir(filepath.Join(tree, "deps"), 0o755), os.WriteFile(filepath.Join(tree, "deps", "file"), []byte(lock), 0o644)); err != nil {
			t.Fatal(err)
		}
		k, err := c.Keep(t.Context(), artifact.Dependencies(artifact.Inputs{artifact.InputDirectory: "deps", "locks": lock}),
			artifact.Built{Instance: "i-0123456789", Release: 7, Revision: revision}, artifact.Packing{Dir: tree, Only: "deps"}, nil)
		if err != nil || !strings.HasPrefix(k.Name, "shop/prod/dependencies-") {
			t.Fatal(k, err)
		}
		names[lock] = k.Name
		for _, end := range []string{".json", ".tar.zst"} {
			if err := os.Chtimes(filepath.Join(l.dir, k.Name+end), time.Now(), time.Now().AddDate(0, 0, -days)); err != nil {
				t.Fatal(err)
			}
		}
	}
	release := l.keep("b", 50)
	if out, code := l.run("list"); code != 0 || strings.Count(out, "what builds left in deps") != 3 || strings.Count(out, "  release  ") != 1 {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := l.run("verify"); code != 0 || strings.Count(out, "good ") != 4 {
		t.Errorf("%d: %s", code, out)
	}
	out, code := l.run("prune", "--keep", "1")
	if code != 0 || !strings.Contains(out, "removed "+names["one"]) || strings.Count(out, "removed ") != 1 {
		t.Errorf("%d: the oldest goes, and neither the two newest nor the release %s: %s", code, release, out)
	}
}
