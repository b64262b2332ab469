package balancer

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func echoTunnel(t *testing.T) Target {
	return rawTarget(t, "a", func(conn net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "Upgrade" {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Accept: x\r\n\r\nwelcome\n")
		_, _ = io.Copy(conn, br)
		_, _ = io.WriteString(conn, "bye\n")
	})
}

func (f *fixture) openTunnel(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, br := f.dial(t)
	say(t, conn, "GET /ws HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", "", "early\n")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // which is empty: what follows is the tunnel
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-Websocket-Accept") != "x" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, want := range []string{"welcome\n", "early\n"} {
		if got, err := br.ReadString('\n'); got != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	return conn, br
}

func TestAWebsocketIsTunnelled(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	f.group.Set(echoTunnel(t), Healthy)
	conn, br := f.openTunnel(t)
	for _, line := range []string{"one\n", "two\n"} {
		say(t, conn, line)
		if got, err := br.ReadString('\n'); got != line {
			t.Fatalf("%q, %v", got, err)
		}
	}
	_ = conn.(*net.TCPConn).CloseWrite() // the other way stays open
	rest, err := io.ReadAll(br)
	if string(rest) != "bye\n" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	eventually(t, "it is counted", func() bool { return f.Stats().Targets["a"][101] == 1 })
}

func TestWhatEndsATunnel(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end func(f *fixture)
		cut int64
	}{
		"the end of the deregistration delay": {func(f *fixture) { f.group.Remove("a") }, 1},
		"the listener's end":                  {func(f *fixture) { _ = f.Close(f.ctx) }, 1},
		"the idle timeout":                    {func(*fixture) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := Options{}
			if tc.cut == 0 {
				opts.IdleTimeout = 300 * time.Millisecond
			}
			f := serve(t, opts, GroupOptions{})
			f.group.Set(echoTunnel(t), Healthy)
			_, br := f.openTunnel(t)
			tc.end(f)
			if _, err := br.ReadByte(); err == nil {
				t.Error("it is still open")
			} else if timedOut(err) {
				t.Error("it was not closed")
			}
			eventually(t, "it is counted", func() bool { s := f.Stats(); return s.Targets["a"][101] == 1 && s.Cut == tc.cut })
		})
	}
}
