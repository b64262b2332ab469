package source

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/bootagent/bootagent/deploy/tree"
)

// signedReader parses a pack for its commits and tags alone. They stay in memory, the rest is passed over.
type signedReader struct {
	scanner  *packfile.Scanner
	limits   tree.Limits
	gate     *gate
	byOffset map[int64]*object
	byHash   map[plumbing.Hash]*object
	kept     int64 // bytes
	passed   int64 // bytes, inflated, of everything
	long     bool  // one was longer than signedMax
}

// readSigned reads a pack until the gate opens; nothing reaches a file. An errUnverified means that the pack ended before.
func readSigned(ctx context.Context, stream io.Reader, limits tree.Limits, g *gate) error {
	stream = &boundedReader{r: stream, left: limits.Bytes + slack}
	r := &signedReader{scanner: packfile.NewScanner(stream), limits: limits, gate: g, byOffset: map[int64]*object{}, byHash: map[plumbing.Hash]*object{}}
	_, count, err := r.scanner.Header()
	if err != nil {
		return inPack(truncated(err))
	}
	for range count {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.next(); err != nil {
			return inPack(truncated(err))
		}
		if g.passes() == nil {
			return nil // the rest is not asked for
		}
	}
	if r.long {
		return revisionf("source.verify takes commits and tags of %d bytes at most, and this one, or its tag, is longer", signedMax)
	}
	return g.passes()
}

// next takes one object.
func (r *signedReader) next() error {
	header, err := r.scanner.NextObjectHeader()
	if err != nil {
		return err
	}
	if r.passed += header.Length; r.passed > r.limits.Bytes+historyMetaMax {
		return &tree.LimitError{Path: "the pack", What: "bytes in all", Limit: r.limits.Bytes}
	}
	var base *object
	o := &object{kind: header.Type, size: header.Length}
	switch header.Type {
	case plumbing.CommitObject, plumbing.TagObject:
	case plumbing.OFSDeltaObject:
		base = r.byOffset[header.OffsetReference]
	case plumbing.REFDeltaObject:
		base = r.byHash[header.Reference]
	default:
		return nil // the scanner passes over its content
	}
	isDelta := header.Type.IsDelta()
	if isDelta && base == nil {
		return nil // on a tree or a blob, or on what was too long
	}
	if header.Length > signedMax {
		r.long = true
		return nil
	}
	var content bytes.Buffer
	if n, _, err := r.scanner.NextObject(&content); err != nil || n != header.Length {
		return fmt.Errorf("%w: an object of %d bytes says that it has %d (%w)", packfile.ErrMalformedPackFile, n, header.Length, err)
	}
	o.data = content.Bytes()
	if isDelta {
		if o, err = undelta(base, o.data); err != nil {
			return err
		}
	}
	return r.keep(header.Offset, o)
}

// undelta applies a delta in memory.
func undelta(base *object, instructions []byte) (*object, error) {
	in := bufio.NewReader(bytes.NewReader(instructions))
	size, err := deltaHeader(in, int64(len(base.data)))
	if err != nil {
		return nil, err
	}
	if size > signedMax {
		return nil, errBadDelta
	}
	var out bytes.Buffer
	if err := applyDelta(&out, content{data: base.data, size: int64(len(base.data))}, in, size); err != nil {
		return nil, err
	}
	return &object{kind: base.kind, size: size, data: out.Bytes()}, nil
}

func (r *signedReader) keep(offset int64, o *object) (err error) {
	if r.kept += int64(len(o.data)); r.kept > historyMetaMax {
		return &tree.LimitError{Path: "the pack", What: "bytes of commits and tags", Limit: historyMetaMax}
	}
	if o.hash, err = hashOf(o.kind, o.data); err != nil {
		return err
	}
	r.byOffset[offset], r.byHash[o.hash] = o, o
	return r.gate.saw(o.kind.String(), o.hash.String(), o.data)
}

func hashOf(kind plumbing.ObjectType, data []byte) (plumbing.Hash, error) {
	h := plumbing.NewHasher(kind, int64(len(data)))
	if _, err := h.Write(data); err != nil {
		return plumbing.Hash{}, err
	}
	return sum(h)
}
