package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"
)

const (
	// abreast is how many pieces are asked for at the same time: one stream of S3 gives some 80 MB/s.
	abreast = 6
	// piecePatience is how long a piece may take. Six of 4 MiB in 30 seconds are 0.8 MiB a second: who is slower is given up.
	piecePatience = 30 * time.Second
)

// reader reads an archive piece by piece, several at a time, and gives what is verified.
type reader struct {
	store  Store
	name   string
	of     Archive
	ctx    context.Context
	cancel context.CancelCauseFunc
	wait   sync.WaitGroup
	queue  chan chan piece
	free   chan []byte
	now    []byte // what is left of the piece at hand
	whole  []byte // its buffer
	err    error
}

type piece struct {
	data []byte
	err  error
}

func openArchive(ctx context.Context, store Store, name string, of Archive) *reader {
	r := &reader{store: store, name: name, of: of, queue: make(chan chan piece, abreast), free: make(chan []byte, abreast)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	for range min(abreast, len(of.Pieces)) {
		r.free <- nil
	}
	r.wait.Add(1)
	go r.ask()
	return r
}

// ask begins a request whenever there is room for what it will bring.
func (r *reader) ask() {
	defer r.wait.Done()
	defer close(r.queue)
	for i := range r.of.Pieces {
		var buf []byte
		select {
		case buf = <-r.free:
		case <-r.ctx.Done():
			return
		}
		if buf == nil {
			buf = make([]byte, min(r.of.PieceBytes, r.of.Bytes))
		}
		at := int64(i) * r.of.PieceBytes
		buf = buf[:min(r.of.PieceBytes, r.of.Bytes-at)]
		answer := make(chan piece, 1)
		r.queue <- answer // has room for all that have a buffer
		r.wait.Add(1)
		go func() {
			defer r.wait.Done()
			answer <- piece{buf, r.fetch(i, at, buf)}
		}()
	}
}

// fetch reads one piece. One that is not what it should be is asked for once more: the network may have been at fault.
func (r *reader) fetch(i int, at int64, buf []byte) error {
	ctx, cancel := context.WithTimeoutCause(r.ctx, piecePatience, fmt.Errorf("%d bytes did not come within %s", len(buf), piecePatience))
	defer cancel()
	var wrong error
	for range 2 {
		n, err := r.store.Read(ctx, r.name, at, buf)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &BadError{fmt.Errorf("the archive is not there: %w", err)}
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("read the archive: %w", context.Cause(ctx))
		case err != nil:
			return fmt.Errorf("read the archive: %w", err)
		case n < len(buf):
			wrong = fmt.Errorf("the archive ends at byte %d of %d", at+int64(n), r.of.Bytes)
		default:
			got := Digest(buf)
			if got == r.of.Pieces[i] {
				return nil
			}
			wrong = fmt.Errorf("piece %d of the archive is not what its manifest says: its SHA-256 is %s, and should be %s", i, got, r.of.Pieces[i])
		}
	}
	return &BadError{wrong}
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.now) == 0 && r.err == nil {
		if r.whole != nil {
			r.free <- r.whole
			r.whole = nil
		}
		answer, more := <-r.queue
		if !more {
			if r.err = io.EOF; r.ctx.Err() != nil {
				r.err = context.Cause(r.ctx)
			}
			break
		}
		got := <-answer
		if r.err = got.err; r.err == nil {
			r.now, r.whole = got.data, got.data[:cap(got.data)]
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.now)
	r.now = r.now[n:]
	return n, nil
}

// Close ends what is on its way, and waits for it.
func (r *reader) Close() error {
	r.cancel(errors.New("it is not needed any more"))
	r.wait.Wait()
	return nil
}
