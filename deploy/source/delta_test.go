package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/bootagent/bootagent/deploy/tree"
)

// TestADeltaThatCopiesByteByByteEndsWithItsContext has a million instructions, which nobody waits for any more.
func TestADeltaThatCopiesByteByByteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w, err := tree.New(filepath.Join(t.TempDir(), "tree"), tree.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const copies = 1 << 20
	name := filepath.Join(t.TempDir(), "delta")
	delta := append(binary.AppendUvarint([]byte{1}, copies), bytes.Repeat([]byte{0x90, 1}, copies)...)
	if err := os.WriteFile(name, delta, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, cancelled := range []bool{false, true} {
		if cancelled {
			cancel()
		}
		o := &object{kind: plumbing.BlobObject}
		r := &reader{writer: w, limits: w.Limits(), metaMax: metaMax}
		r.deltas.at, r.deltas.read = map[*object]span{o: {0, int64(len(delta))}}, file
		if err := r.apply(ctx, o, content{data: []byte("x"), size: 1}); (err != nil) != cancelled {
			t.Errorf("cancelled: %t, got %v", cancelled, err)
		}
	}
}

// FuzzDelta holds our way of applying deltas against go-git's.
func FuzzDelta(f *testing.F) {
	f.Add([]byte("hello world"), []byte{11, 5, 0x90, 5})
	f.Add([]byte("hello world"), []byte{11, 14, 0x91, 6, 5, 3, 'a', 'b', 'c', 0x90, 6})
	f.Add([]byte(""), []byte{0, 3, 3, 'x', 'y', 'z'})
	f.Add([]byte("abc"), []byte{3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x90, 3})
	f.Add([]byte("abc"), []byte{3, 3, 0})
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		ours, ourErr := func() ([]byte, error) {
			r := bufio.NewReaderSize(bytes.NewReader(delta), 16)
			size, err := deltaHeader(r, int64(len(base)))
			if err != nil || size > 1<<20 {
				return nil, errBadDelta
			}
			var out bytes.Buffer
			err = applyDelta(&out, content{data: base, size: int64(len(base))}, r, size)
			if err == nil && int64(out.Len()) != size {
				t.Fatalf("%d bytes instead of %d", out.Len(), size)
			}
			return out.Bytes(), err
		}()
		theirs, theirErr := packfile.PatchDelta(base, delta)
		if ourErr == nil && (theirErr == nil && !bytes.Equal(ours, theirs)) {
			t.Errorf("%q with % x: we say %q, go-git says %q", base, delta, ours, theirs)
		}
		if ourErr != nil && theirErr == nil && len(theirs) < 1<<20 && len(theirs) > 0 {
			t.Errorf("%q with % x: go-git says %q, we say %v", base, delta, theirs, ourErr)
		}
	})
}
