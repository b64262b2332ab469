package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed VERSION
var version string

//go:embed index.html
var page string

// app is what the handlers share.
type app struct {
	page   *template.Template
	hello  hello
	served atomic.Int64
	// unwell is when its health begins to fail while it serves on; zero is never.
	unwell time.Time
}

// hello is what `/` says, as a page or as JSON.
type hello struct {
	Greeting string `json:"greeting"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	Release  string `json:"release,omitempty"`
	Revision string `json:"revision,omitempty"`
	Instance string `json:"instance,omitempty"`
	Served   int64  `json:"served"`
}

// newApp reads what it needs to know from the environment.
func newApp(getenv func(string) string) (*app, error) {
	tmpl, err := template.New("index").Parse(page)
	if err != nil {
		return nil, fmt.Errorf("parse index.html: %w", err)
	}
	a := &app{page: tmpl, hello: hello{
		Greeting: getenv("GREETING"),
		Version:  strings.TrimSpace(version),
		Release:  getenv("BOOTAGENT_RELEASE"),
		Revision: getenv("BOOTAGENT_REVISION"),
		Instance: getenv("BOOTAGENT_INSTANCE_ID"),
	}}
	if a.hello.Greeting == "" {
		a.hello.Greeting = "Hello"
	}
	// To see what a rollout does with a release that turns bad: UNWELL_AFTER=30s in the recipe's environment.
	if after := getenv("UNWELL_AFTER"); after != "" {
		d, err := time.ParseDuration(after)
		if err != nil {
			return nil, fmt.Errorf("UNWELL_AFTER: %w", err)
		}
		a.unwell = time.Now().Add(d)
	}
	return a, nil
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.index)
	mux.HandleFunc("GET /slow", a.slow)
	mux.HandleFunc("GET /up", a.up)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Who answered shows in every response, so that a look at the traffic shows a release taking over.
		w.Header().Set("X-Version", a.hello.Version)
		if a.hello.Release != "" {
			w.Header().Set("X-Release", a.hello.Release)
		}
		mux.ServeHTTP(w, r)
	})
}

// index greets, in HTML for a browser and in JSON for `curl -H 'Accept: application/json'`.
func (a *app) index(w http.ResponseWriter, r *http.Request) {
	h := a.hello
	h.Served = a.served.Add(1)
	if h.Name = r.URL.Query().Get("name"); h.Name == "" {
		h.Name = "world"
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h) // the client is gone: nobody to tell
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = a.page.Execute(w, h) // likewise
}

// slow answers after ?for=2s, as a page does that waits for a database. A handover must not cut it off.
func (a *app) slow(w http.ResponseWriter, r *http.Request) {
	wait, err := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil || wait < 0 || wait > time.Minute {
		http.Error(w, "for must be a duration up to 1m, such as 2s", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(wait):
		fmt.Fprintf(w, "worth the wait of %s\n", wait)
	case <-r.Context().Done():
	}
}

// up says whether this process can do its work: a real app asks its database here, briefly.
func (a *app) up(w http.ResponseWriter, _ *http.Request) {
	if a.hello.Version == "" {
		http.Error(w, "VERSION is empty", http.StatusServiceUnavailable)
		return
	}
	if !a.unwell.IsZero() && time.Now().After(a.unwell) {
		http.Error(w, "unwell: UNWELL_AFTER is over", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok", a.hello.Version, os.Getpid())
}
