package balancer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// tunnel is a connection that left HTTP by a 101 (a websocket): bytes go both
// ways until one side is done, nothing has moved for the idle timeout, or the
// target's deregistration delay ends.
type tunnel struct {
	client net.Conn
	up     *upstream
	idle   time.Duration
}

func (x *exchange) tunnel(resp *http.Response) {
	client, buffered, err := x.rc.Hijack()
	if err != nil {
		x.fail(fmt.Errorf("switch protocols: %w", err))
		return
	}
	t := &tunnel{client: client, up: x.up, idle: x.b.opts.IdleTimeout}
	protocol := upgrade(resp.Header)
	dropHopByHop(resp.Header)
	resp.Header.Set("Connection", "Upgrade")
	resp.Header.Set("Upgrade", protocol)
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", resp.StatusCode, http.StatusText(resp.StatusCode))
	_ = resp.Header.Write(&head) // a bytes.Buffer does not fail
	head.WriteString("\r\n")
	x.up.active = false // both deadlines are the tunnel's from here on
	t.touch()
	if _, err := client.Write(head.Bytes()); err != nil {
		_ = client.Close()
		x.b.counters.made(StatusClientGone)
		return
	}

	// Only what the server has read already comes from its buffer: reading on
	// through it would cancel the request when the client closes its half.
	early := io.LimitReader(buffered, int64(buffered.Reader.Buffered()))
	var both sync.WaitGroup
	both.Go(func() { t.copy(x.up, io.MultiReader(early, client), x.up.Conn) })
	both.Go(func() { t.copy(client, x.up.br, client) })
	both.Wait()
	_ = client.Close()
	if cause := x.up.because(nil); cause != nil {
		x.b.recordCut(x.r, x.target.ID, resp.StatusCode, cause)
		return
	}
	x.b.counters.answered(x.target.ID, resp.StatusCode, false)
}

// touch gives both sides another idle timeout.
func (t *tunnel) touch() {
	deadline := time.Now().Add(t.idle)
	_ = t.client.SetDeadline(deadline)
	_ = t.up.SetDeadline(deadline)
}

// copy moves bytes one way. At their end it closes that way only, so that the
// other side can still finish; an error ends both ways.
func (t *tunnel) copy(to io.Writer, from io.Reader, conn net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			t.touch()
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err == nil {
			continue
		}
		half, ok := conn.(interface{ CloseWrite() error })
		if errors.Is(err, io.EOF) && ok && half.CloseWrite() == nil {
			return
		}
		_ = t.client.Close()
		_ = t.up.Close()
		return
	}
}
