package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"golang.org/x/sync/errgroup"

	"github.com/bootagent/bootagent/deploy/tree"
)

// deltas are the objects that are told as differences from others. Their instructions lie in one file of the spool.
type deltas struct {
	file   *tree.TempFile
	buffer *bufio.Writer
	size   int64
	read   *os.File

	list     []*object
	at       map[*object]span
	children map[*object][]*object // by a base that stood before them (OFS_DELTA)

	mu     sync.Mutex
	byHash map[plumbing.Hash][]*object // by a base that may stand anywhere (REF_DELTA)
}

// span is where in the file a delta's instructions are.
type span struct{ offset, length int64 }

func (d *deltas) close() {
	// Nothing is lost if closing fails: the file is a scratch of ours, and the spool is removed.
	if d.file != nil {
		_ = d.file.Close()
	}
	if d.read != nil {
		_ = d.read.Close()
	}
}

// noteDelta puts a delta's instructions aside.
func (r *reader) noteDelta(o *object, header *packfile.ObjectHeader) (err error) {
	d := &r.deltas
	if d.file == nil {
		if d.file, err = r.writer.NewTemp(); err != nil {
			return err
		}
		d.buffer = bufio.NewWriterSize(d.file, 128<<10)
		d.at, d.children, d.byHash = map[*object]span{}, map[*object][]*object{}, map[plumbing.Hash][]*object{}
	}
	if d.size+header.Length > r.limits.Bytes {
		return &tree.LimitError{Path: "the pack", What: "bytes in all", Limit: r.limits.Bytes}
	}
	d.list = append(d.list, o)
	d.at[o] = span{d.size, header.Length}
	d.size += header.Length
	if header.Type == plumbing.REFDeltaObject {
		d.byHash[header.Reference] = append(d.byHash[header.Reference], o)
	} else {
		base, ok := r.byOffset[header.OffsetReference]
		if !ok {
			return fmt.Errorf("%w: a delta's base is no object", packfile.ErrMalformedPackFile)
		}
		d.children[base] = append(d.children[base], o)
	}
	return r.inflate(d.buffer, header.Length)
}

// dependants are the deltas on an object. Those by hash are handed out once, however often the object stands in the pack.
func (d *deltas) dependants(o *object) []*object {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.children[o]
	if byHash := d.byHash[o.hash]; len(byHash) > 0 {
		delete(d.byHash, o.hash)
		all = append(all[:len(all):len(all)], byHash...)
	}
	return all
}

// resolve makes whole objects of the deltas: families of them in parallel, each from its base outwards.
func (r *reader) resolve(ctx context.Context) error {
	d := &r.deltas
	if d.file == nil {
		return nil
	}
	if err := d.buffer.Flush(); err != nil {
		return err
	}
	var err error
	if d.read, err = r.writer.OpenTemp(d.file.Temp(d.size)); err != nil {
		return err
	}
	families, ctx := errgroup.WithContext(ctx)
	families.SetLimit(runtime.GOMAXPROCS(0))
	for _, o := range r.objects {
		if _, isDelta := d.at[o]; isDelta {
			continue
		}
		if kin := d.dependants(o); len(kin) > 0 {
			families.Go(func() error { return r.resolveFamily(ctx, o, kin) })
		}
	}
	if err := families.Wait(); err != nil {
		return err
	}
	for _, o := range d.list {
		if o.kind == plumbing.InvalidObject {
			return fmt.Errorf("%w: a delta's base is missing", packfile.ErrMalformedPackFile)
		}
	}
	return nil
}

// resolveFamily keeps one base and one result in memory at a time: what is a base itself is read again when its turn comes.
func (r *reader) resolveFamily(ctx context.Context, root *object, kin []*object) error {
	type generation struct {
		base *object
		kin  []*object
	}
	todo := []generation{{root, kin}}
	for len(todo) > 0 {
		g := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		base, err := r.open(g.base)
		if err != nil {
			return err
		}
		for _, o := range g.kin {
			if ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), base.close())
			}
			o.kind = g.base.kind
			if err := r.apply(ctx, o, base); err != nil {
				return errors.Join(err, base.close())
			}
			if kin := r.deltas.dependants(o); len(kin) > 0 {
				todo = append(todo, generation{o, kin})
			}
		}
		if err := base.close(); err != nil {
			return err
		}
	}
	return nil
}

// content is a base: bytes in memory, or a file where they are many.
type content struct {
	data []byte
	file *os.File
	size int64

	buffer []byte // for the file; a delta may have millions of copies
}

func (c content) close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

func (c content) copy(w io.Writer, offset, length int64) error {
	if c.file != nil {
		_, err := io.CopyBuffer(w, io.NewSectionReader(c.file, offset, length), c.buffer)
		return err
	}
	_, err := w.Write(c.data[offset : offset+length])
	return err
}

func (r *reader) open(o *object) (content, error) {
	if o.kind != plumbing.BlobObject {
		return content{data: o.data, size: o.size}, nil
	}
	f, err := r.writer.OpenTemp(o.temp)
	if err != nil || o.size > inMemory {
		return content{file: f, size: o.size, buffer: make([]byte, 64<<10)}, err
	}
	data := make([]byte, o.size)
	_, err = io.ReadFull(f, data)
	return content{data: data, size: o.size}, errors.Join(err, f.Close())
}

// whileRead is a delta's instructions, which end with a context: a gigabyte can be copied byte by byte.
type whileRead struct {
	io.Reader
	ctx context.Context
}

func (w whileRead) Read(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.Reader.Read(p)
}

// apply makes one object from its base.
func (r *reader) apply(ctx context.Context, o *object, base content) error {
	at := r.deltas.at[o]
	section := io.NewSectionReader(r.deltas.read, at.offset, at.length)
	instructions := bufio.NewReaderSize(whileRead{section, ctx}, int(min(max(at.length, 16), 64<<10)))
	size, err := deltaHeader(instructions, base.size)
	if err != nil {
		return err
	}
	o.size = size
	if err := r.admit(o); err != nil {
		return err
	}
	if o.size > inMemory {
		return r.spool(o, func(w io.Writer) error { return applyDelta(w, base, instructions, size) })
	}
	result := bytes.NewBuffer(make([]byte, 0, size))
	if err := applyDelta(result, base, instructions, size); err != nil {
		return err
	}
	return r.store(o, result.Bytes())
}

var errBadDelta = fmt.Errorf("%w: a delta makes no sense", packfile.ErrMalformedPackFile)

// deltaHeader reads the two sizes that a delta begins with (gitformat-pack(5)): its base's, and its result's.
func deltaHeader(r io.ByteReader, baseSize int64) (size int64, err error) {
	from, err := deltaSize(r)
	if err != nil || from != baseSize {
		return 0, errBadDelta
	}
	return deltaSize(r)
}

func deltaSize(r io.ByteReader) (int64, error) {
	var n int64
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, errBadDelta
		}
		n |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, nil
		}
	}
	return 0, errBadDelta
}

// applyDelta follows a delta's instructions (gitformat-pack(5), "Deltified representation") and writes exactly size bytes.
func applyDelta(w io.Writer, base content, r *bufio.Reader, size int64) error {
	for left := size; ; {
		op, err := r.ReadByte()
		if errors.Is(err, io.EOF) && left == 0 {
			return nil
		}
		if err != nil {
			return errBadDelta
		}
		if op&0x80 == 0 { // insert the next op bytes; 0 is reserved
			n := int64(op)
			if n == 0 || n > left {
				return errBadDelta
			}
			if _, err := io.CopyN(w, r, n); err != nil {
				return errBadDelta
			}
			left -= n
			continue
		}
		var arg [7]byte // copy: the bits say which bytes of offset (4) and length (3) follow
		for i := range arg {
			if op&(1<<i) != 0 {
				if arg[i], err = r.ReadByte(); err != nil {
					return errBadDelta
				}
			}
		}
		offset := int64(arg[0]) | int64(arg[1])<<8 | int64(arg[2])<<16 | int64(arg[3])<<24
		n := int64(arg[4]) | int64(arg[5])<<8 | int64(arg[6])<<16
		if n == 0 {
			n = 0x10000
		}
		if n > left || offset+n > base.size {
			return errBadDelta
		}
		if err := base.copy(w, offset, n); err != nil {
			return err
		}
		left -= n
	}
}
