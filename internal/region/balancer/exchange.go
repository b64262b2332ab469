package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"
)

var (
	errClientGone    = errors.New("the client closed the connection")
	errListenerGone  = errors.New("the listener was deleted while the request was in flight")
	errAnsweredEarly = errors.New("the target answered before it had read the request")
)

// maxInterim bounds the 1xx answers to one request.
const maxInterim = 16

// exchange is one request on its way to one target, and the answer's way back.
// There is one attempt: whatever goes wrong after the target was picked is an
// error for the client.
type exchange struct {
	b      *Balancer
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	target Target
	up     *upstream
}

func (x *exchange) run(p *pool) {
	up, err := p.get(x.r.Context(), x.target.Address, x.b.opts)
	if err != nil {
		x.fail(err)
		return
	}
	x.up = up
	stop := context.AfterFunc(x.r.Context(), func() {
		if x.b.ctx.Err() != nil {
			up.cut(errListenerGone)
		} else {
			up.cut(errClientGone)
		}
	})
	reusable := false
	defer func() {
		if stop() && reusable {
			p.put(up, x.b.opts.IdleTimeout)
		} else {
			p.discard(up)
		}
	}()
	if x.r.ContentLength != 0 {
		_ = x.rc.EnableFullDuplex() // else the server would swallow the body before it sends the response
	}
	s := x.send()
	stopped := false
	defer func() {
		if !stopped {
			s.stop()
		}
	}()

	resp, err := x.response(s)
	if err != nil {
		if timedOut(err) && s.reading.Load() {
			err = &clientBodyError{err} // both sides are silent, and it is the client's turn
		}
		x.fail(up.because(err))
		return
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		stopped = true
		s.stop()
		x.tunnel(resp)
		return
	}
	if err := x.forward(resp, s); err != nil {
		x.cut(resp.StatusCode, err)
	}
	stopped = true
	reusable = s.stop() && !resp.Close
	x.b.counters.answered(x.target.ID, resp.StatusCode, false)
}

// response reads the head of the final response (or of a 101), and passes the
// interim ones on.
func (x *exchange) response(s *sender) (*http.Response, error) {
	waiting := expectsContinue(x.r)
	for range maxInterim {
		x.up.budget = maxResponseHeader
		resp, err := http.ReadResponse(x.up.br, x.r)
		if err != nil {
			return nil, err
		}
		x.up.budget = noBudget
		switch code := resp.StatusCode; {
		case code == http.StatusSwitchingProtocols:
			if upgrade(x.r.Header) == "" || upgrade(resp.Header) == "" {
				return nil, errors.New("the target switched protocols, which nobody had asked for")
			}
			return resp, nil
		case code == http.StatusContinue:
			if waiting {
				waiting = false
				close(s.goAhead) // the server says 100 to the client when its body is read
			}
		case code < 200:
			x.touchClient()
			h := x.w.Header()
			for name, values := range resp.Header {
				h[name] = values
			}
			x.w.WriteHeader(code)
			clear(h)
		default:
			return resp, nil
		}
	}
	return nil, fmt.Errorf("the target sent %d interim responses and no final one", maxInterim)
}

// forward passes the response on. The body goes out as it comes in. An error
// means that the client has the head, and not all of the body.
func (x *exchange) forward(resp *http.Response, s *sender) error {
	h := x.w.Header()
	announced := make([]string, 0, len(resp.Trailer))
	for name := range resp.Trailer {
		announced = append(announced, name)
	}
	copyHead(h, resp)
	for _, name := range announced {
		h.Add("Trailer", name)
	}
	if !s.sawEnd.Load() {
		h.Set("Connection", "close") // the rest of the request is not read any more after the response
	}
	x.touchClient()
	x.w.WriteHeader(resp.StatusCode)
	left := resp.ContentLength
	if left != 0 && x.up.br.Buffered() == 0 {
		if err := x.rc.Flush(); err != nil { // the body may take its time
			return &clientWriteError{err}
		}
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			left -= int64(n)
			x.touchClient()
			if _, err := x.w.Write(buf[:n]); err != nil {
				return &clientWriteError{err}
			}
			if left != 0 { // negative: of unknown length
				if err := x.rc.Flush(); err != nil {
					return &clientWriteError{err}
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return x.up.because(err)
		}
	}
	for name, values := range resp.Trailer {
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	return nil
}

// clientWriteError is a failure to write to the client.
type clientWriteError struct{ err error }

func (e *clientWriteError) Error() string { return "writing to the client: " + e.err.Error() }
func (e *clientWriteError) Unwrap() error { return e.err }

// touchClient gives the client another idle timeout to take what is written.
func (x *exchange) touchClient() {
	_ = x.rc.SetWriteDeadline(time.Now().Add(x.b.opts.IdleTimeout))
}

// cut ends an answer whose head was sent already: the client must see that it
// is not complete, so its connection is closed.
func (x *exchange) cut(status int, err error) {
	var write *clientWriteError
	switch {
	case x.b.ctx.Err() != nil:
		x.b.recordCut(x.r, x.target.ID, status, errListenerGone)
	case errors.As(err, &write), x.r.Context().Err() != nil:
		x.b.counters.made(StatusClientGone)
	default:
		x.b.recordCut(x.r, x.target.ID, status, fmt.Errorf("the answer of target %s ended early: %w", x.target.ID, err))
	}
	panic(http.ErrAbortHandler)
}

// fail answers a request that got no response from its target.
func (x *exchange) fail(err error) {
	f := x.classify(err)
	if f.status == StatusClientGone {
		x.b.record(x.r, x.target.ID, f)
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	}
	if x.r.ContentLength != 0 {
		x.w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	x.touchClient()
	x.b.answer(x.w, x.r, x.target.ID, f)
}

// classify chooses the status as an ALB does.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
func (x *exchange) classify(err error) *failure {
	var body *clientBodyError
	status := http.StatusBadGateway
	switch {
	case x.b.ctx.Err() != nil:
		err = errListenerGone
	case errors.As(err, &body):
		status = body.status()
	case errors.Is(err, errClientGone), x.r.Context().Err() != nil:
		status = StatusClientGone
	case timedOut(err):
		// 504: no connection within the connect timeout, or no response within the idle timeout.
		status = http.StatusGatewayTimeout
	}
	return &failure{status: status, err: fmt.Errorf("target %s (%s): %w", x.target.ID, x.target.Address, err)}
}

// status is 408 for a client that fell silent, 460 for one that left, 400 for nonsense.
func (e *clientBodyError) status() int {
	switch {
	case timedOut(e.err):
		return http.StatusRequestTimeout
	case errors.Is(e.err, io.ErrUnexpectedEOF), errors.Is(e.err, syscall.ECONNRESET), errors.Is(e.err, net.ErrClosed):
		return StatusClientGone
	}
	return http.StatusBadRequest
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}
