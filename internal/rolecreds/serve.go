package rolecreds

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// ServeHTTP answers GET /credentials, and nothing else. Refusals are what SDKs show their users: {"code", "message"}.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h := rw.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	given := r.Header.Values("Authorization")
	switch {
	case r.Host != s.host():
		// A browser that is told that evil.example is 127.0.0.1 still says evil.example here.
		refuse(rw, http.StatusForbidden, "WrongHost", "keys are served to requests for "+s.host()+" only")
	case r.URL.Path != path:
		refuse(rw, http.StatusNotFound, "NotFound", "keys are at "+path)
	case r.Method != http.MethodGet:
		h.Set("Allow", http.MethodGet)
		refuse(rw, http.StatusMethodNotAllowed, "MethodNotAllowed", "keys are got with GET")
	case len(given) == 0:
		s.refused.add()
		refuse(rw, http.StatusUnauthorized, "MissingToken",
			"the Authorization header is missing: it must be what is in the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names")
	case len(given) > 1 || !s.isToken(given[0]):
		s.refused.add()
		refuse(rw, http.StatusForbidden, "WrongToken",
			"the Authorization header is not what is in the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names")
	default:
		s.answer(rw, r)
	}
}

// isToken compares in a time that tells nothing of the token, its length included.
func (s *Server) isToken(given string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(s.token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (s *Server) answer(rw http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	keys, err := s.keys.get(ctx)
	if err != nil {
		refuse(rw, http.StatusServiceUnavailable, "CredentialsUnavailable", err.Error())
		return
	}
	write(rw, http.StatusOK, answered(s.opts.Role, keys))
}

// answered are keys as SDKs read them.
func answered(role string, keys model.RoleCredentials) any {
	return struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      string
		RoleArn         string
	}{keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken, keys.Expires.UTC().Format(time.RFC3339), role}
}

func refuse(rw http.ResponseWriter, status int, code, message string) {
	write(rw, status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
}

func write(rw http.ResponseWriter, status int, body any) {
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(body) // who asked may have gone
}

// refusals are requests without the token. One line a minute is enough to notice them by.
type refusals struct {
	log  *zap.Logger
	role string

	mu    sync.Mutex
	count int
	quiet time.Time // until then nothing is said
}

func (r *refusals) add() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	now := time.Now()
	if now.Before(r.quiet) {
		return
	}
	r.log.Warn("a process of this machine asked for the role's keys without their token, and was refused",
		zap.String("role", r.role), zap.Int("requests", r.count))
	r.count, r.quiet = 0, now.Add(time.Minute)
}

// limit accepts at most n connections at a time; others wait in the kernel's queue.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, places: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	places chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// placed is a connection that leaves its place when it is closed.
type placed struct {
	net.Conn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
