package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/deploy/releases"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
)

// caching is what a Machine knows of its cache.
type caching struct {
	mu      sync.Mutex
	problem error
}

// CacheProblem is what was wrong with the artifact cache, or with what builds leave for the next ones, when it was used last; nil where
// nothing was. It never keeps a release from being prepared.
func (m *Machine) CacheProblem() error {
	m.caching.mu.Lock()
	defer m.caching.mu.Unlock()
	return inOne(m.caching.problem, m.carried.get())
}

func (m *Machine) noteCache(err error) {
	m.caching.mu.Lock()
	defer m.caching.mu.Unlock()
	m.caching.problem = err
}

// Warm opens the connection to the artifact cache, and reads what of this machine is in every key, so that a release finds both ready.
func (m *Machine) Warm(ctx context.Context) {
	if m.Cache == nil {
		return
	}
	var ready sync.WaitGroup
	ready.Go(func() { _, _ = artifact.Machine(m.Etc, m.Path) })
	ready.Go(func() { m.Cache.Warm(ctx) })
	ready.Wait()
}

// made is what fetching and building, or unpacking, has brought beside the tree.
type made struct {
	recipe  recipe.Recipe
	brought []string
	digest  string // of the artifact's manifest, where it came from the cache
	carried *releases.Dependencies
}

// fromCache brings the release as another instance built it. It is false where that can't be had, for whatever reason: then the attempt is as
// empty as before, and the release is fetched and built. An error is Authentic's alone.
func (m *Machine) fromCache(ctx context.Context, rel model.Release, a *releases.Attempt, spans *timeline.Spans) (c made, ok bool, err error) {
	if m.Cache == nil {
		return made{}, false, nil
	}
	end := m.phase("cache", rel, spans)
	c, err = m.tryCache(ctx, rel, a, spans)
	var refused *refusedError
	switch {
	case err == nil:
		end(nil)
		m.noteCache(nil)
		return c, true, nil
	case errors.Is(err, artifact.ErrMiss):
		end(nil)
		m.noteCache(nil)
		m.log.Info("nobody has built this release for such an instance yet: it is built here", zap.Int64("release", rel.Number), zap.NamedError("cache", err))
		return made{}, false, nil
	}
	end(err)
	if cleared := a.Clear(); cleared != nil {
		return made{}, false, cleared
	}
	switch {
	case ctx.Err() != nil:
		return made{}, false, fmt.Errorf("prepare %s: %w", rel, context.Cause(ctx))
	case errors.As(err, &refused):
		return made{}, false, refused.err
	}
	m.noteCache(fmt.Errorf("the artifact cache was of no use, and release %d is built here: %w", rel.Number, err))
	return made{}, false, nil
}

// refusedError is Authentic's no.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }

func (m *Machine) tryCache(ctx context.Context, rel model.Release, a *releases.Attempt, spans *timeline.Spans) (made, error) {
	wanted, err := m.wanted(rel, a.App())
	if err != nil {
		return made{}, err
	}
	found, err := m.Cache.Find(ctx, wanted)
	if errors.Is(err, artifact.ErrMiss) {
		found, err = m.builder(ctx, rel, wanted, spans)
	}
	if err != nil {
		return made{}, err
	}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return m.Cache.Unpack(both, found, a.App()) })
	group.Go(func() error {
		if m.Authentic == nil {
			return nil
		}
		if err := m.Authentic(both, rel.Revision); err != nil {
			return &refusedError{blame("fetch", err)}
		}
		return nil
	})
	least := m.leastSpace(ctx) // what did not fit is gone when it is told of
	err = group.Wait()
	if err := m.blameDisk(err, least(), false); err != nil {
		return made{}, err
	}
	c := made{digest: found.Digest}
	if c.recipe, err = m.recipe(rel, a); err != nil {
		return made{}, err
	}
	if m.Users != nil && len(c.recipe.Build.Run) > 0 {
		if err := a.Take(m.Users.App.GID); err != nil {
			return made{}, err
		}
	}
	c.brought, err = m.unshared(a, c.recipe)
	m.log.Info("the release comes from the artifact cache", zap.Int64("release", rel.Number), zap.String("artifact", found.Manifest.Key),
		zap.String("built_by", found.Manifest.Built.Instance), zap.Int64("bytes", found.Manifest.Archive.Bytes))
	return c, err
}

// wanted says which artifact a release is on this machine.
func (m *Machine) wanted(rel model.Release, tree string) (artifact.Wanted, error) {
	inputs, err := artifact.Machine(m.Etc, m.Path)
	if err != nil {
		return artifact.Wanted{}, err
	}
	inline, err := json.Marshal(m.Inline)
	if err != nil {
		return artifact.Wanted{}, fmt.Errorf("look for an artifact: %w", err)
	}
	// A recipe in the repository is the revision's, and so in the key; the configuration's counts where there is none.
	inputs["recipe"] = artifact.Digest(inline)
	inputs["subdirectory"] = m.Subdirectory
	inputs["app"], inputs["env"] = m.App, m.Env // which builds are told
	inputs["users"] = "the agent's own"
	if m.Users != nil {
		inputs["users"] = "separate" // what is built is taken over, and its permissions with it
	}
	return artifact.Wanted{Revision: rel.Revision, Inputs: inputs, Home: tree}, nil
}

// Keep puts a complete release that was built here into the artifact cache, for other instances. It takes its time, at a low priority. A release
// that came from there, or is there, is no error. Nor is one that no artifact can be made of, for trying again is of no use: that is a
// CacheProblem alone.
func (m *Machine) Keep(ctx context.Context, number int64) error {
	defer m.keepDependencies(ctx, number) // the release first: other instances wait for it
	if m.Cache == nil {
		return nil
	}
	err := m.keep(ctx, number)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("release %d is not in the artifact cache, and every new instance builds it: %w", number, err)
	}
	m.noteCache(err)
	var unfit *artifact.UnfitError
	if errors.As(err, &unfit) {
		return nil
	}
	return err
}

func (m *Machine) keep(ctx context.Context, number int64) error {
	r, app, err := m.find(number)
	if err != nil || r.Artifact != "" {
		return err
	}
	wanted, err := m.wanted(r.Release, app)
	if err != nil {
		return err
	}
	return m.handOver(ctx, wanted, func() error { return m.pack(ctx, r, app, wanted) })
}

// pack packs a complete release for other instances, and puts it into the cache.
func (m *Machine) pack(ctx context.Context, r releases.Release, app string, wanted artifact.Wanted) error {
	if err := m.sameRecipe(r, app); err != nil {
		return err
	}
	places := []string{m.StateDir}
	if real, err := filepath.EvalSymlinks(m.StateDir); err == nil && real != m.StateDir {
		places = append(places, real)
	}
	packing := artifact.Packing{Dir: app, Pause: m.roomToPack(r.Release)}
	for _, p := range r.Recipe.Shared {
		packing.Links = append(packing.Links, path.Join(m.Subdirectory, p))
	}
	for _, p := range r.Brought {
		packing.Directories = append(packing.Directories, path.Join(m.Subdirectory, p))
	}
	built := artifact.Built{Instance: m.InstanceID, Release: r.Release.Number, Revision: r.Release.Revision, At: m.Now().UTC()}
	var kept artifact.Kept
	if err := artifact.Quietly(func() (err error) {
		kept, err = m.Cache.Keep(ctx, wanted, built, packing, places)
		return err
	}); err != nil {
		return err
	}
	m.log.Info("the release is in the artifact cache", zap.Int64("release", r.Release.Number), zap.String("artifact", kept.Name), zap.Bool("already", kept.Already), zap.Int64("bytes", kept.Bytes))
	return nil
}

// find gives a complete release, and the directory of its whole tree.
func (m *Machine) find(number int64) (releases.Release, string, error) {
	list, _, err := m.store.List()
	if err != nil {
		return releases.Release{}, "", err
	}
	for _, r := range list {
		if r.Release.Number == number {
			return r, filepath.Clean(strings.TrimSuffix(r.Dir, m.Subdirectory)), nil
		}
	}
	return releases.Release{}, "", fmt.Errorf("release %d is not on the disk any more", number)
}

// sameRecipe refuses a release whose build has changed its own recipe: whoever unpacks it would read another one.
func (m *Machine) sameRecipe(r releases.Release, app string) error {
	root, err := openApp(app, m.Subdirectory)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	now, err := recipe.Load(root.FS(), m.Inline)
	if err != nil {
		return &artifact.UnfitError{Err: fmt.Errorf("its recipe can't be read after the build: %w", err)}
	}
	was, err1 := asStored(r.Recipe)
	is, err2 := asStored(now)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !bytes.Equal(was, is) {
		return &artifact.UnfitError{Err: errors.New("its build has changed the recipe that it was built by; let it leave bootagent.yaml alone")}
	}
	return nil
}

// asStored is a recipe as release.json has it once it was read: there, what is empty and what is not there are the same.
func asStored(r recipe.Recipe) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var read recipe.Recipe
	if err := json.Unmarshal(data, &read); err != nil {
		return nil, err
	}
	return json.Marshal(read)
}

// roomToPack ends a packing that would fill the disk.
func (m *Machine) roomToPack(rel model.Release) func() error {
	calls := 0
	return func() error {
		if calls++; calls%64 != 1 {
			return nil
		}
		free, err := m.store.Free()
		if err == nil && free < m.FreeSpace {
			err = fmt.Errorf("pack %s: the disk is short of space", rel)
		}
		return err
	}
}
