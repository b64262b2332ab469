package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/dependencies"
	"github.com/bootagent/bootagent/deploy/releases"
)

// keepDependencies keeps what the build of a complete release left in the directories of build.cache, for the next build here and on other
// instances. What goes wrong is a CacheProblem.
func (m *Machine) keepDependencies(ctx context.Context, number int64) {
	r, app, err := m.find(number)
	if err == nil && r.Artifact != "" { // nothing was built here
		return
	}
	if err == nil {
		err = artifact.Quietly(func() error { return m.keepAll(ctx, r, app) })
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		err = fmt.Errorf("what the build of release %d left is not kept for the next one: %w", number, err)
	}
	m.carried.note(err)
}

func (m *Machine) keepAll(ctx context.Context, r releases.Release, app string) error {
	var named []string
	for _, name := range r.Recipe.Build.Cache {
		named = append(named, path.Join(m.Subdirectory, name))
	}
	_, err := m.carried.kept.Only(named...)
	problems := []error{err}
	if r.Dependencies == nil {
		return inOne(problems...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Dependencies.Keys)) {
		if err := m.keepOne(ctx, r, app, name); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return inOne(problems...)
}

func (m *Machine) keepOne(ctx context.Context, r releases.Release, app, name string) error {
	wanted, err := m.dependency(r.Recipe, name, r.Dependencies.Locks)
	if err != nil {
		return err
	}
	log := m.log.With(zap.Int64("release", r.Release.Number), zap.String("directory", name))
	d := dependencies.Directory{Path: path.Join(m.Subdirectory, name), Key: wanted.Key()}
	if d.Key != r.Dependencies.Keys[name] {
		log.Info("the machine's tools have changed since the build: what it left is not kept for the next one")
		return nil
	}
	there, err := leftIn(app, d.Path)
	if err != nil || !there {
		return err
	}
	packing := artifact.Packing{Dir: app, Only: d.Path, Pause: m.roomToPack(r.Release)}
	if !m.carried.kept.Has(d, r.Release.Number) {
		if err := carriable(ctx, packing); err != nil {
			return err
		}
		if err := m.carried.kept.Save(ctx, d, r.Release.Number, app, m.Now(), packing.Pause); err != nil {
			return err
		}
		log.Info("what the build left is kept for the next one", zap.String("key", d.Key))
	}
	if m.Cache == nil {
		return nil
	}
	built := artifact.Built{Instance: m.InstanceID, Release: r.Release.Number, Revision: r.Release.Revision, At: m.Now().UTC()}
	kept, err := m.Cache.Keep(ctx, wanted, built, packing, nil)
	if err == nil {
		log.Info("what the build left is in the artifact cache", zap.String("artifact", kept.Name), zap.Bool("already", kept.Already), zap.Int64("bytes", kept.Bytes))
	}
	return err
}

// leftIn says whether a build left a directory.
func leftIn(app, name string) (bool, error) {
	root, err := os.OpenRoot(app)
	if err != nil {
		return false, err
	}
	defer func() { _ = root.Close() }()
	info, err := lookIn(root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return false, fmt.Errorf("the build left %s there, and it has to be a directory", kind(info))
	}
	return true, nil
}

// carriable refuses a directory that names the release which it was built in: that is another directory for the next one, and gone some day.
func carriable(ctx context.Context, p artifact.Packing) error {
	own := filepath.Dir(p.Dir) + "/"
	p.Foreign = map[string]string{"its own": own}
	if real, err := filepath.EvalSymlinks(filepath.Dir(p.Dir)); err == nil {
		p.Foreign["where that is"] = real + "/"
	}
	found, err := artifact.Survey(ctx, p)
	if err != nil {
		return err
	}
	if len(found.Met) > 0 {
		return &artifact.UnfitError{Err: fmt.Errorf("it has the release's own directory, %s, in it, as a Python virtual environment and some compiled modules do, "+
			"and would lead the next build there; name the directory of the tool's downloads instead, such as .cache/pip", own)}
	}
	return nil
}
