package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/model"
)

// Directory is a store in a directory: of one machine, or of a file system that several share.
type Directory struct{ path string }

var _ Store = (*Directory)(nil)

// OpenDirectory opens a store in a directory that is there. It is looked at for the first time when the store is used.
func OpenDirectory(path string) *Directory { return &Directory{path} }

// litterPrefix begins the names of files that are being written, where the file system knows no files without a name.
const litterPrefix = ".put-"

func (d *Directory) open() (*os.Root, error) {
	root, err := os.OpenRoot(d.path)
	if errors.Is(err, fs.ErrNotExist) { // no object's absence
		return nil, fmt.Errorf("the artifact cache's directory %s is not there: make it, or change cache.url", d.path)
	}
	return root, err
}

func checkObject(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if err := tree.CheckName(part); err != nil {
			return fmt.Errorf("an object's name: %w", err)
		}
	}
	return nil
}

// Read reads a part of an object.
func (d *Directory) Read(ctx context.Context, name string, from int64, p []byte) (n int, err error) {
	if err := errors.Join(context.Cause(ctx), checkObject(name)); err != nil {
		return 0, err
	}
	root, err := d.open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("read from the artifact cache: %w", err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, fmt.Errorf("read from the artifact cache: %s is no file (%w)", name, err)
	}
	if n, err = f.ReadAt(p, from); errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Put writes beside, flushes, and links: whoever finds the name finds all of it.
func (d *Directory) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	fail := func(err error) error { return fmt.Errorf("write %s into the artifact cache: %w", name, err) }
	if err := errors.Join(context.Cause(ctx), checkObject(name)); err != nil {
		return fail(err)
	}
	root, err := d.open()
	if err != nil {
		return fail(err)
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return fail(full(d.path, err))
	}
	sub, err := root.OpenRoot(path.Dir(name))
	if err != nil {
		return fail(err)
	}
	defer func() { _ = sub.Close() }()
	if err := putIn(ctx, sub, path.Base(name), body, size); err != nil {
		return fail(full(d.path, err))
	}
	return nil
}

func putIn(ctx context.Context, root *os.Root, name string, body io.ReadSeeker, size int64) (err error) {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if _, err := root.Lstat(name); err == nil {
		return fs.ErrExist
	}
	f, link, err := nameless(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, link.remove(), f.Close()) }()
	n, err := io.Copy(f, &bounded{ctx, io.LimitReader(body, size+1)})
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("it has %d bytes, and %d were said", n, size)
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := link.as(name); err != nil {
		return err
	}
	return dir.Sync()
}

// unnamed is a file that has no name yet, or one that goes.
type unnamed struct {
	dir, file *os.File
	temporary string
}

// nameless makes a file without a name, which is gone with its process; where the file system knows none, one with a name for the while.
func nameless(dir *os.File) (*os.File, unnamed, error) {
	u := unnamed{dir: dir}
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		u.temporary = litterPrefix + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(uint64(dir.Fd()), 10)
		fd, err = unix.Openat(int(dir.Fd()), u.temporary, unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		return nil, u, &os.PathError{Op: "create a file in", Path: dir.Name(), Err: err}
	}
	u.file = os.NewFile(uintptr(fd), "object")
	return u.file, u, nil
}

// as gives the file a name, which must be free.
func (u unnamed) as(name string) error {
	var err error
	if u.temporary != "" {
		err = unix.Linkat(int(u.dir.Fd()), u.temporary, int(u.dir.Fd()), name, 0)
	} else {
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", u.file.Fd()), int(u.dir.Fd()), name, unix.AT_SYMLINK_FOLLOW)
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: "object", New: name, Err: err}
	}
	return nil
}

func (u unnamed) remove() error {
	if u.temporary == "" {
		return nil
	}
	return unix.Unlinkat(int(u.dir.Fd()), u.temporary, 0)
}

// bounded is a reader that ends with its context.
type bounded struct {
	ctx context.Context
	r   io.Reader
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	return b.r.Read(p)
}

// List lists what is there, without what is being written.
func (d *Directory) List(ctx context.Context, prefix string) ([]model.Object, error) {
	root, err := d.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	under := path.Dir(prefix)
	if prefix == "" || under == "/" {
		under = "."
	}
	var all []model.Object
	err = fs.WalkDir(root.FS(), under, func(at string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile, or there is nothing yet
			return nil
		case err != nil:
			return err
		case e.IsDir() && at != "." && !strings.HasPrefix(at+"/", prefix) && !strings.HasPrefix(prefix, at+"/"):
			return fs.SkipDir
		case !e.Type().IsRegular() || strings.HasPrefix(e.Name(), litterPrefix) || !strings.HasPrefix(at, prefix):
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			all = append(all, model.Object{Name: filepath.ToSlash(at), Size: info.Size(), Modified: info.ModTime()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the artifact cache: %w", err)
	}
	slices.SortFunc(all, func(a, b model.Object) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Remove removes an object, and the directories above it that are empty then.
func (d *Directory) Remove(ctx context.Context, name string) error {
	if err := errors.Join(context.Cause(ctx), checkObject(name)); err != nil {
		return err
	}
	root, err := d.open()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove from the artifact cache: %w", err)
	}
	for above := path.Dir(name); above != "."; above = path.Dir(above) {
		if root.Remove(above) != nil {
			break // something is in it
		}
	}
	return nil
}
