package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"golang.org/x/sync/errgroup"

	"github.com/bootagent/bootagent/deploy/tree"
)

const (
	// smallObject is hashed and written by a worker while the next one is inflated; what is bigger is streamed.
	smallObject = 256 << 10
	// inMemory is up to where deltas are applied in memory, and the most that one commit, tag or tree may have.
	inMemory = 16 << 20
	// metaMax bounds all commits, tags and trees of a pack, which stay in memory; Linux has 6 MiB of trees a commit. In
	// a whole history there are more.
	metaMax        = 64 << 20
	historyMetaMax = 256 << 20
	// historyObjectsMax bounds the objects of a whole history: each takes some 200 bytes of memory, and a blob an inode.
	// One commit has at most its files and the directories above them; Linux has 90,000 objects.
	historyObjectsMax = 1 << 20
	// slack is what a pack may have on the wire beyond the bytes that it holds.
	slack = 64 << 20
)

// object is one object of a pack. Commits, tags and trees keep their content here, blobs have theirs in the spool.
type object struct {
	kind plumbing.ObjectType // InvalidObject: a delta that is not resolved
	hash plumbing.Hash
	size int64
	data []byte
	temp tree.Temp
	lfs  bool
	path string // where a blob went first
}

// pack is a parsed pack.
type pack struct {
	objects map[plumbing.Hash]*object
}

// spent is what the packs for one tree have taken so far, one after another.
type spent struct {
	bytes   int64 // inflated
	objects int64
}

// reader parses a pack in one pass over the stream: whole objects are hashed and stored as they come, deltas noted and
// resolved at the end.
type reader struct {
	writer  *tree.Writer
	limits  tree.Limits
	most    int64 // objects
	metaMax int64 // bytes of commits, tags and trees
	scanner *packfile.Scanner
	bytes   atomic.Int64 // inflated, of all objects
	meta    atomic.Int64 // … of those that stay in memory

	gate *gate // before anything is written

	objects  []*object
	byOffset map[int64]*object
	deltas   deltas
}

// readPack reads a whole pack: one commit's, or a history's. A *tree.LimitError means that it holds more than was allowed,
// together with what came before, in other packs for the same tree, an errUnverified that what the gate waits for comes later.
func readPack(ctx context.Context, stream io.Reader, w *tree.Writer, history bool, s *spent, g *gate) (*pack, error) {
	limits := w.Limits()
	stream = &boundedReader{r: stream, left: max(limits.Bytes-s.bytes, 0) + slack}
	r := &reader{writer: w, limits: limits, scanner: packfile.NewScanner(stream), byOffset: map[int64]*object{}, gate: g}
	r.most, r.metaMax = 2*int64(limits.Files)+1000, metaMax // a directory that is not empty for each file, some commits and tags
	if history {
		r.most, r.metaMax = historyObjectsMax, historyMetaMax
	}
	r.most -= s.objects
	r.bytes.Store(s.bytes)
	defer r.deltas.close()
	if err := r.scan(ctx); err != nil {
		return nil, inPack(truncated(err))
	}
	if err := g.passes(); err != nil { // also where the pack holds nothing that would be written
		return nil, err
	}
	if err := r.resolve(ctx); err != nil {
		return nil, inPack(err)
	}
	s.bytes, s.objects = r.bytes.Load(), s.objects+int64(len(r.objects))
	p := &pack{objects: make(map[plumbing.Hash]*object, len(r.objects))}
	for _, o := range r.objects {
		p.objects[o.hash] = o
	}
	return p, nil
}

// inPack says where an error comes from. A signature that does not count is no matter of the pack.
func inPack(err error) error {
	if errors.Is(err, ErrSignature) {
		return err
	}
	return fmt.Errorf("the pack: %w", damaged(err))
}

// damaged says what it means that a stream makes no sense. What isn't the stream's fault is the disk's or ours; the
// decoders' own errors can't be told by type.
func damaged(err error) error {
	var disk *fs.PathError
	var limit *tree.LimitError
	if errors.As(err, &disk) || errors.As(err, &limit) || errors.Is(err, errCut) || errors.Is(err, errUnverified) || isRevision(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("it arrived damaged: try again (%w)", err)
}

// whole is an object that waits for a worker.
type whole struct {
	object  *object
	content []byte
}

// scan goes over the stream once. The calling goroutine inflates; workers hash and write.
func (r *reader) scan(ctx context.Context) error {
	_, count, err := r.scanner.Header()
	if err != nil {
		return err
	}
	if int64(count) > r.most {
		return &tree.LimitError{Path: "the pack", What: "objects", Limit: r.most}
	}
	workers, ctx := errgroup.WithContext(ctx)
	queue := make(chan whole, 64)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() error {
			for job := range queue {
				if err := r.store(job.object, job.content); err != nil {
					return err
				}
			}
			return nil
		})
	}
	scanned := r.objectsInto(ctx, count, queue)
	close(queue)
	stored := workers.Wait()
	switch {
	case stored != nil:
		return stored
	case scanned != nil:
		return scanned
	}
	// The trailer: the hash of the whole pack.
	_, err = r.scanner.Checksum()
	return err
}

func (r *reader) objectsInto(ctx context.Context, count uint32, queue chan<- whole) error {
	for range count {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		header, err := r.scanner.NextObjectHeader()
		if err != nil {
			return err
		}
		o := &object{size: header.Length}
		switch header.Type {
		case plumbing.OFSDeltaObject, plumbing.REFDeltaObject:
			if err = r.gate.passes(); err == nil {
				err = r.noteDelta(o, header)
			}
		case plumbing.BlobObject, plumbing.CommitObject, plumbing.TreeObject, plumbing.TagObject:
			o.kind = header.Type
			err = r.take(ctx, o, queue)
		default:
			err = fmt.Errorf("%w: an object of unknown type %d", packfile.ErrMalformedPackFile, header.Type)
		}
		if err != nil {
			return err
		}
		r.byOffset[header.Offset] = o
		r.objects = append(r.objects, o)
	}
	return nil
}

// take reads a whole object.
func (r *reader) take(ctx context.Context, o *object, queue chan<- whole) error {
	if err := r.admit(o); err != nil {
		return err
	}
	if o.kind == plumbing.BlobObject {
		if err := r.gate.passes(); err != nil {
			return err
		}
	}
	if o.kind == plumbing.BlobObject && o.size > smallObject {
		return r.spool(o, func(w io.Writer) error { return r.inflate(w, o.size) })
	}
	content := bytes.NewBuffer(make([]byte, 0, o.size))
	if err := r.inflate(content, o.size); err != nil {
		return err
	}
	if err := r.judge(o, content.Bytes()); err != nil {
		return err
	}
	select {
	case queue <- whole{o, content.Bytes()}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// judge shows the gate what may open it. It is hashed twice, here and by a worker, which is once more than needed and costs
// nothing that counts: of commits and tags a pack has few.
func (r *reader) judge(o *object, content []byte) error {
	if r.gate.passes() == nil || o.kind != plumbing.CommitObject && o.kind != plumbing.TagObject || o.size > signedMax {
		return nil
	}
	hash, err := hashOf(o.kind, content)
	if err != nil {
		return err
	}
	return r.gate.saw(o.kind.String(), hash.String(), content)
}

// inflate copies the next object's content, of exactly that many bytes.
func (r *reader) inflate(w io.Writer, size int64) error {
	n, _, err := r.scanner.NextObject(w)
	if err == nil && n != size {
		err = fmt.Errorf("%w: an object of %d bytes says that it has %d", packfile.ErrMalformedPackFile, n, size)
	}
	return err
}

// admit counts an object, whose kind and size are known, against the limits before it is taken.
func (r *reader) admit(o *object) error {
	const what = "an object of the pack"
	total := r.bytes.Add(o.size)
	switch {
	case o.kind != plumbing.BlobObject && o.size > inMemory:
		return &tree.LimitError{Path: what, What: "bytes in one commit or directory", Limit: inMemory}
	case o.kind != plumbing.BlobObject && r.meta.Add(o.size) > r.metaMax:
		return &tree.LimitError{Path: what, What: "bytes of commits and directories", Limit: r.metaMax}
	case o.size > r.limits.FileBytes:
		return &tree.LimitError{Path: what, What: "bytes in one file", Limit: r.limits.FileBytes}
	case total > r.limits.Bytes+r.metaMax:
		return &tree.LimitError{Path: what, What: "bytes in all", Limit: r.limits.Bytes}
	}
	return nil
}

// store hashes a content that is in memory, and puts a blob's into the spool.
func (r *reader) store(o *object, content []byte) error {
	var err error
	if o.hash, err = hashOf(o.kind, content); err != nil {
		return err
	}
	if o.kind != plumbing.BlobObject {
		o.data = content
		return nil
	}
	o.lfs = isLFSPointer(content)
	o.temp, err = r.writer.Spool(content)
	return err
}

// spool hashes a big blob while fill writes it into the spool.
func (r *reader) spool(o *object, fill func(io.Writer) error) error {
	f, err := r.writer.NewTemp()
	if err != nil {
		return err
	}
	h := plumbing.NewHasher(o.kind, o.size)
	buffered := bufio.NewWriterSize(f, 128<<10)
	err = fill(io.MultiWriter(h, buffered))
	if err == nil {
		err = buffered.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	o.temp = f.Temp(o.size)
	o.hash, err = sum(h)
	return err
}

// sum ends a hash. go-git's SHA-1 notices the known attacks (shattered) but its plain Sum doesn't tell.
func sum(h plumbing.Hasher) (hash plumbing.Hash, err error) {
	safe, ok := h.Hash.(interface {
		CollisionResistantSum([]byte) ([]byte, bool)
	})
	if !ok {
		return hash, errors.New("the SHA-1 in use does not detect collisions")
	}
	digest, collision := safe.CollisionResistantSum(nil)
	if collision {
		return hash, &RevisionError{Err: fmt.Errorf("object %x was made for a SHA-1 collision: this is an attack", digest)}
	}
	return plumbing.Hash(digest), nil
}
