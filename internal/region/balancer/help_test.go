package balancer

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// soon is a generous deadline for what takes milliseconds on an idle machine.
const soon = 20 * time.Second

type fixture struct {
	*Balancer
	group *Group
	url   string

	mu       sync.Mutex
	failures []Failure
}

// serve starts a balancer for one group; it and its client connections end with the test.
func serve(t *testing.T, opts Options, groupOpts GroupOptions) *fixture {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{group: NewGroup(groupOpts)}
	opts.OnFailure = func(failure Failure) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failures = append(f.failures, failure)
	}
	f.Balancer = Serve(ln, f.group, opts)
	f.url = "http://" + f.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := f.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		f.group.Close()
	})
	return f
}

func (f *fixture) failed() []Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Failure(nil), f.failures...)
}

// client is a client with connections of its own.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true, ExpectContinueTimeout: soon}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: soon}
}

// target starts a target that answers with handler.
func target(t *testing.T, id string, handler http.HandlerFunc) Target {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return Target{ID: id, Address: srv.Listener.Addr().String()}
}

// rawTarget starts a target that has each connection for itself; the
// connection is closed when handle returns.
func rawTarget(t *testing.T, id string, handle func(conn net.Conn, br *bufio.Reader)) Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			wg.Go(func() {
				defer stop()
				defer conn.Close()
				handle(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); cancel(); wg.Wait() })
	return Target{ID: id, Address: ln.Addr().String()}
}

// closedAddress is one where nothing listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s", soon, what)
		}
	}
}

// dial opens a raw connection to the balancer.
func (f *fixture) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(soon))
	return conn, bufio.NewReader(conn)
}

func say(t *testing.T, w io.Writer, lines ...string) {
	t.Helper()
	if _, err := io.WriteString(w, strings.Join(lines, "\r\n")); err != nil {
		t.Fatal(err)
	}
}
