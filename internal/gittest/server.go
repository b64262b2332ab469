package gittest

import (
	"crypto/subtle"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/gitserver"
)

// Server is a git server on loopback. Its middleware can be changed while it runs.
type Server struct {
	*httptest.Server
	repo *Repo

	mu       sync.Mutex
	wrap     func(http.Handler) http.Handler
	requests []*http.Request
	done     chan struct{}
}

// Option says how a Server serves.
type Option func(*options)

type options struct {
	git            gitserver.Options
	user, password string
	wrap           func(http.Handler) http.Handler
	tls            bool
}

// WithoutSHA makes a server that hands out only what a ref points to. By default any commit can be fetched by SHA.
func WithoutSHA() Option { return func(o *options) { o.git.AnySHA = false } }

// WithConfig sets git configuration for the server's processes.
func WithConfig(key, value string) Option {
	return func(o *options) {
		if o.git.Config == nil {
			o.git.Config = map[string]string{}
		}
		o.git.Config[key] = value
	}
}

// WithAuth demands basic auth. The empty user lets any user name pass, as hosts do for tokens.
func WithAuth(user, password string) Option {
	return func(o *options) { o.user, o.password = user, password }
}

// WithTLS serves over HTTPS with a certificate of httptest's own.
func WithTLS() Option { return func(o *options) { o.tls = true } }

// With puts a middleware between the client and git.
func With(wrap func(http.Handler) http.Handler) Option { return func(o *options) { o.wrap = wrap } }

// NewServer serves a repository (and its neighbours) until the test ends.
func NewServer(t testing.TB, repo *Repo, opts ...Option) *Server {
	t.Helper()
	o := options{git: gitserver.Options{AnySHA: true}}
	for _, opt := range opts {
		opt(&o)
	}
	git, err := gitserver.Handler(filepath.Dir(repo.Dir), o.git)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{repo: repo, wrap: o.wrap, done: make(chan struct{})}
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		wrap := s.wrap
		s.requests = append(s.requests, r.Clone(r.Context()))
		s.mu.Unlock()
		h := requireAuth(git, o.user, o.password)
		if wrap != nil {
			h = wrap(h)
		}
		h.ServeHTTP(w, r)
	})
	s.Server = httptest.NewUnstartedServer(served)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that break off are what tests are about
	if o.tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		close(s.done)
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// CloneURL is where the repository is fetched from.
func (s *Server) CloneURL() string { return s.URL + "/" + s.repo.Name() }

// Use changes the middleware; nil takes it away.
func (s *Server) Use(wrap func(http.Handler) http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrap = wrap
}

// Requests are those that came so far, without their bodies.
func (s *Server) Requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.requests...)
}

func requireAuth(next http.Handler, user, password string) http.Handler {
	if password == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, ok := r.BasicAuth()
		if !ok || (user != "" && u != user) || subtle.ConstantTimeCompare([]byte(p), []byte(password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// CutAfter closes the connection in the middle of a pack, after n bytes of its body.
func CutAfter(n int) func(http.Handler) http.Handler {
	return onPack(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&meteredWriter{ResponseWriter: w, left: n, over: func() { panic(http.ErrAbortHandler) }}, r)
	})
}

// StallAfter falls silent in the middle of a pack, after n bytes of its body, until the client goes away.
func (s *Server) StallAfter(n int) func(http.Handler) http.Handler {
	return onPack(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		over := func() {
			_ = http.NewResponseController(w).Flush() // the client has what came before; an error means that it is gone
			select {
			case <-r.Context().Done():
			case <-s.done:
			}
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(&meteredWriter{ResponseWriter: w, left: n, over: over}, r)
	})
}

// Drip sends the pack's body one byte at a time, one every interval.
func (s *Server) Drip(interval time.Duration) func(http.Handler) http.Handler {
	return onPack(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&drippingWriter{ResponseWriter: w, r: r, done: s.done, interval: interval}, r)
	})
}

// RedirectTo answers every request with a redirect to the same path on another server.
func RedirectTo(base string, status int) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+r.URL.RequestURI(), status)
		})
	}
}

// onPack leaves the list of refs alone.
func onPack(serve func(http.Handler, http.ResponseWriter, *http.Request)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				next.ServeHTTP(w, r)
				return
			}
			serve(next, w, r)
		})
	}
}

type meteredWriter struct {
	http.ResponseWriter
	left int
	over func()
}

func (m *meteredWriter) Write(p []byte) (int, error) {
	if len(p) < m.left {
		m.left -= len(p)
		return m.ResponseWriter.Write(p)
	}
	n, err := m.ResponseWriter.Write(p[:m.left])
	m.left = 0
	if err == nil {
		_ = http.NewResponseController(m.ResponseWriter).Flush() // so that the bytes before the cut really arrive
		m.over()
	}
	return n, err
}

type drippingWriter struct {
	http.ResponseWriter
	r        *http.Request
	done     chan struct{}
	interval time.Duration
}

func (d *drippingWriter) Write(p []byte) (int, error) {
	for i := range p {
		select {
		case <-d.r.Context().Done():
			return i, d.r.Context().Err()
		case <-d.done:
			return i, http.ErrServerClosed
		case <-time.After(d.interval):
		}
		if _, err := d.ResponseWriter.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if err := http.NewResponseController(d.ResponseWriter).Flush(); err != nil {
			return i, err
		}
	}
	return len(p), nil
}
