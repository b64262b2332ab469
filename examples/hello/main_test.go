package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestItSaysWhoAnswers(t *testing.T) {
	t.Parallel()
	a, err := newApp(environment(map[string]string{"GREETING": "Hallo", "BOOTAGENT_RELEASE": "7", "BOOTAGENT_INSTANCE_ID": "i-1"}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.handler())
	defer server.Close()

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/?name=%3Canna%3E", nil)
	if err != nil {
		t.Fatal(err)
	}
	if body := get(t, request); !strings.Contains(body, "Hallo, &lt;anna&gt;") || !strings.Contains(body, "<dd>i-1</dd>") {
		t.Errorf("the page is %s", body)
	}
	request.Header.Set("Accept", "application/json")
	var got hello
	if err := json.Unmarshal([]byte(get(t, request)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Release != "7" || got.Served != 2 || got.Version != strings.TrimSpace(version) {
		t.Errorf("got %+v", got)
	}
	for path, want := range map[string]int{"/up": 200, "/slow?for=1ms": 200, "/slow?for=1d": 400, "/none": 404} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want || response.Header.Get("X-Release") != "7" {
			t.Errorf("%s: %s, release %q", path, response.Status, response.Header.Get("X-Release"))
		}
	}
}

func TestAnAppWithoutAVersionIsNotHealthy(t *testing.T) {
	t.Parallel()
	a, err := newApp(environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	a.hello.Version = ""
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/up", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d", w.Code)
	}
}

func TestARequestInFlightOutlivesTheSignal(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), environment(map[string]string{"PORT": port}))
	}()
	base := "http://127.0.0.1:" + port
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get(base + "/up")
		if err == nil {
			response.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get(base + "/slow?for=1s")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	time.Sleep(300 * time.Millisecond) // the request is in flight
	stop()
	if got := <-answer; got != "worth the wait of 1s\n" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := http.Get(base + "/up"); err == nil {
		t.Error("it listens still")
	}
}

func TestAPortInUseIsAnError(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	if err := run(t.Context(), slog.New(slog.NewTextHandler(os.Stderr, nil)), environment(map[string]string{"PORT": port})); err == nil {
		t.Error("no error")
	}
}

func get(t *testing.T, request *http.Request) string {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
	return string(body)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
