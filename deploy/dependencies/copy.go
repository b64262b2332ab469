package dependencies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/tree"
)

// copier copies one directory of a tree through the tree's own writer: names, links and sizes are held to what holds for an artifact.
type copier struct {
	ctx    context.Context
	writer *tree.Writer
	only   string
	pause  func() error
}

// copyTree copies the directory only, and nothing beside it, from the tree from to the tree to, which is empty or made. After an error
// nothing is left of to.
func copyTree(ctx context.Context, from, to, only string, pause func() error) (err error) {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	w, err := tree.New(to, artifact.TreeLimits())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	c := &copier{ctx: ctx, writer: w, only: only, pause: pause}
	if err := c.directory(root, ""); err != nil {
		return err
	}
	return w.Finish(ctx)
}

func (c *copier) directory(dir *os.Root, at string) error {
	names, err := namesIn(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if p := path.Join(at, name); c.meant(p) {
			if err := c.entry(dir, name, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// meant says whether a path is in the directory, or leads to it.
func (c *copier) meant(p string) bool {
	return p == c.only || strings.HasPrefix(p, c.only+"/") || strings.HasPrefix(c.only, p+"/")
}

func (c *copier) entry(dir *os.Root, name, p string) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if c.pause != nil {
		if err := c.pause(); err != nil {
			return err
		}
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		if err := c.writer.RestoreDir(p, info.Mode().Perm()&^0o022); err != nil {
			return err
		}
		sub, err := dir.OpenRoot(name)
		if err != nil {
			return err
		}
		return errors.Join(c.directory(sub, p), sub.Close())
	case info.Mode().IsRegular():
		f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		return errors.Join(c.writer.Copy(c.ctx, p, f), f.Close())
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := dir.Readlink(name)
		if err != nil {
			return err
		}
		return c.writer.Symlink(p, target)
	}
	return fmt.Errorf("%s is neither a file, nor a directory, nor a link", p)
}

func namesIn(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}
