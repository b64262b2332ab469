package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Copy writes one file as it stands elsewhere on this machine, with its permissions (group and others lose their w) and the time of its last
// change. Where the file system can, the two share their blocks until one of them is changed (FICLONE), or the kernel copies; else the bytes
// are copied. It is never the same file: a build may change what it finds in place.
func (w *Writer) Copy(ctx context.Context, name string, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return fmt.Errorf("copy %q: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return &HostileError{Path: name, Reason: "it is no file"}
	}
	perm := info.Mode().Perm() &^ 0o022
	if err := checkPerm(name, perm); err != nil {
		return err
	}
	at, base, err := w.place(name)
	if err != nil {
		return err
	}
	f, err := createAt(at.file, base)
	if err != nil {
		return collision(name, err)
	}
	err = f.Chmod(perm) // before there is anything to read
	if err == nil {
		err = w.duplicate(ctx, name, f, from, info)
	}
	if err == nil {
		err = setTime(at.file, base, info)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("copy %q: %w", name, err)
	}
	return nil
}

func (w *Writer) duplicate(ctx context.Context, name string, to, from *os.File, info fs.FileInfo) error {
	if info.Size() > 0 && unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		if err := w.admit(name, info.Size(), info.Size()); err != nil {
			return err
		}
	} else if err := w.copy(ctx, to, name, from); err != nil {
		return err
	}
	done, err := to.Stat()
	if err == nil && done.Size() != info.Size() {
		err = fmt.Errorf("it had %d bytes, and %d when it was copied: somebody changes it", info.Size(), done.Size())
	}
	return err
}

func setTime(dir *os.File, name string, info fs.FileInfo) error {
	at, err := unix.TimeToTimespec(info.ModTime())
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, at}, unix.AT_SYMLINK_NOFOLLOW)
}
