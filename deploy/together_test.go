package deploy_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/artifact"
)

// memory is a fleet's records, in memory.
type memory struct {
	mu      sync.Mutex
	entries map[string]artifact.Entry
}

func (l *memory) Entry(_ context.Context, key string) (artifact.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[key], nil
}

func (l *memory) Record(_ context.Context, key string, was, is artifact.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries[key] != was {
		return fs.ErrExist
	}
	l.entries[key] = is
	return nil
}

func TestAgentsThatKeepAndFindTheSameAtTheSameTimeAllServeIt(t *testing.T) {
	t.Parallel()
	store, l, src := t.TempDir(), &memory{entries: map[string]artifact.Entry{}}, shop()
	open := func(src deploy.Source) *deploy.Machine {
		return machine(t, src, func(o *deploy.Options) {
			o.Cache = artifact.New(artifact.Options{Store: artifact.OpenDirectory(store), Ledger: l, App: "shop", Env: "prod", Scratch: o.StateDir})
		})
	}
	var all []*deploy.Machine
	for range 4 {
		all = append(all, open(src))
	}
	var work sync.WaitGroup
	for _, m := range all {
		work.Go(func() {
			for n := int64(7); n < 9; n++ { // the second finds what the first has kept, or what another is keeping
				p, err := m.Prepare(t.Context(), release(n, "a"), nil)
				if err == nil {
					err = m.Keep(t.Context(), n)
				}
				if err != nil || m.CacheProblem() != nil {
					t.Errorf("release %d: %v, %v", n, err, m.CacheProblem())
					return
				}
				if read(t, filepath.Join(p.Dir, "lib", "bin")) != "hello" || read(t, filepath.Join(p.Dir, "log")) != "built\n" {
					t.Error("it is another tree")
				}
			}
		})
	}
	work.Wait()
	if len(l.entries) != 1 {
		t.Errorf("recorded: %v", l.entries)
	}
	none := &trees{}
	prepare(t, open(none), release(7, "a"))
	if none.fetched.Load() != 0 {
		t.Error("a later one does not find it")
	}
}
