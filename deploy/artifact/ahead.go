package artifact

import (
	"io"
	"sync"
)

const (
	// aheadBytes is what is read at a time, and aheadMost how often before it is asked for: what an archive's small files and its large ones
	// take, to decompress and to write, differs.
	aheadBytes = 512 << 10
	aheadMost  = 4
)

// ahead reads on in a goroutine of its own while what was read is written. End it with Close, once a Read of what it reads returns.
type ahead struct {
	full chan chunk
	free chan []byte
	stop chan struct{}
	wait sync.WaitGroup
	now  []byte // what is left of the chunk at hand
	last chunk
}

type chunk struct {
	data []byte
	err  error // what came after data
}

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan chunk, aheadMost), free: make(chan []byte, aheadMost), stop: make(chan struct{})}
	for range aheadMost {
		a.free <- nil
	}
	a.wait.Go(func() { a.fill(r) })
	return a
}

// fill reads until there is nothing more, or nobody who wants it.
func (a *ahead) fill(r io.Reader) {
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.stop:
			return
		}
		if buf == nil {
			buf = make([]byte, aheadBytes)
		}
		n, err := 0, error(nil)
		for n < len(buf) && err == nil {
			var more int
			more, err = r.Read(buf[n:])
			n += more
		}
		a.full <- chunk{buf[:n], err} // has room for all buffers
		if err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now) == 0 {
		if a.last.err != nil {
			return 0, a.last.err
		}
		if a.last.data != nil {
			a.free <- a.last.data[:cap(a.last.data)]
		}
		a.last = <-a.full
		a.now = a.last.data
	}
	n := copy(p, a.now)
	a.now = a.now[n:]
	return n, nil
}

// Close waits for the goroutine.
func (a *ahead) Close() {
	close(a.stop)
	a.wait.Wait()
}
