package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/deploy/releases"
)

// Shared directories outlive releases. They are <state>/shared/<path>, and a
// release has a link to each in its place, made when everything of the
// revision, its build too, is done: what a build writes can't reach them.
// Nothing ever removes them.

// SharedName is the name of the directory of shared directories, in the state directory.
const SharedName = "shared"

func (m *Machine) sharedDirs(r recipe.Recipe) []string {
	var out []string
	for _, p := range r.Shared {
		out = append(out, filepath.Join(m.StateDir, SharedName, p))
	}
	return out
}

// unshared looks, before the build, at what the commit brings in the places of shared directories: directories alone, which
// it gives, for an app may count on them. Files are the revision's fault: they would be out of reach, or never change again.
func (m *Machine) unshared(a *releases.Attempt, r recipe.Recipe) (brought []string, err error) {
	if len(r.Shared) == 0 {
		return nil, nil
	}
	app, err := openApp(a.App(), m.Subdirectory)
	if err != nil {
		return nil, err
	}
	defer func() { _ = app.Close() }()
	for _, p := range r.Shared {
		info, err := lookIn(app, p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, blameShared(p, err)
		case !info.IsDir():
			return nil, blameShared(p, fmt.Errorf("it is %s in the commit, and has to be a directory or nothing: remove it from the repository, or from shared", kind(info)))
		}
		err = fs.WalkDir(app.FS(), p, func(at string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir():
				brought = append(brought, at)
			case !slices.Contains([]string{".keep", ".gitkeep", ".gitignore"}, d.Name()):
				return blameShared(p, fmt.Errorf("the commit has %s in it, and a directory that outlives releases can't take files from one: keep them elsewhere in the repository, or take %s off the list", at, p))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return brought, nil
}

// share puts the links to the shared directories into a release that is built.
func (m *Machine) share(a *releases.Attempt, r recipe.Recipe, brought []string) error {
	if len(r.Shared) == 0 {
		return nil
	}
	if err := m.makeShared(r, brought); err != nil {
		return err
	}
	app, err := openApp(a.App(), m.Subdirectory)
	if err != nil {
		return blameShared(m.Subdirectory, err) // it was there before the build
	}
	defer func() { _ = app.Close() }()
	for _, p := range r.Shared {
		if err := within(app, path.Dir(p), 0o755); err != nil {
			return blameShared(p, err)
		}
		if _, err := app.Lstat(p); err == nil && !slices.Contains(brought, p) {
			m.log.Info("what the build left in the place of a shared directory goes", zap.String("shared", p))
		}
		if err := app.RemoveAll(p); err != nil {
			return fmt.Errorf("make room for the shared directory %s: %w", p, err)
		}
		if err := app.Symlink(filepath.Join(m.StateDir, SharedName, p), p); err != nil {
			return fmt.Errorf("link the shared directory %s into the release: %w", p, err)
		}
	}
	return nil
}

// makeShared makes the recipe's shared directories, and those below them that the commit brought, where they are missing.
// The app writes there, and may have left links: none is followed.
func (m *Machine) makeShared(r recipe.Recipe, brought []string) error {
	if len(r.Shared) == 0 {
		return nil
	}
	top := filepath.Join(m.StateDir, SharedName)
	fail := func(err error) error {
		return fmt.Errorf("make the shared directories in %s: %w", top, err)
	}
	if err := os.Mkdir(top, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(err)
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = root.Close() }()
	for _, p := range append(slices.Clone(r.Shared), brought...) {
		if err := within(root, path.Dir(p), 0o755); err != nil {
			return fail(err)
		}
		if err := within(root, p, 0o750); err != nil {
			return fail(err)
		}
		if err := m.giveToApp(root, p); err != nil {
			return fail(err)
		}
	}
	return nil
}

// giveToApp lets a directory belong to the app's user: also one that a killed attempt made, or that was another user's.
func (m *Machine) giveToApp(root *os.Root, p string) error {
	if m.Users == nil {
		return nil
	}
	app := m.Users.App
	info, err := root.Lstat(p)
	if err != nil {
		return err
	}
	if now, ok := info.Sys().(*syscall.Stat_t); ok && int(now.Uid) == app.UID && int(now.Gid) == app.GID {
		return nil
	}
	return root.Lchown(p, app.UID, app.GID)
}

// within makes a directory and those above it where they are missing. What is there must be directories: os.Root lets no
// link lead out, and this lets none lead elsewhere inside.
func within(root *os.Root, p string, mode fs.FileMode) error {
	if p == "." {
		return nil
	}
	if err := within(root, path.Dir(p), mode); err != nil {
		return err
	}
	info, err := root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return root.Mkdir(p, mode)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is %s, and has to be a directory", p, kind(info))
	}
	return err
}

// lookIn is Lstat of a path that has directories alone above it.
func lookIn(root *os.Root, p string) (fs.FileInfo, error) {
	for i := range p {
		if p[i] != '/' {
			continue
		}
		if info, err := root.Lstat(p[:i]); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%s is %s in the commit, and has to be a directory", p[:i], kind(info))
		}
	}
	return root.Lstat(p)
}

func kind(info fs.FileInfo) string {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return "a symbolic link"
	case info.Mode().IsRegular():
		return "a file"
	}
	return "no directory"
}

// blameShared says that the revision is at fault, unless the machine is.
func blameShared(p string, err error) error {
	err = fmt.Errorf("shared: %s: %w", p, err)
	if machineFault(err) {
		return err
	}
	return &RevisionError{Phase: "recipe", Err: err}
}
