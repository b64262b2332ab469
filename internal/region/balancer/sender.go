package balancer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"
)

// continuePatience is how long a body is held back when the target does not
// answer Expect: 100-continue; RFC 9110 section 10.1.1 asks not to wait for ever.
const continuePatience = time.Second

// sender writes one request to its target, the body as it comes from the
// client, while the exchange already reads the response.
type sender struct {
	x       *exchange
	reading atomic.Bool   // it waits for the client
	sawEnd  atomic.Bool   // the client's body has been read to its end
	goAhead chan struct{} // closed when the target wants the body
	over    chan struct{} // closed when the response is complete and the body no longer matters
	done    chan struct{} // closed when nothing is being sent any more
	err     error         // why sending stopped early; valid after done
}

// clientBodyError is a failure to read the client's body.
type clientBodyError struct{ err error }

func (e *clientBodyError) Error() string {
	return "reading the request's body from the client: " + e.err.Error()
}
func (e *clientBodyError) Unwrap() error { return e.err }

// send starts sending. Somebody must wait for done.
func (x *exchange) send() *sender {
	s := &sender{x: x, goAhead: make(chan struct{}), over: make(chan struct{}), done: make(chan struct{})}
	head := requestHead(x.r)
	if x.r.ContentLength == 0 {
		s.sawEnd.Store(true)
		_, s.err = x.up.Write(head)
		close(s.done)
		return s
	}
	go func() {
		defer close(s.done)
		if _, s.err = x.up.Write(head); s.err == nil && s.mayGoAhead() {
			s.err = s.body()
		}
	}()
	return s
}

func (s *sender) mayGoAhead() bool {
	if !expectsContinue(s.x.r) {
		return true
	}
	patience := time.NewTimer(continuePatience)
	defer patience.Stop()
	select {
	case <-s.goAhead:
	case <-patience.C:
	case <-s.over:
		return false
	}
	return true
}

// body copies the client's body. An error of the client's side cuts the
// connection to the target, because the request can never be complete; one of
// the target's side does not: an answer may be on its way (413, for example).
func (s *sender) body() error {
	var to io.Writer = s.x.up
	var chunks io.WriteCloser
	if s.x.r.ContentLength < 0 {
		chunks = httputil.NewChunkedWriter(s.x.up)
		to = chunks
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := s.read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			err = &clientBodyError{err}
			s.x.up.cut(err)
			return err
		}
	}
	if chunks == nil {
		return nil
	}
	if err := chunks.Close(); err != nil {
		return err
	}
	return writeTrailer(s.x.up, s.x.r.Trailer)
}

// read reads a piece of the body. It has no time limit of its own: whether the
// exchange is idle shows on the connection to the target.
func (s *sender) read(buf []byte) (int, error) {
	s.x.touchClient() // the first read may send "100 Continue"
	s.reading.Store(true)
	n, err := s.x.r.Body.Read(buf)
	s.reading.Store(false)
	if err == io.EOF {
		s.sawEnd.Store(true)
	}
	return n, err
}

// stop ends sending, at the end of an exchange, and says whether the whole
// request was sent, so that the connection can be used again.
func (s *sender) stop() bool {
	close(s.over)
	if s.sawEnd.Load() {
		// What is left is in a buffer, unless the target has answered without reading.
		linger := time.NewTimer(100 * time.Millisecond)
		defer linger.Stop()
		select {
		case <-s.done:
			return s.err == nil
		case <-linger.C:
		}
	}
	s.x.up.cut(errAnsweredEarly)
	select {
	case <-s.done:
		return false
	default:
	}
	if !s.sawEnd.Load() {
		_ = s.x.rc.SetReadDeadline(time.Unix(1, 0)) // the response said Connection: close
	}
	<-s.done
	return false
}

func writeTrailer(w io.Writer, trailer http.Header) error {
	if err := trailer.Write(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\r\n")
	return err
}
