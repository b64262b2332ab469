package balancer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html:
// X-Forwarded-For is appended to, X-Forwarded-Proto and -Port say what the
// client used to connect to the load balancer.
func TestWhatTheTargetSees(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	type seen struct {
		URI, Host string
		Header    http.Header
	}
	got := make(chan seen, 1)
	f.group.Set(target(t, "a", func(w http.ResponseWriter, r *http.Request) {
		got <- seen{r.RequestURI, r.Host, r.Header.Clone()}
		w.Header().Set("Connection", "X-Secret")
		w.Header().Set("X-Secret", "hop")
		w.Header()["Date"] = nil
		fmt.Fprint(w, "hello")
	}), Healthy)

	conn, br := f.dial(t)
	say(t, conn, "GET /a%2Fb//c?x=%41 HTTP/1.1", "Host: shop.example", "X-Forwarded-For: 10.0.0.1",
		"X-Forwarded-Proto: https", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: 5",
		"Te: trailers, deflate", "X-Stays: yes", "X-Amzn-Trace-Id: Root=1-2-3", "", "")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	_, port, _ := net.SplitHostPort(f.Addr().String())
	want := seen{"/a%2Fb//c?x=%41", "shop.example", http.Header{
		"X-Forwarded-For":   {"10.0.0.1, 127.0.0.1"},
		"X-Forwarded-Proto": {"http"},
		"X-Forwarded-Port":  {port},
		"X-Amzn-Trace-Id":   {"Root=1-2-3"},
		"X-Stays":           {"yes"},
		"Te":                {"trailers"},
	}}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Error(diff)
	}
	if string(body) != "hello" || resp.Header.Get("X-Secret") != "" || resp.Header.Get("Date") != "" {
		t.Errorf("client sees %q %v", body, resp.Header)
	}
}

func TestConnectionsToATargetAreKeptAndDeadOnesNoticed(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	closeIdle := make(chan struct{})
	srv := rawTarget(t, "a", func(conn net.Conn, br *bufio.Reader) {
		n := opened.Add(1)
		for {
			if n == 1 {
				go func() { <-closeIdle; _ = conn.Close() }()
			}
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	f := serve(t, Options{}, GroupOptions{Nodes: 1})
	f.group.Set(srv, Healthy)
	c := client(t)
	for range 20 {
		if status, _ := get(t, c, f.url); status != 204 {
			t.Fatal(status)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections for 20 requests in a row", opened.Load())
	}
	close(closeIdle)
	pool := f.group.nodes[0].routes[0].pool
	eventually(t, "the balancer has noticed that its idle connection was closed", func() bool {
		pool.mu.Lock()
		defer pool.mu.Unlock()
		return len(pool.all) == 0
	})
	if status, _ := get(t, c, f.url); status != 204 || opened.Load() != 2 {
		t.Errorf("status %d over connection %d", status, opened.Load())
	}
}

func TestRequestsInFlightOnADrainingTargetFinish(t *testing.T) {
	t.Parallel()
	arrived, answer := make(chan struct{}), make(chan struct{})
	f := serve(t, Options{}, GroupOptions{})
	f.group.Set(target(t, "old", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		fmt.Fprint(w, "old")
	}), Healthy)
	done := make(chan string)
	go func() {
		_, body := get(t, client(t), f.url)
		done <- body
	}()
	<-arrived
	f.group.Set(target(t, "new", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "new") }), Healthy)
	f.group.Set(Target{ID: "old", Address: f.group.nodes[0].routes[0].target.Address}, Draining)
	for range 6 {
		if _, body := get(t, client(t), f.url); body != "new" {
			t.Errorf("a new request went to %s", body)
		}
	}
	close(answer)
	if body := <-done; body != "old" {
		t.Errorf("the request in flight got %q", body)
	}
	for _, n := range f.group.nodes {
		pool := n.route("old").pool
		eventually(t, "no connection to the draining target is left", func() bool {
			pool.mu.Lock()
			defer pool.mu.Unlock()
			return len(pool.all) == 0
		})
	}
}

// "HTTP 502: The deregistration delay period elapsed for a request being
// handled by a target that was deregistered."
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-502-issues
func TestTheEndOfTheDelayCutsWhatIsStillInFlight(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	arrived := make(chan struct{})
	old := target(t, "old", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			fmt.Fprint(w, "half") // chunked: only the last chunk says that it is complete
			_ = http.NewResponseController(w).Flush()
		}
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	f.group.Set(old, Healthy)
	status, half := make(chan int, 1), make(chan error, 1)
	go func() {
		code, _ := get(t, client(t), f.url+"/none")
		status <- code
	}()
	go func() {
		resp, err := client(t).Get(f.url + "/half")
		arrived <- struct{}{}
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		half <- err
	}()
	for range 3 { // both requests at the target, the half answer's head at its client
		<-arrived
	}
	f.group.Set(old, Draining)
	f.group.Remove("old")
	if got := <-status; got != 502 {
		t.Errorf("status %d, want 502", got)
	}
	if err := <-half; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the half answer ended with %v", err)
	}
	eventually(t, "both are recorded", func() bool { return len(f.failed()) == 2 })
	for _, failure := range f.failed() {
		if !errors.Is(failure.Cause, errDrained) || failure.Cut != (failure.Path == "/half") {
			t.Errorf("%+v", failure)
		}
	}
	if got := f.Stats().Cut; got != 1 {
		t.Errorf("%d cut answers counted", got)
	}
}

// HTTP 460: the client closed the connection before the idle timeout.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-460-issues
func TestAClientThatGoesAwayCancelsTheRequest(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	arrived, told := make(chan struct{}), make(chan struct{})
	f.group.Set(target(t, "a", func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(told)
	}), Healthy)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	resp, err := client(t).Do(req)
	if !errors.Is(err, context.Canceled) {
		resp.Body.Close()
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(soon):
		t.Fatal("the target was not told")
	}
	eventually(t, "it is counted as 460", func() bool { return f.Stats().Balancer[StatusClientGone] == 1 })
	if got := f.failed(); len(got) != 0 {
		t.Errorf("nobody was failed, but %+v", got)
	}
}

func TestCloseLetsRequestsFinishThenCutsThem(t *testing.T) {
	t.Parallel()
	for _, patient := range []bool{true, false} {
		t.Run(fmt.Sprint("patient=", patient), func(t *testing.T) {
			t.Parallel()
			f := serve(t, Options{}, GroupOptions{})
			arrived, answer := make(chan struct{}), make(chan struct{})
			f.group.Set(target(t, "a", func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				select {
				case <-answer:
				case <-r.Context().Done():
				}
			}), Healthy)
			status := make(chan int, 1)
			go func() {
				resp, err := client(t).Get(f.url)
				if err != nil {
					status <- 0
					return
				}
				resp.Body.Close()
				status <- resp.StatusCode
			}()
			<-arrived
			ctx, cancel := context.WithTimeout(context.Background(), soon)
			defer cancel()
			if patient {
				time.AfterFunc(100*time.Millisecond, func() { close(answer) })
			} else {
				cancel()
			}
			err := f.Close(ctx)
			if got := <-status; (err == nil) != patient || (got == 200) != patient {
				t.Errorf("close: %v; client got %d", err, got)
			}
		})
	}
}
