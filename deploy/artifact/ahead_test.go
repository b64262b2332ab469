package artifact

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadingAheadGivesWhatThereIsAndThenTheError(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef\n"), 3*aheadMost*aheadBytes/17) // each buffer several times
	broken := errors.New("the connection broke")
	for name, c := range map[string]struct {
		r    io.Reader
		want error
	}{
		"to its end":      {bytes.NewReader(content), nil},
		"in small pieces": {iotest.HalfReader(iotest.DataErrReader(bytes.NewReader(content))), nil},
		"until it fails":  {io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken)), broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := readAhead(c.r)
			defer a.Close()
			got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(a, 1000)))
			if err == nil {
				var rest []byte
				rest, err = io.ReadAll(a)
				got = append(got, rest...)
			}
			if !bytes.Equal(got, content) || !errors.Is(err, c.want) {
				t.Errorf("read %d bytes of %d, %v", len(got), len(content), err)
			}
			if _, err := a.Read(make([]byte, 1)); err == nil {
				t.Error("it goes on after its end")
			}
		})
	}
}

func TestReadingAheadEndsThoughNobodyReads(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("x"), zeros{})
	a := readAhead(endless)
	if _, err := io.ReadFull(a, make([]byte, aheadBytes+1)); err != nil {
		t.Error(err)
	}
	a.Close() // which would wait for ever
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
