package balancer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAResponseIsPassedOnAsItComes(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	next := make(chan struct{})
	f.group.Set(target(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.Flush() // the head alone
		for i := range 3 {
			<-next
			fmt.Fprintf(w, "piece %d\n", i)
			_ = rc.Flush()
		}
	}), Healthy)
	resp, err := client(t).Get(f.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		next <- struct{}{} // only now may the target go on
		if !lines.Scan() || lines.Text() != fmt.Sprint("piece ", i) {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
	}
}

func TestARequestIsPassedOnAsItComesInBothDirections(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	f.group.Set(target(t, "a", func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_ = rc.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "%s!\n", lines.Text())
			_ = rc.Flush()
		}
	}), Healthy)
	pr, pw := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, f.url, pr)
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		fmt.Fprintf(pw, "line %d\n", i)
		if !lines.Scan() || lines.Text() != fmt.Sprintf("line %d!", i) {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
	}
	pw.Close()
	if lines.Scan() {
		t.Errorf("more: %q", lines.Text())
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	f.group.Set(target(t, "a", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
	}), Healthy)
	body := strings.Repeat("0123456789abcdef", 1<<15) // 512 KiB
	c := client(t)
	for _, known := range []bool{true, false, true} {
		var r io.Reader = strings.NewReader(body)
		if !known {
			r = io.MultiReader(r) // hides the length: chunked
		}
		resp, err := c.Post(f.url, "text/plain", r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != body {
			t.Errorf("known length %v: %d of %d bytes, %v", known, len(got), len(body), err)
		}
	}
}

func TestHeadsTrailersAndInterimResponses(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	f.group.Set(target(t, "a", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Type", "")
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", r.Trailer.Get("X-In"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	}), Healthy)
	var hints string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = fmt.Sprint(code, " ", h.Get("Link"))
		return nil
	}}
	req, _ := http.NewRequest(http.MethodPost, f.url, io.MultiReader(strings.NewReader("in")))
	req.Trailer = http.Header{"X-In": {"42"}}
	resp, err := client(t).Do(req.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "body" {
		t.Errorf("%q, %v", body, err)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": {"42"}, "X-Late": {"unannounced"}}, resp.Trailer); diff != "" {
		t.Error(diff)
	}
	if hints != "103 </style.css>; rel=preload" {
		t.Errorf("interim response: %q", hints)
	}
	if resp.Header.Get("Link") != "" {
		t.Error("the interim response's header is in the final one")
	}
}

func TestHeadAndBodilessResponses(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{Nodes: 1})
	f.group.Set(target(t, "a", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Length", "1234")
			_, _ = w.Write(make([]byte, 1234))
		}
	}), Healthy)
	c := client(t)
	for _, tc := range []struct {
		method, path string
		status       int
		length       int64
	}{{"HEAD", "/", 200, 1234}, {"GET", "/204", 204, 0}, {"GET", "/304", 304, 0}, {"GET", "/", 200, 1234}, {"HEAD", "/204", 204, -1}} {
		req, _ := http.NewRequest(tc.method, f.url+tc.path, nil)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", tc.method, tc.path, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tc.status || resp.ContentLength != tc.length {
			t.Errorf("%s %s: %d, length %d, %v", tc.method, tc.path, resp.StatusCode, resp.ContentLength, err)
		}
	}
}

// The body of a request with Expect: 100-continue is asked for only when the
// target asks for it.
func TestExpectContinueIsTheTargetsToAnswer(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{true, false} {
		t.Run(fmt.Sprint("accept=", accept), func(t *testing.T) {
			t.Parallel()
			f := serve(t, Options{}, GroupOptions{})
			f.group.Set(target(t, "a", func(w http.ResponseWriter, r *http.Request) {
				if !accept {
					time.Sleep(100 * time.Millisecond) // time for a balancer that does not wait
					w.WriteHeader(http.StatusRequestEntityTooLarge)
					return
				}
				_, _ = io.Copy(w, r.Body)
			}), Healthy)
			var asked atomic.Bool
			body := readerFunc(func(p []byte) (int, error) {
				if !asked.Swap(true) {
					return copy(p, "hello"), nil
				}
				return 0, io.EOF
			})
			req, _ := http.NewRequest(http.MethodPut, f.url, body)
			req.Header.Set("Expect", "100-continue")
			resp, err := client(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, _ := io.ReadAll(resp.Body)
			if accept && (resp.StatusCode != http.StatusOK || string(got) != "hello") || !accept && resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%d %q", resp.StatusCode, got)
			}
			if asked.Load() != accept {
				t.Errorf("body sent: %v", asked.Load())
			}
		})
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAnUploadThatIsRefusedEarlyGetsItsAnswer(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{}, GroupOptions{})
	f.group.Set(rawTarget(t, "a", func(conn net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br) // and not its body
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, io.LimitReader(br, 1<<20))
	}), Healthy)
	conn, br := f.dial(t)
	say(t, conn, "POST / HTTP/1.1", "Host: x", "Content-Length: 1000000", "", "the first bytes, then silence")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusForbidden || string(body) != "no" || !resp.Close {
		t.Errorf("%d %q close=%v %v", resp.StatusCode, body, resp.Close, err)
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("the connection can't be used again, but reading gives %v", err)
	}
}

// "HTTP 408: The client did not send data before the idle timeout period expired."
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-408-issues
func TestAClientThatStopsUploadingGets408(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{IdleTimeout: 300 * time.Millisecond}, GroupOptions{})
	f.group.Set(rawTarget(t, "a", func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }), Healthy)
	conn, br := f.dial(t)
	say(t, conn, "POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "", "")
	for range 3 { // longer than the timeout in all, never idle for so long
		time.Sleep(150 * time.Millisecond)
		say(t, conn, "1", "x", "")
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d", resp.StatusCode)
	}
}
