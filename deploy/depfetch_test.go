package deploy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/model"
)

// another is another instance's state, with the same artifact cache.
func another(t *testing.T, src deploy.Source, dir string) *deploy.Machine {
	t.Helper()
	return cached(t, src, dir, func(o *deploy.Options) { o.InstanceID = "i-0another00" })
}

func TestAnotherInstanceBeginsWithWhatTheFirstLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &trees{of: map[string]map[string]string{rev("a"): revision("1", nil), rev("b"): revision("1", map[string]string{"more": ""})}}
	first := another(t, src, dir)
	lives(t, first, 1, "a")
	noProblem(t, first)
	second := cached(t, src, dir, nil)
	if got := foundBy(t, lives(t, second, 2, "b")); got != "of 1" {
		t.Errorf("it found %q", got)
	}
	noProblem(t, second)
	if kept, err := filepath.Glob(filepath.Join(dir, "shop", "prod", "dependencies-*", "*.json")); err != nil || len(kept) != 1 {
		t.Errorf("the cache has %v, %v", kept, err)
	}
	// What came from the artifact cache as a whole was not built, and begins with nothing.
	third := cached(t, &trees{}, dir, nil)
	lives(t, third, 3, "a")
	if _, err := os.Lstat(filepath.Join(third.StateDir, deploy.DependenciesName)); err == nil {
		t.Error("it kept what it has not built")
	}
}

func TestWhatIsWrongInTheCacheIsLeftAsideAndTheBuildRuns(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(archive string) error{
		"corrupt": func(archive string) error { return os.WriteFile(archive, []byte("rubbish"), 0o644) },
		"missing": os.Remove,
		"its manifest is": func(archive string) error {
			return os.WriteFile(strings.TrimSuffix(archive, ".tar.zst")+".json", []byte("{}"), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			src := &trees{of: map[string]map[string]string{rev("a"): revision("1", nil), rev("b"): revision("1", map[string]string{"more": ""})}}
			lives(t, another(t, src, dir), 1, "a")
			found, err := filepath.Glob(filepath.Join(dir, "shop", "prod", "dependencies-*", "0.tar.zst"))
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			if err := damage(found[0]); err != nil {
				t.Fatal(err)
			}
			second := cached(t, src, dir, nil)
			p := prepare(t, second, release(2, "b"))
			if got := foundBy(t, p); got != "nothing" {
				t.Errorf("it found %q", got)
			}
			if err := second.CacheProblem(); err == nil || !strings.Contains(err.Error(), "release 2 is built without what earlier builds left: node_modules: ") {
				t.Errorf("the problem is %v", err)
			}
			if name == "missing" {
				return
			}
			keep(t, second, 2) // the next generation
			third := another(t, &trees{of: map[string]map[string]string{rev("c"): revision("1", map[string]string{"most": ""})}}, dir)
			if got := foundBy(t, prepare(t, third, release(3, "c"))); got != "of 2" {
				t.Errorf("the third found %q", got)
			}
		})
	}
}

// ledger is the fleet's record of the right artifacts.
type ledger struct {
	mu      sync.Mutex
	entries map[string]artifact.Entry
}

func (l *ledger) Entry(_ context.Context, key string) (artifact.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[key], nil
}

func (l *ledger) Record(_ context.Context, key string, _, is artifact.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[key] = is
	return nil
}

func TestWhatTheFleetHasNotRecordedIsNotFilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &trees{of: map[string]map[string]string{rev("a"): revision("1", nil), rev("b"): revision("1", map[string]string{"more": ""})}}
	lives(t, another(t, src, dir), 1, "a") // by who can write the store, and not the records
	records := &ledger{entries: map[string]artifact.Entry{}}
	recorded := func(o *deploy.Options) {
		o.Cache = artifact.New(artifact.Options{Store: artifact.OpenDirectory(dir), Ledger: records, App: "shop", Env: "prod", Scratch: t.TempDir()})
	}
	second := machine(t, src, recorded)
	if got := foundBy(t, lives(t, second, 2, "b")); got != "nothing" {
		t.Errorf("it found %q", got)
	}
	third := machine(t, &trees{of: map[string]map[string]string{rev("c"): revision("1", map[string]string{"most": ""})}}, recorded)
	if got := foundBy(t, prepare(t, third, release(3, "c"))); got != "of 2" {
		t.Errorf("the third found %q, and not what is recorded", got)
	}
	for key := range records.entries {
		records.entries[key] = artifact.Entry{Digest: strings.Repeat("0", 64), Generation: records.entries[key].Generation}
	}
	fourth := machine(t, &trees{of: map[string]map[string]string{rev("c"): revision("1", map[string]string{"most": ""})}}, recorded)
	if got := foundBy(t, prepare(t, fourth, release(3, "c"))); got != "nothing" || fourth.CacheProblem() == nil {
		t.Errorf("the fourth found %q, with another manifest than the recorded one; the problem is %v", got, fourth.CacheProblem())
	}
}

// hanging is a store that answers when its context ends.
type hanging struct {
	artifact.Store
	asked func()
}

func (h hanging) List(ctx context.Context, prefix string) ([]model.Object, error) {
	if !strings.Contains(prefix, "/dependencies-") {
		return nil, nil
	}
	h.asked()
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestFillingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	m := machine(t, &trees{of: map[string]map[string]string{rev("a"): revision("1", nil)}}, func(o *deploy.Options) {
		o.Cache = artifact.New(artifact.Options{Store: hanging{asked: func() { cancel(errors.New("enough")) }}, App: "shop", Env: "prod", Scratch: t.TempDir()})
	})
	if _, err := m.Prepare(ctx, release(1, "a"), nil); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("the error is %v", err)
	}
	if len(onDisk(t, m)) != 0 || m.CacheProblem() != nil {
		t.Error("something was left, or the cache is to blame")
	}
}
