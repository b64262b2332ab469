// Package tree is the one safe writer: every file that comes from a repository or an archive gets onto the disk
// through it. Names are validated, nothing is written outside the directory (os.Root), nothing is written through a
// symbolic link (links are made last, and only those that stay inside), nothing that exists is overwritten, and
// everything is bounded. Files are 0644 or 0755 and directories 0755, whatever the umask; there are no devices, no
// set-id bits, no hard links.
//
// Upper and lower case are different names, as on every Linux filesystem that isn't told otherwise; on one that folds
// case the second of two such names is refused as a duplicate. The package is for Linux alone.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
)

// Limits bound what a Writer takes. A zero field stands for its default.
type Limits struct {
	Files     int        // files, links and directories together; 250,000
	Bytes     int64      // of all files together; 4 GiB
	FileBytes int64      // of one file; 1 GiB
	Depth     int        // directories above a file; 64
	PathBytes int        // of a whole path; 2048, which leaves room for the release's own below PATH_MAX (4096)
	Links     LinkPolicy // LinksInside
	// Outside are directories, absolute, below which a link may lead with LinksInside too: where a machine's programs are, which the
	// environments of interpreters link to. None by default.
	Outside []string
}

// LinkPolicy says which symbolic links are allowed.
type LinkPolicy int

// The policies for links.
const (
	LinksInside LinkPolicy = iota // those whose target stays below the tree's root, through other links too
	LinksAny                      // all; the app's own users must be trusted with what they point to
	LinksNone
)

// WithDefaults fills in the fields that are zero.
func (l Limits) WithDefaults() Limits {
	def := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	def(&l.Files, 250_000)
	def(&l.Depth, 64)
	def(&l.PathBytes, 2048)
	if l.Bytes == 0 {
		l.Bytes = 4 << 30
	}
	if l.FileBytes == 0 {
		l.FileBytes = 1 << 30
	}
	return l
}

// Writer writes one tree. Its methods are for one goroutine, but for those of the spool (NewTemp, Spool). End it
// with Finish, and in any case with Close.
type Writer struct {
	dir     string
	created bool // dir is ours
	limits  Limits
	stack   []*level // the open directories from the root down to where the last file was written
	links   map[string]string
	order   []string // links in the order they came
	targets int      // bytes of the links' targets
	files   int
	bytes   int64
	closed  bool
	modes   []dirMode // to be set in Finish
	buf     []byte
	asAsked map[uint32]bool // permissions that the umask leaves alone

	spoolOnce sync.Once
	spool     *os.File
	spoolErr  error
	temps     atomic.Int64
}

// New starts a tree in dir, which it makes. A dir that exists must be empty.
func New(dir string, limits Limits) (*Writer, error) {
	w := &Writer{dir: dir, limits: limits.WithDefaults(), links: map[string]string{}}
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		w.created = true
	case errors.Is(err, fs.ErrExist):
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("write a tree: %w", err)
		}
		if len(entries) > 0 {
			return nil, fmt.Errorf("write a tree into %s: it is not empty (there is %q): remove it first", dir, entries[0].Name())
		}
	default:
		return nil, fmt.Errorf("write a tree: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err == nil {
		err = w.descend("", root)
	}
	if err != nil {
		return nil, fmt.Errorf("write a tree: %w", errors.Join(err, w.abandon()))
	}
	return w, nil
}

// Stats says how much was written so far: files and links and directories, and the files' bytes.
func (w *Writer) Stats() (files int, bytes int64) { return w.files, w.bytes }

// Limits says what holds for this Writer, defaults filled in.
func (w *Writer) Limits() Limits { return w.limits }

// Check says whether a name, as far as it alone can tell, may stand in the tree; the error is a *HostileError or a *LimitError.
func (w *Writer) Check(name string) error { return w.check(name) }

// Dir makes a directory. One that is there already is fine.
func (w *Writer) Dir(name string) error {
	if err := w.check(name); err != nil {
		return err
	}
	_, err := w.enter(name)
	return err
}

// File writes one file from r: 0755 if it is executable, else 0644.
func (w *Writer) File(ctx context.Context, name string, executable bool, r io.Reader) error {
	at, base, err := w.place(name)
	if err != nil {
		return err
	}
	f, err := at.root.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return collision(name, err)
	}
	err = w.copy(ctx, f, name, r)
	if err == nil {
		err = f.Chmod(mode(executable))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

// copy moves r's bytes in pieces, so that a cancelled context ends it, and within the limits.
func (w *Writer) copy(ctx context.Context, f *os.File, name string, r io.Reader) error {
	const piece = 1 << 20
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		// CopyN from one *os.File to another lets the kernel copy (and share blocks where the filesystem can).
		n, err := io.CopyN(f, r, piece)
		size += n
		if err := w.admit(name, size, n); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// admit counts more bytes of a file that is size bytes long so far.
func (w *Writer) admit(name string, size, more int64) error {
	if size > w.limits.FileBytes {
		return &LimitError{Path: name, What: "bytes in one file", Limit: w.limits.FileBytes}
	}
	if w.bytes += more; w.bytes > w.limits.Bytes {
		return &LimitError{Path: name, What: "bytes in all", Limit: w.limits.Bytes}
	}
	return nil
}

// Open opens a file that was written before.
func (w *Writer) Open(name string) (*os.File, error) { return w.stack[0].root.Open(name) }

// Finish makes the links and ends the Writer. It does not wait for the disk: call Sync before the tree is renamed to
// where others look for it (after a build, which writes to it as well).
func (w *Writer) Finish(ctx context.Context) error {
	if err := w.makeLinks(ctx); err != nil {
		return err
	}
	if w.spool != nil {
		if err := w.stack[0].root.RemoveAll(spoolName); err != nil {
			return fmt.Errorf("remove the spool: %w", err)
		}
	}
	if err := w.setModes(); err != nil {
		return err
	}
	w.closed = true
	return w.closeFiles()
}

// Close ends the Writer. Unless Finish came before, everything that was written is removed.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.abandon()
}

func (w *Writer) abandon() error {
	err := w.closeFiles()
	if w.created {
		return errors.Join(err, os.RemoveAll(w.dir))
	}
	entries, readErr := os.ReadDir(w.dir)
	err = errors.Join(err, readErr)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(path.Join(w.dir, e.Name())))
	}
	return err
}

func (w *Writer) closeFiles() error {
	var err error
	if w.spool != nil {
		err = w.spool.Close()
	}
	for _, l := range w.stack {
		err = errors.Join(err, closeAll(l.file, l.root))
	}
	w.stack = nil
	return err
}

func closeAll(file *os.File, root *os.Root) error {
	if file == nil {
		return root.Close()
	}
	return errors.Join(file.Close(), root.Close())
}

func mode(executable bool) os.FileMode {
	if executable {
		return 0o755
	}
	return 0o644
}

// collision says what it means that a name is taken: the tree was empty when we began.
func collision(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return &HostileError{Path: name, Reason: "the name stands there twice"}
	}
	return fmt.Errorf("write %q: %w", name, err)
}
