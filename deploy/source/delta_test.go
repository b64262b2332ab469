package source

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

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
