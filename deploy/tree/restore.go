package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Meta is what an archive says of a file besides its content. A checkout has no use for it.
type Meta struct {
	// Perm is the permissions, of which group and others may not write, and no more than 0755 is taken.
	Perm fs.FileMode
	// Time is when the file was changed last, to the second; zero is now.
	Time time.Time
}

// permMost is all that a tree's files may allow.
const permMost fs.FileMode = 0o755

func checkPerm(name string, perm fs.FileMode) error {
	if perm&^permMost != 0 {
		return &HostileError{Path: name, Reason: fmt.Sprintf("its mode is %o, and no more than %o is allowed", perm, permMost)}
	}
	return nil
}

// Restore writes one file of exactly that size from r. What it would need beyond the limits is refused before a byte is written.
func (w *Writer) Restore(ctx context.Context, name string, size int64, m Meta, r io.Reader) error {
	if err := checkPerm(name, m.Perm); err != nil {
		return err
	}
	at, base, err := w.place(name)
	if err != nil {
		return err
	}
	if err := w.admit(name, size, size); err != nil {
		return err
	}
	if err := w.restoreAt(ctx, at.file, base, size, m, r); err != nil {
		return collision(name, err)
	}
	return nil
}

// RestoreDir makes a directory with these permissions, which it gets in Finish: what goes into it comes later.
func (w *Writer) RestoreDir(name string, perm fs.FileMode) error {
	if err := checkPerm(name, perm); err != nil {
		return err
	}
	if err := w.Dir(name); err != nil {
		return err
	}
	if perm != permMost {
		w.modes = append(w.modes, dirMode{name, perm})
	}
	return nil
}

type dirMode struct {
	name string
	perm fs.FileMode
}

// setModes gives directories their permissions, the innermost first: one that is closed is not to be passed through any more.
func (w *Writer) setModes() error {
	for i := len(w.modes) - 1; i >= 0; i-- {
		d := w.modes[i]
		if err := w.stack[0].root.Chmod(d.name, d.perm); err != nil { // no link can stand there: the name is a directory's
			return fmt.Errorf("write %q: %w", d.name, err)
		}
	}
	return nil
}

// buffer is one for all files: archives have many small ones.
func (w *Writer) buffer() []byte {
	if w.buf == nil {
		w.buf = make([]byte, 256<<10)
	}
	return w.buf
}

// restoreAt makes a file in an open directory, without what os.File does for files that are waited for.
func (w *Writer) restoreAt(ctx context.Context, dir *os.File, name string, size int64, m Meta, r io.Reader) error {
	perm := uint32(m.Perm.Perm())
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	if err = pour(ctx, fd, name, size, r, w.buffer()); err == nil {
		err = w.setMode(fd, name, perm)
	}
	if closed := unix.Close(fd); err == nil && closed != nil {
		err = &os.PathError{Op: "close", Path: name, Err: closed}
	}
	if err != nil || m.Time.IsZero() {
		return err
	}
	at := unix.NsecToTimespec(m.Time.Unix() * int64(time.Second))
	if err := unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set the time of", Path: name, Err: err}
	}
	return nil
}

// setMode sees to a new file's permissions, from which the umask may have taken bits: what it does to one it does to all that ask for
// the same.
func (w *Writer) setMode(fd int, name string, perm uint32) error {
	if w.asAsked[perm] {
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&0o7777 == perm {
		if w.asAsked == nil {
			w.asAsked = map[uint32]bool{}
		}
		w.asAsked[perm] = true
		return nil
	}
	if err = unix.Fchmod(fd, perm); err != nil {
		return &os.PathError{Op: "chmod", Path: name, Err: err}
	}
	return nil
}

// pour writes exactly size bytes of r.
func pour(ctx context.Context, fd int, name string, size int64, r io.Reader, buf []byte) error {
	for size > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(r, buf[:min(size, int64(len(buf)))])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		size -= int64(n)
		for p := buf[:n]; len(p) > 0; {
			n, err := unix.Write(fd, p)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return &os.PathError{Op: "write", Path: name, Err: err}
			}
			p = p[n:]
		}
	}
	return nil
}

// leadsToSystem says whether a link's target is below one of the directories outside that it may name: as it stands, without a step
// back, so that it can be seen.
func (l Limits) leadsToSystem(target string) bool {
	if !strings.HasPrefix(target, "/") || stepsBack(target) {
		return false
	}
	for _, dir := range l.Outside {
		if target == dir || strings.HasPrefix(target, dir+"/") {
			return true
		}
	}
	return false
}

func stepsBack(target string) bool {
	for part := range strings.SplitSeq(target, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}
