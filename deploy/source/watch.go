package source

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// dripBytes in one idle period are next to nothing; git servers' own keep-alives (uploadpack.keepAlive: 5 bytes
	// every 5 s while they count objects) are less.
	dripBytes = 1 << 10
	// dripPeriods of next to nothing in a row end a transfer. A server may think for that long before it sends.
	dripPeriods = 10
)

// watched is a server's answer that is ended when the server stops sending. It counts only while somebody waits for bytes:
// a slow disk on our side is no silence on theirs.
type watched struct {
	io.ReadCloser
	conn *conn
	idle time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	waiting time.Time // since when a Read is in progress; zero: none is
	bytes   int64     // since the last look
	dripped int       // looks in a row at which next to nothing had come
	closed  bool
}

func (c *conn) watch(body io.ReadCloser) io.ReadCloser {
	w := &watched{ReadCloser: body, conn: c, idle: c.remote.config.Idle}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.idle/2, w.look)
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	w.mark(time.Now(), 0)
	n, err := w.ReadCloser.Read(p)
	w.mark(time.Time{}, n)
	if err != nil && !errors.Is(err, io.EOF) {
		w.conn.broke(err)
	}
	return n, err
}

func (w *watched) mark(waiting time.Time, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = waiting
	w.bytes += int64(n)
}

// look comes twice in an idle period.
func (w *watched) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.conn.ctx.Err() != nil {
		return
	}
	if w.waiting.IsZero() || w.bytes >= dripBytes {
		w.dripped = 0
	} else {
		w.dripped++
	}
	switch {
	case !w.waiting.IsZero() && time.Since(w.waiting) >= w.idle:
		w.conn.cancel(fmt.Errorf("the server fell silent: nothing came for %s: try again", w.idle))
	case w.dripped >= 2*dripPeriods:
		w.conn.cancel(fmt.Errorf("the server hardly sends: less than %d bytes in each %s for %s: try again",
			dripBytes, w.idle/2, dripPeriods*w.idle))
	default:
		w.bytes = 0
		w.timer.Reset(w.idle / 2)
	}
}

func (w *watched) Close() error {
	w.mu.Lock()
	w.closed = true
	w.timer.Stop()
	w.mu.Unlock()
	return w.ReadCloser.Close()
}

// boundedReader ends a stream that is longer than it may be.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("it is longer than any that is taken")
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
