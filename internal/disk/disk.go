// Package disk changes files and directories in ways that last. All that must
// survive kill -9 and the loss of power is written through it, so that a test
// can see every change in its order, end the process there, or play back what
// a disk would hold if power had gone just then (disktest).
//
// What is not flushed may be lost, in any order; what is flushed stays. Names
// belong to their directory: a new file, a rename and a removal last once that
// directory is flushed.
package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Op is a kind of change.
type Op string

// What can be done to a disk. The syncs change nothing; they make what was changed before them last.
const (
	Mkdir     Op = "mkdir"
	Create    Op = "create" // an empty file
	Write     Op = "write"  // all of a new file's content
	Symlink   Op = "symlink"
	Rename    Op = "rename"
	Remove    Op = "remove"
	RemoveAll Op = "remove all"
	SyncFile  Op = "sync file" // its content
	SyncDir   Op = "sync dir"  // the names in it
	SyncTree  Op = "sync tree" // the whole file system
)

// Change is one change of the disk.
type Change struct {
	Op   Op
	Path string
	To   string // Rename's new name, Symlink's target
	Data []byte // Write's content
}

// Disk changes files. The zero value is ready; it is safe for concurrent use if Watch is.
type Disk struct {
	// Watch is told of each change just before it is made; nil tells nobody.
	Watch func(Change)
}

func (d Disk) tell(c Change) {
	if d.Watch != nil {
		d.Watch(c)
	}
}

// Mkdir makes a directory with just that mode, whatever the umask says.
func (d Disk) Mkdir(path string, perm fs.FileMode) error {
	d.tell(Change{Op: Mkdir, Path: path})
	if err := os.Mkdir(path, perm); err != nil {
		return err
	}
	return os.Chmod(path, perm)
}

// Symlink makes a symbolic link to a target.
func (d Disk) Symlink(target, path string) error {
	d.tell(Change{Op: Symlink, Path: path, To: target})
	return os.Symlink(target, path)
}

// Rename gives a file another name, at once.
func (d Disk) Rename(path, to string) error {
	d.tell(Change{Op: Rename, Path: path, To: to})
	return os.Rename(path, to)
}

// Remove removes a file, a link or an empty directory.
func (d Disk) Remove(path string) error {
	d.tell(Change{Op: Remove, Path: path})
	return os.Remove(path)
}

// RemoveAll removes name below dir, and follows no link out of it. Builds leave read-only directories behind (Go's module
// cache is one), which only root could empty: they are made writable first. What is not there is no error.
func (d Disk) RemoveAll(dir, name string) error {
	d.tell(Change{Op: RemoveAll, Path: filepath.Join(dir, name)})
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	err = root.RemoveAll(name)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// Errors of the walk show as errors of the removal.
	_ = fs.WalkDir(root.FS(), name, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = root.Chmod(path, 0o700)
		}
		return nil
	})
	return root.RemoveAll(name)
}

// SyncDir makes the names in a directory last.
func (d Disk) SyncDir(path string) error {
	d.tell(Change{Op: SyncDir, Path: path})
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}

// Replace makes a file that is there whole or not at all, in place of one of that name, and lasts. It is written beside, under
// a name that is always the same, so that what a killed process leaves there does not pile up: one Replace or Put of a path
// works at a time.
func (d Disk) Replace(path string, data []byte, perm fs.FileMode) error {
	if err := d.put(path, data, perm, true); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}

// Put is Replace of a file that lasts once the caller has flushed what it is in (SyncTree). Neither follows a link.
func (d Disk) Put(path string, data []byte, perm fs.FileMode) error {
	return d.put(path, data, perm, false)
}

func (d Disk) put(path string, data []byte, perm fs.FileMode, flush bool) (err error) {
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-new")
	if _, err := os.Lstat(beside); err == nil {
		if err := d.Remove(beside); err != nil {
			return err
		}
	}
	d.tell(Change{Op: Create, Path: beside})
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one to report
			_ = d.Remove(beside)
		}
	}()
	if err := f.Chmod(perm); err != nil { // the umask may have taken bits away
		return err
	}
	d.tell(Change{Op: Write, Path: beside, Data: data})
	if _, err := f.Write(data); err != nil {
		return err
	}
	if flush {
		d.tell(Change{Op: SyncFile, Path: beside})
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return d.Rename(beside, path)
}
