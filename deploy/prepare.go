package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/build"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/deploy/releases"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/strictyaml"
	"github.com/bootagent/bootagent/internal/timeline"
)

// Prepare brings the release onto the disk: room, then what another instance built, or fetch, recipe and build, then store. A release that is complete already is
// given back as it is; a failed attempt leaves nothing behind but its build's log. One Prepare works at a time, others
// wait for their turn. What the revision is to blame for is a *RevisionError.
func (m *Machine) Prepare(ctx context.Context, rel model.Release, spans *timeline.Spans) (Prepared, error) {
	if rel.Number < 1 || !rel.Resolved() {
		return Prepared{}, fmt.Errorf("prepare %s: its number and its full revision are needed", rel)
	}
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return Prepared{}, fmt.Errorf("prepare %s: wait for the release before it: %w", rel, context.Cause(ctx))
	}
	if done, ok, err := m.room(ctx, rel); err != nil || ok {
		return done, err
	}
	attempt, err := m.store.Begin(rel.Number)
	if err != nil {
		return Prepared{}, m.blameDiskNow(err)
	}
	defer func() {
		// After Commit there is nothing to discard. What stays is litter for the next New.
		if err := attempt.Discard(); err != nil {
			m.log.Warn("a failed attempt stays on disk until the next start", zap.Error(err))
		}
	}()
	done, err := m.bring(ctx, rel, attempt, spans)
	if err = m.blameDiskNow(err); noRoom(err) { // while the attempt still fills it
		m.dropDependencies() // for the next try
	}
	return done, err
}

// bring makes the release in its attempt.
func (m *Machine) bring(ctx context.Context, rel model.Release, attempt *releases.Attempt, spans *timeline.Spans) (Prepared, error) {
	what, found, err := m.fromCache(ctx, rel, attempt, spans)
	if err == nil && !found {
		what, err = m.makeForAll(ctx, rel, attempt, spans)
	}
	if err != nil {
		return Prepared{}, err
	}
	if err := m.share(attempt, what.recipe, what.brought); err != nil {
		return Prepared{}, err
	}
	return m.commit(ctx, rel, attempt, what, spans)
}

// make fetches and builds.
func (m *Machine) make(ctx context.Context, rel model.Release, attempt *releases.Attempt, spans *timeline.Spans) (c made, err error) {
	if err := m.fetch(ctx, rel, attempt, spans); err != nil {
		return made{}, err
	}
	if c.recipe, err = m.recipe(rel, attempt); err != nil {
		return made{}, err
	}
	if c.brought, err = m.unshared(attempt, c.recipe); err != nil {
		return made{}, err
	}
	if c.carried, err = m.fill(ctx, rel, attempt, c.recipe, spans); err != nil {
		return made{}, err
	}
	return c, m.build(ctx, rel, attempt, c.recipe, spans)
}

// room gives the release if it is there; if not, it makes room for it: in its place, and on the disk.
func (m *Machine) room(ctx context.Context, rel model.Release) (Prepared, bool, error) {
	m.disk.Lock()
	defer m.disk.Unlock()
	list, err := m.list()
	if err != nil {
		return Prepared{}, false, err
	}
	for _, r := range list {
		if r.Release.Number == rel.Number && r.Release.Revision == rel.Revision && r.Subdirectory == m.Subdirectory {
			return m.prepared(r), true, m.makeShared(r.Recipe, nil)
		}
	}
	if err := m.clear(ctx, rel); err != nil {
		return Prepared{}, false, err
	}
	m.retain(ctx, m.KeepReleases)
	free, err := m.store.Free()
	if err != nil {
		return Prepared{}, false, err
	}
	if free < m.FreeSpace && m.dropDependencies() {
		if free, err = m.store.Free(); err != nil {
			return Prepared{}, false, err
		}
	}
	if free < m.FreeSpace {
		m.log.Warn("the disk is short of space: only releases that can't be spared are kept", zap.Int64("free_bytes", free))
		m.retain(ctx, 1)
		if free, err = m.store.Free(); err != nil {
			return Prepared{}, false, err
		}
	}
	if free < m.FreeSpace {
		return Prepared{}, false, fmt.Errorf("prepare %s: %s has %s free and %s are needed (limits.free_space): make room there, or use a larger disk",
			rel, m.StateDir, strictyaml.Size(free), strictyaml.Size(m.FreeSpace))
	}
	return Prepared{}, false, nil
}

// clear removes what stands in the release's place: a damaged release, or another revision of the same number (a branch
// that moved before anybody had served it, or a parameter that was deleted and made anew).
func (m *Machine) clear(ctx context.Context, rel model.Release) error {
	if !m.store.Has(rel.Number) {
		return nil
	}
	current, err := m.store.Current()
	if err != nil {
		return err
	}
	inUse, err := m.inUse(ctx)
	if err != nil {
		return err
	}
	if inUse(rel.Number) || (current == rel.Number && m.complete(rel.Number)) {
		return fmt.Errorf("prepare %s: another revision of that number, or another source.subdirectory, is in service here; put the parameter once more, so that it gets a number of its own", rel)
	}
	delete(m.warned, rel.Number)
	return m.store.Remove(rel.Number)
}

func (m *Machine) complete(number int64) bool {
	list, _, err := m.store.List()
	if err != nil {
		return true // what can't be seen is left alone
	}
	for _, r := range list {
		if r.Release.Number == number {
			return true
		}
	}
	return false
}

// phase logs a phase's start and its end, and keeps its span.
func (m *Machine) phase(name string, rel model.Release, spans *timeline.Spans, fields ...zap.Field) func(error) {
	log := m.log.With(zap.Int64("release", rel.Number), zap.String("revision", rel.Revision))
	log.Info(name+" started", fields...)
	begin, end := m.Now(), spans.Begin(name, rel.Number)
	return func(err error) {
		end(err)
		if took := zap.Duration("duration", m.Now().Sub(begin)); err == nil {
			log.Info(name+" done", took)
		} else {
			log.Info(name+" failed", took) // why it failed is told by who gets the error
		}
	}
}

func (m *Machine) fetch(ctx context.Context, rel model.Release, a *releases.Attempt, spans *timeline.Spans) (err error) {
	end := m.phase("fetch", rel, spans)
	defer func() { end(err) }()
	least := m.leastSpace(ctx) // the source may have tidied up when it says that there was no room
	err = m.Source.Fetch(ctx, rel.Revision, a.App())
	if err := m.blameDisk(err, least(), false); noRoom(err) {
		return err // whatever else is said of it
	}
	return blame("fetch", err)
}

func (m *Machine) recipe(rel model.Release, a *releases.Attempt) (recipe.Recipe, error) {
	where := "revision " + rel.Short()
	if m.Subdirectory != "" {
		where += ", directory " + m.Subdirectory
	}
	root, err := openApp(a.App(), m.Subdirectory)
	if err == nil {
		defer func() { _ = root.Close() }()
		var r recipe.Recipe
		if r, err = recipe.Load(root.FS(), m.Inline); err == nil {
			return r, nil
		}
	}
	err = fmt.Errorf("%s: %w", where, err)
	if machineFault(err) {
		return recipe.Recipe{}, err
	}
	return recipe.Recipe{}, &RevisionError{Phase: "recipe", Err: err}
}

// machineFault says whether a file could not be read or written for a reason that is the machine's, not the revision's.
func machineFault(err error) bool {
	return slices.ContainsFunc([]error{
		syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, fs.ErrPermission,
	}, func(fault error) bool { return errors.Is(err, fault) })
}

func (m *Machine) build(ctx context.Context, rel model.Release, a *releases.Attempt, r recipe.Recipe, spans *timeline.Spans) (err error) {
	if len(r.Build.Run) == 0 {
		return nil
	}
	log := build.LogPath(filepath.Join(m.StateDir, "builds"), rel.Number)
	end := m.phase("build", rel, spans, zap.String("log", log))
	defer func() { end(err) }()
	secrets, err := m.secrets(ctx, r.Build.Secrets)
	if err != nil {
		return err
	}
	least := m.leastSpace(ctx)
	err = m.runBuild(ctx, a, build.Job{
		Name:    fmt.Sprintf("bootagent-%s-%d-build", m.App, rel.Number),
		Release: rel,
		Build:   r.Build,
		Tree:    a.App(),
		Dir:     filepath.Join(a.App(), m.Subdirectory),
		Home:    a.Home(),
		Tmp:     a.Tmp(),
		Path:    m.Path,
		Facts:   m.Facts(rel),
		Log:     log,
		Secrets: secrets,
	})
	var failed *build.Error
	var leak *build.LeakError
	free, failure := least(), errors.As(err, &failed)
	if err := m.blameDisk(err, free, failure); noRoom(err) {
		return err
	}
	if failure || errors.As(err, &leak) {
		return &RevisionError{Phase: "build", Err: err}
	}
	return err
}

// runBuild runs a build as its user, where there is one. The tree is the build's while it runs, and root's for ever after:
// the app can't change what it is.
func (m *Machine) runBuild(ctx context.Context, a *releases.Attempt, job build.Job) error {
	if m.Users == nil {
		return build.Run(ctx, m.Runner, job)
	}
	if err := a.Give(m.Users.Build.UID, m.Users.Build.GID); err != nil {
		return err
	}
	job.User, job.Writable = m.Users.Build.Name, []string{a.App(), a.Home(), a.Tmp()}
	if err := build.Run(ctx, m.Runner, job); err != nil {
		return err
	}
	return blame("build", a.Take(m.Users.App.GID))
}

// Facts is what every command of a release is told in its environment, as KEY=value. A process with a port gets PORT
// besides.
func (m *Machine) Facts(rel model.Release) []string {
	return []string{
		"BOOTAGENT_APP=" + m.App,
		"BOOTAGENT_ENV=" + m.Env,
		"BOOTAGENT_INSTANCE_ID=" + m.InstanceID,
		"BOOTAGENT_RELEASE=" + strconv.FormatInt(rel.Number, 10),
		"BOOTAGENT_REVISION=" + rel.Revision,
	}
}

func (m *Machine) commit(ctx context.Context, rel model.Release, a *releases.Attempt, what made, spans *timeline.Spans) (p Prepared, err error) {
	end := m.phase("store", rel, spans)
	defer func() { end(err) }()
	if ctx.Err() != nil {
		return Prepared{}, fmt.Errorf("prepare %s: %w", rel, context.Cause(ctx))
	}
	done, err := a.Commit(releases.Release{Release: rel, Prepared: m.Now().UTC(), Subdirectory: m.Subdirectory, Recipe: what.recipe, Brought: what.brought, Artifact: what.digest, Dependencies: what.carried})
	if err != nil {
		return Prepared{}, err
	}
	return m.prepared(done), nil
}
