package health

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/unit"
)

func TestHTTPAnswers(t *testing.T) {
	t.Parallel()
	app := http.NewServeMux()
	answer := func(path string, code int, body string) {
		app.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = io.WriteString(w, body) })
	}
	answer("/up", 200, "ok")
	answer("/empty", 204, "")
	answer("/sick", 503, "  no \x1b[31mdatabase\n")
	answer("/silent", 500, "")
	answer("/teapot", 418, "short")
	answer("/long", 500, strings.Repeat("é", 500))
	answer("/endless", 200, strings.Repeat("x", 10*maxBody))
	app.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/up", http.StatusFound) })
	app.HandleFunc("/host", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example.com" || r.UserAgent() != userAgent || r.Header.Get("Accept-Encoding") != "" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = fmt.Fprint(w, r.Host)
	})
	app.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("deep") != "1" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	app.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "ten bytes.")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	app.HandleFunc("/dead", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	app.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	port := server.Listener.Addr().(*net.TCPAddr).Port

	for _, c := range []struct {
		name  string
		check HTTPCheck
		want  string // of the error, after "GET http://…/path "; "" for none
	}{
		{"good", HTTPCheck{Path: "/up"}, ""},
		{"a path without its slash", HTTPCheck{Path: "up"}, ""},
		{"a path with a query", HTTPCheck{Path: "/query?deep=1"}, ""},
		{"no body", HTTPCheck{Path: "/empty"}, ""},
		{"more body than is read", HTTPCheck{Path: "/endless"}, ""},
		{"the host is sent", HTTPCheck{Path: "/host", Host: "shop.example.com"}, ""},
		{"bad", HTTPCheck{Path: "/sick"}, `answered 503 Service Unavailable: "no \x1b[31mdatabase"`},
		{"bad without a word", HTTPCheck{Path: "/silent"}, "answered 500 Internal Server Error"},
		{"bad with many words", HTTPCheck{Path: "/long"}, `answered 500 Internal Server Error: "` + strings.Repeat("é", 98) + `…"`},
		{"a redirect, even to what is good", HTTPCheck{Path: "/moved"}, "answered 302 Found to /up, and a check follows no redirect: name a path that answers by itself"},
		{"a redirect that is asked for", HTTPCheck{Path: "/moved", StatusMin: 200, StatusMax: 399}, ""},
		{"a code that is asked for", HTTPCheck{Path: "/teapot", StatusMin: 418}, ""},
		{"a good code that is not asked for", HTTPCheck{Path: "/up", StatusMin: 204, StatusMax: 204}, `answered 200 OK: "ok"`},
		{"cut in the middle", HTTPCheck{Path: "/cut"}, "answered 200 OK, but not to its end: it was cut off: the app closed the connection in the middle of its answer"},
		{"closed without an answer", HTTPCheck{Path: "/dead"}, "was cut off: the app closed the connection in the middle of its answer"},
		{"no answer in time", HTTPCheck{Path: "/hang"}, "timed out after 300ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check.Port = port
			timeout := 30 * time.Second
			if c.check.Path == "/hang" {
				timeout = 300 * time.Millisecond
			}
			err := once(t.Context(), HTTP(c.check), timeout)
			want := ""
			if c.want != "" {
				want = server.URL + c.check.Path + " " + c.want
				want = "GET " + want
			}
			if got := text(err); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestHTTPAsksTheAppItself: no proxy of the environment, and no connection that an earlier process answers.
func TestHTTPAsksTheAppItself(t *testing.T) {
	t.Parallel()
	if newClient().Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy may answer for the app") // net/http uses none for loopback, so no server could tell
	}
	connections := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	probe := HTTP(HTTPCheck{URL: server.URL + "/up"})
	for range 3 {
		if err := probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(connections) != 3 {
		t.Errorf("3 probes made %d connections", len(connections))
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := TCP(address)(t.Context()); err != nil {
		t.Errorf("something listens on %s: %v", address, err)
	}
	_ = l.Close()
	for name, probe := range map[string]Probe{
		"TCP " + address: TCP(address), "GET http://" + address + "/up": HTTP(HTTPCheck{URL: "http://" + address + "/up"}),
	} {
		err := probe(t.Context())
		if !errors.Is(err, syscall.ECONNREFUSED) || text(err) != name+" was refused: nothing listens there (connection refused)" {
			t.Errorf("nothing listens on %s: %v", address, err)
		}
	}
}

func TestAnswersThatAreNoHTTP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = io.WriteString(c, "SSH-2.0-nonsense\r\n\r\n")
			_ = c.Close()
		}
	}()
	url := "http://" + l.Addr().String() + "/"
	err = HTTP(HTTPCheck{URL: url})(t.Context())
	if !strings.HasPrefix(text(err), "GET "+url+" failed: ") || !strings.Contains(text(err), "malformed HTTP") || strings.Count(text(err), url) != 1 {
		t.Errorf("got %v", err)
	}
	err = HTTP(HTTPCheck{URL: "http://[::1"})(t.Context())
	if !strings.Contains(text(err), "is no request that can be sent") {
		t.Errorf("a URL that is none: %v", err)
	}
}

type runner func(ctx context.Context, s unit.Spec, out io.Writer) error

func (r runner) Run(ctx context.Context, s unit.Spec, out io.Writer) error { return r(ctx, s, out) }

func TestCommand(t *testing.T) {
	t.Parallel()
	spec := unit.Spec{Name: "check", Command: []string{"bin/check"}}
	gone := &unit.CommandError{Err: errors.New(`its command "bin/check" was not found`)}
	for _, c := range []struct {
		name, output string
		err          error
		unasked      bool
		want         string
	}{
		{"good", "all is well\n", nil, false, ""},
		{"bad", "connecting\nno \x1b[31mdatabase\n\n", &unit.ExitError{Name: "check", ExitCode: 1}, false, `the health command exited with code 1: "no database"`},
		{"bad without a word", "", &unit.ExitError{Name: "check", ExitCode: -1, Signal: "SIGSEGV"}, false, "the health command was ended by signal SIGSEGV"},
		{"a flood", strings.Repeat("x", 1<<20) + "\nthe end", &unit.ExitError{Name: "check", ExitCode: 1}, false, `the health command exited with code 1: "the end"`},
		{"a flood in one line", strings.Repeat("x", 1<<20), &unit.ExitError{Name: "check", ExitCode: 1}, false, `the health command exited with code 1: "(a line of more than 16 KiB)"`},
		{"no such command", "", gone, false, `the health command can't be executed: its command "bin/check" was not found`},
		{"a machine without processes", "", errors.New("fork: resource temporarily unavailable"), true, "the health command could not be run: fork: resource temporarily unavailable"},
	} {
		err := Command(runner(func(_ context.Context, s unit.Spec, out io.Writer) error {
			if s.Name != "check" {
				t.Errorf("ran %+v", s)
			}
			_, _ = io.Copy(out, bytes.NewReader([]byte(c.output)))
			return c.err
		}), spec)(t.Context())
		var unasked *UnaskedError
		if text(err) != c.want || !errors.Is(err, c.err) || errors.As(err, &unasked) != c.unasked {
			t.Errorf("%s: got %s\nwant %s", c.name, text(err), c.want)
		}
	}
	slow := Command(runner(func(ctx context.Context, _ unit.Spec, out io.Writer) error {
		_, _ = io.WriteString(out, "waiting for a lock\n")
		<-ctx.Done()
		_, _ = io.WriteString(out, "Killed\n") // a shell whose child died of the same signal a moment earlier
		return fmt.Errorf("run check: it was killed: %w", context.Cause(ctx))
	}), spec)
	if err := once(t.Context(), slow, 20*time.Millisecond); text(err) != `the health command timed out after 20ms: "waiting for a lock"` {
		t.Errorf("a slow one: %s", text(err))
	}
}
