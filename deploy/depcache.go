package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/dependencies"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/deploy/releases"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
)

// A build begins with what an earlier one left in the directories of build.cache: from this instance's own disk, else from the artifact cache.
// Whatever goes wrong, the build runs without, and that is a CacheProblem.

// DependenciesName is the name of the directory of what builds leave for the next ones, in the state directory.
const DependenciesName = "dependencies"

// fillPatience is how long fetching what earlier builds left may take, all of it together: a package manager is not that slow.
const fillPatience = 2 * time.Minute

// carried is what a Machine carries from build to build.
type carried struct {
	kept *dependencies.Store

	mu      sync.Mutex
	problem error
}

func (c *carried) get() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem
}

func (c *carried) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = err
}

// inOne puts errors into one line.
func inOne(errs ...error) (all error) {
	for _, err := range errs {
		switch {
		case all == nil:
			all = err
		case err != nil:
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// fill brings what earlier builds left into a tree that is to be built, and says under which keys what this build leaves is kept. An error is
// ctx's end alone.
func (m *Machine) fill(ctx context.Context, rel model.Release, a *releases.Attempt, r recipe.Recipe, spans *timeline.Spans) (*releases.Dependencies, error) {
	if len(r.Build.Cache) == 0 || len(r.Build.Run) == 0 {
		return nil, nil //nolint:nilnil // nothing is carried
	}
	end := m.phase("dependencies", rel, spans)
	keys, err := m.fillAll(ctx, rel, a, r)
	end(err)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare %s: %w", rel, context.Cause(ctx))
	}
	if err != nil {
		err = fmt.Errorf("release %d is built without what earlier builds left: %w", rel.Number, err)
	}
	m.carried.note(err)
	return keys, nil
}

func (m *Machine) fillAll(ctx context.Context, rel model.Release, a *releases.Attempt, r recipe.Recipe) (*releases.Dependencies, error) {
	app, err := openApp(a.App(), m.Subdirectory)
	if err != nil {
		return nil, err
	}
	defer func() { _ = app.Close() }()
	d := &releases.Dependencies{Keys: map[string]string{}}
	if d.Locks, err = dependencies.Locks(app); err != nil {
		return nil, err
	}
	patient, cancel := context.WithTimeoutCause(ctx, fillPatience, fmt.Errorf("fetching what earlier builds left took longer than %s", fillPatience))
	defer cancel()
	var problems []error
	for _, name := range r.Build.Cache {
		wanted, err := m.dependency(r, name, d.Locks)
		if err != nil {
			return nil, err
		}
		free, err := m.isFree(app, name, rel)
		if err == nil && free {
			d.Keys[name] = wanted.Key()
			err = m.fillOne(ctx, patient, a, name, wanted)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return d, inOne(problems...)
}

// dependency says what is wanted in a directory: all that decides what a build leaves there.
func (m *Machine) dependency(r recipe.Recipe, name, locks string) (artifact.Wanted, error) {
	inputs, err := artifact.Machine(m.Etc, m.Path)
	if err != nil {
		return artifact.Wanted{}, err
	}
	build, err := json.Marshal(recipe.Build{Run: r.Build.Run, Environment: r.Build.Environment})
	if err != nil {
		return artifact.Wanted{}, err
	}
	inputs["app"], inputs["env"] = m.App, m.Env
	inputs["users"] = "the agent's own"
	if m.Users != nil {
		inputs["users"] = "separate"
	}
	inputs["build"], inputs["locks"] = artifact.Digest(build), locks
	inputs[artifact.InputDirectory] = path.Join(m.Subdirectory, name)
	return artifact.Dependencies(inputs), nil
}

// isFree says whether the commit leaves the place of a directory to what earlier builds left. A link or a file where a directory above it
// would be is the commit's too.
func (m *Machine) isFree(app *os.Root, name string, rel model.Release) (bool, error) {
	_, err := lookIn(app, name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil && machineFault(err) {
		return false, err
	}
	m.log.Info("the commit has something in the place of a directory of build.cache, and that counts", zap.Int64("release", rel.Number), zap.String("directory", name))
	return false, nil
}

// fillOne fills one directory, whose place is free, if there is anything to fill it with.
func (m *Machine) fillOne(ctx, patient context.Context, a *releases.Attempt, name string, wanted artifact.Wanted) (err error) {
	scratch := filepath.Join(a.Tmp(), DependenciesName) // on the same disk, and nobody else's until the build begins
	defer func() { err = inOne(err, os.RemoveAll(scratch)) }()
	from := "this instance"
	ok, err := m.carried.kept.Fill(ctx, dependencies.Directory{Path: path.Join(m.Subdirectory, name), Key: wanted.Key()}, scratch)
	if !ok && m.Cache != nil && ctx.Err() == nil {
		from = "the artifact cache"
		var fetched error
		ok, fetched = m.fetchDependency(patient, wanted, scratch)
		err = inOne(err, fetched)
	}
	if !ok {
		return err
	}
	if moved := m.moveIn(a, name); moved != nil {
		return inOne(err, moved)
	}
	m.log.Info("the build begins with what an earlier one left", zap.String("directory", name), zap.String("from", from), zap.String("key", wanted.Key()))
	return err
}

// fetchDependency unpacks a directory from the artifact cache, and says whether there was one.
func (m *Machine) fetchDependency(ctx context.Context, wanted artifact.Wanted, scratch string) (bool, error) {
	found, err := m.Cache.Find(ctx, wanted)
	if errors.Is(err, artifact.ErrMiss) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	free, err := m.store.Free()
	if err != nil {
		return false, err
	}
	if need := found.Manifest.Content.FileBytes; free-need < m.FreeSpace {
		return false, fmt.Errorf("its %d bytes would leave the disk short of space", need)
	}
	if err := m.Cache.Unpack(ctx, found, scratch); err != nil {
		return false, err
	}
	return true, nil
}

// moveIn moves a directory from the scratch into its place in the tree. Nothing is written through a link, and nothing over what is there.
func (m *Machine) moveIn(a *releases.Attempt, name string) error {
	root, err := os.OpenRoot(filepath.Dir(a.App()))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	inTree := path.Join(m.Subdirectory, name)
	from, to := path.Join(filepath.Base(a.Tmp()), DependenciesName, inTree), path.Join(filepath.Base(a.App()), inTree)
	if info, err := lookIn(root, from); err != nil {
		return fmt.Errorf("what was kept has no such directory: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("what was kept is %s, and has to be a directory", kind(info))
	}
	if err := within(root, path.Dir(to), 0o755); err != nil {
		return err
	}
	if _, err := root.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return inOne(errors.New("something stands in its place"), err)
	}
	return root.Rename(from, to)
}

// dropDependencies makes room: what the next build can fetch anew goes before any release. It says whether there was anything.
func (m *Machine) dropDependencies() bool {
	dropped, err := m.carried.kept.Only()
	if err != nil {
		m.log.Warn("what builds left for the next ones stays on disk", zap.Error(err))
	}
	if dropped {
		m.log.Warn("the disk is short of space: what builds left for the next ones is removed")
	}
	return dropped
}
