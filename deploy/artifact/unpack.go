package artifact

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/bootagent/bootagent/deploy/tree"
)

// Unpack writes an archive's tree into dir, which is empty or which it makes, while r, which it closes, is still being read. What r gives is taken for the
// manifest's archive: whoever reads it from a store verifies it piece by piece, which is why the content's own SHA-256 is left to Verify. After an error nothing is left. An archive that is not what its
// manifest says, or that would write what no release may hold, is a *BadError.
func Unpack(ctx context.Context, r io.ReadCloser, m Manifest, dir string, limits Limits) (err error) {
	w, err := tree.New(dir, limits.tree(m.Home))
	if err != nil {
		return errors.Join(err, r.Close())
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	source := &sourced{ctx: ctx, r: r}
	d, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(2*windowBytes))
	if err != nil {
		return errors.Join(source.blame(err), r.Close())
	}
	defer d.Close() // which waits for a Read of r
	defer func() { err = errors.Join(err, r.Close()) }()
	content := &exact{d, m.Content.Bytes}
	u := &unpacking{ctx: ctx, writer: w, content: m.Content}
	if err := u.entries(tar.NewReader(bufio.NewReaderSize(content, 128<<10))); err != nil {
		return source.blame(err)
	}
	if err := content.rest(); err != nil {
		return source.blame(err)
	}
	return source.blame(w.Finish(ctx))
}

// sourced remembers how its reader failed: that is no fault of the archive.
type sourced struct {
	ctx context.Context
	r   io.Reader

	mu  sync.Mutex // the decoder reads in a goroutine of its own
	err error
}

func (s *sourced) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
	}
	return n, err
}

func (s *sourced) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// blame says who is at fault: who gave the bytes, the machine, or the archive.
func (s *sourced) blame(err error) error {
	var hostile *tree.HostileError
	var limit *tree.LimitError
	var path *fs.PathError
	var errno syscall.Errno // of a link, too, which is no fs.PathError
	var bad *BadError
	switch {
	case err == nil:
		return nil
	case s.failed() != nil:
		return s.failed()
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case errors.As(err, &bad):
		return err
	case errors.As(err, &hostile), errors.As(err, &limit):
		return &BadError{err}
	case errors.As(err, &path), errors.As(err, &errno): // of the disk
		return err
	}
	return &BadError{fmt.Errorf("the archive can't be read: %w", err)}
}

type unpacking struct {
	ctx     context.Context
	writer  *tree.Writer
	content Content // as it is said to be; what was met is taken off
}

func (u *unpacking) entries(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		if err := u.entry(h, t); err != nil {
			return err
		}
	}
	if c := u.content; c.Files != 0 || c.Directories != 0 || c.Links != 0 || c.FileBytes != 0 {
		return errors.New("it has other files, links and directories than its manifest says")
	}
	return nil
}

// entry takes what Pack writes, and nothing else that a tar may hold.
func (u *unpacking) entry(h *tar.Header, content io.Reader) error {
	for key := range h.PAXRecords {
		switch key {
		case "path", "linkpath", "size", "mtime":
		default:
			return &tree.HostileError{Path: h.Name, Reason: fmt.Sprintf("its header says %.40q, which no artifact has", key)}
		}
	}
	mode := fs.FileMode(h.Mode) //nolint:gosec // more bits than permissions are refused, whatever they become
	switch h.Typeflag {
	case tar.TypeDir:
		u.content.Directories--
		return u.writer.RestoreDir(strings.TrimSuffix(h.Name, "/"), mode)
	case tar.TypeSymlink:
		u.content.Links--
		return u.writer.Symlink(h.Name, h.Linkname)
	case tar.TypeReg:
		u.content.Files--
		if u.content.FileBytes -= h.Size; u.content.FileBytes < 0 {
			return errors.New("it has more bytes of files than its manifest says")
		}
		return u.writer.Restore(u.ctx, h.Name, h.Size, tree.Meta{Perm: mode, Time: h.ModTime}, content)
	case tar.TypeLink:
		return &tree.HostileError{Path: h.Name, Reason: "it is a hard link; an artifact holds files, directories and symbolic links alone"}
	}
	return &tree.HostileError{Path: h.Name, Reason: fmt.Sprintf("it is of the kind %q; an artifact holds files, directories and symbolic links alone", h.Typeflag)}
}

// exact counts what is read through it, and gives no more than it may.
type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if e.left -= int64(n); e.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

var errTooLong = errors.New("it goes on beyond what its manifest says")

// rest reads what a tar has behind its last entry. At the end zstd has compared its own checksum of all.
func (e *exact) rest() error {
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{e}); err != nil {
		return err
	}
	if e.left != 0 {
		return fmt.Errorf("it ends %d bytes before what its manifest says", e.left)
	}
	return nil
}
