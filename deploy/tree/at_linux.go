package tree

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// createAt makes a file in an open directory. name is one component, made by us.
func createAt(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fchmod(fd, 0o644); err != nil { // the umask may have taken bits away
		return nil, errors.Join(&os.PathError{Op: "chmod", Path: name, Err: err}, f.Close())
	}
	return f, nil
}

func openAt(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func chmodAt(dir *os.File, name string, mode os.FileMode) error {
	return unix.Fchmodat(int(dir.Fd()), name, uint32(mode.Perm()), 0)
}

// renameNoReplace moves a file between two open directories; the new name, one validated component, must be free.
// Nothing follows links here: a rename acts on the name itself.
func renameNoReplace(from *os.File, name string, to *os.File, newName string) error {
	err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), newName, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A filesystem without the flag; a hard link never replaces either.
		if err = unix.Linkat(int(from.Fd()), name, int(to.Fd()), newName, 0); err == nil {
			err = unix.Unlinkat(int(from.Fd()), name, 0)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: name, New: newName, Err: err}
	}
	return nil
}

// Sync waits until everything below dir, and dir itself, is on the disk, so that a rename of dir is safe against the
// loss of power. It syncs the whole filesystem in one call (syncfs(2), which reports write errors since Linux 5.8):
// with thousands of files that is far cheaper than one fsync each. It can't be interrupted.
func Sync(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return errors.Join(fmt.Errorf("sync the filesystem of %s: %w", dir, err), f.Close())
	}
	return f.Close()
}
