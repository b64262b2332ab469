package balancer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The statuses are from "Troubleshoot your Application Load Balancers":
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
func TestTheBalancersOwnErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		target func(t *testing.T) Target
		method string
		want   int
	}{
		"503 no registered targets": {want: 503},
		"502 connection refused": {want: 502, target: func(t *testing.T) Target {
			return Target{ID: "a", Address: closedAddress(t)}
		}},
		"502 closed before the response": {want: 502, target: func(t *testing.T) Target {
			return rawTarget(t, "a", func(_ net.Conn, br *bufio.Reader) { _, _ = http.ReadRequest(br) })
		}},
		"502 reset before the response": {want: 502, target: func(t *testing.T) Target {
			return rawTarget(t, "a", func(conn net.Conn, br *bufio.Reader) { _ = conn.(*net.TCPConn).SetLinger(0) })
		}},
		"502 malformed response": {want: 502, target: func(t *testing.T) Target {
			return rawTarget(t, "a", func(conn net.Conn, br *bufio.Reader) {
				_, _ = http.ReadRequest(br)
				_, _ = io.WriteString(conn, "what do you want?\r\n\r\n")
			})
		}},
		"502 response header over 32 K": {want: 502, target: func(t *testing.T) Target {
			return target(t, "a", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Large", strings.Repeat("x", 40<<10))
			})
		}},
		"502 switched protocols unasked": {want: 502, target: func(t *testing.T) Target {
			return rawTarget(t, "a", func(conn net.Conn, br *bufio.Reader) {
				_, _ = http.ReadRequest(br)
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			})
		}},
		"504 silent for the idle timeout": {want: 504, target: func(t *testing.T) Target {
			return rawTarget(t, "a", func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
		}},
		"405 TRACE": {want: 405, method: "TRACE", target: func(t *testing.T) Target {
			return target(t, "a", func(http.ResponseWriter, *http.Request) {})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, Options{IdleTimeout: 300 * time.Millisecond}, GroupOptions{})
			want := Failure{Method: "GET", Path: "/x", Status: tc.want}
			if tc.target != nil {
				f.group.Set(tc.target(t), Healthy)
				want.Target = "a"
			}
			if tc.method != "" {
				want.Method, want.Target = tc.method, ""
			}
			req, _ := http.NewRequest(want.Method, f.url+"/x", nil)
			resp, err := client(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tc.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tc.want)
			}
			failures := f.failed()
			if len(failures) != 1 || failures[0].Cause == nil || failures[0].Time.IsZero() {
				t.Fatalf("failures: %+v", failures)
			}
			failures[0].Cause, failures[0].Time = nil, time.Time{}
			if diff := cmp.Diff(want, failures[0]); diff != "" {
				t.Error(diff)
			}
			if got := f.Stats(); got.Balancer[tc.want] != 1 || got.Requests != 1 {
				t.Errorf("stats: %+v", got)
			}
		})
	}
}

// A target that closes its keep-alive connections whenever it likes makes the
// balancer answer 502 ("The target closed the connection with a TCP RST or a
// TCP FIN while the load balancer had an outstanding request to the target"),
// and never makes it send a request twice.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-502-issues
func TestARaceWithKeepAliveClosesNeverRetries(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	hits := map[string]int{}
	var connections atomic.Int64
	flaky := rawTarget(t, "a", func(conn net.Conn, br *bufio.Reader) {
		for n := connections.Add(1); ; n++ {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			mu.Lock()
			hits[req.Header.Get("X-Id")]++
			mu.Unlock()
			if n%5 == 3 {
				return // it acted on the request, and the connection breaks
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			if n%5 == 1 {
				return // it closes a connection that it had promised to keep
			}
		}
	})
	f := serve(t, Options{}, GroupOptions{})
	f.group.Set(flaky, Healthy)

	const workers, each = 4, 150
	var ok, bad atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			c := client(t)
			for i := range each {
				req, _ := http.NewRequest(http.MethodGet, f.url, nil)
				if i%2 == 1 {
					req, _ = http.NewRequest(http.MethodPost, f.url, strings.NewReader("body"))
				}
				req.Header.Set("X-Id", fmt.Sprintf("%d-%d", worker, i))
				resp, err := c.Do(req)
				if err != nil {
					t.Errorf("request %d-%d: %v", worker, i, err)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				switch resp.StatusCode {
				case http.StatusOK:
					ok.Add(1)
				case http.StatusBadGateway:
					bad.Add(1)
				default:
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	for id, n := range hits {
		if n != 1 {
			t.Errorf("request %s reached the target %d times", id, n)
		}
	}
	if ok.Load() == 0 || bad.Load() == 0 {
		t.Errorf("%d answered, %d failed: the race was not run", ok.Load(), bad.Load())
	}
	if got := int64(len(f.failed())); got != bad.Load() {
		t.Errorf("%d failures recorded, %d seen", got, bad.Load())
	}
	t.Logf("%d requests: %d answered, %d failed, %d connections", workers*each, ok.Load(), bad.Load(), connections.Load())
}
