// Package rolecreds serves a role's keys to the app on this machine as
// containers get theirs, so that every AWS SDK finds them by two environment
// variables, and the instance's own keys stay out of the app's reach:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
//
// It listens on 127.0.0.1 alone. Whoever has the token gets the keys; the token
// lies in a file that only the app's user can read. The app outlives the agent
// and keeps its environment, so port and token are remembered, and are the same
// after a restart of the agent. While the agent is down the port is nobody's.
package rolecreds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// Options of a Server.
type Options struct {
	// Dir is where port and token are remembered, /run/bootagent/credentials for example: of one boot,
	// and of one server at a time. It is made if it does not exist; its parent must.
	Dir string
	// Role is the role's ARN, for answers and the log.
	Role string
	// Assume gives new keys of the role. Its error is told to the app and the log, so it must hold no secret.
	// One call at a time, of a minute at most.
	Assume func(context.Context) (model.RoleCredentials, error)
	// UID and GID own the token file, and that user alone may read it; -1 leaves either as it is, which is
	// the agent's own. (0, the zero value, is root.)
	UID, GID int
	// Log gets a line for each renewal, for the first failure in a row, and now and then for requests
	// without the token; nil drops them.
	Log *zap.Logger
}

// Server serves the keys, from Run on.
type Server struct {
	opts     Options
	listener net.Listener
	port     int
	token    string
	keys     *keeper
	refused  refusals
}

// Open takes the port and leaves the token for the app: the port and token of the server that was here
// before, or else new ones. Nothing is served before Run, but who connects waits. An error says what to
// change; it is one if another process has taken the port.
func Open(opts Options) (*Server, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	s := &Server{opts: opts, keys: newKeeper(opts), refused: refusals{log: opts.Log, role: opts.Role}}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("serve the keys of %s to the app: %w", opts.Role, err), s.Close())
	}
	return s, nil
}

func (s *Server) open() error {
	if err := makeDir(s.opts.Dir); err != nil {
		return err
	}
	known, err := remembered(s.opts.Dir)
	if err != nil {
		return err
	}
	if s.listener, err = listen(known.Port, s.opts.Dir); err != nil {
		return err
	}
	s.port = s.listener.Addr().(*net.TCPAddr).Port // of a listener on tcp
	if s.token = known.Token; s.token == "" {
		s.token = newToken()
		if err := remember(s.opts.Dir, record{Port: s.port, Token: s.token}); err != nil {
			return err
		}
	}
	return leaveToken(s.opts.Dir, s.token, s.opts.UID, s.opts.GID)
}

// path is the one that is served.
const path = "/credentials"

// Environment is what the app needs to find the keys, as NAME=value. None of it is a secret.
func (s *Server) Environment() []string {
	return []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + s.host() + path,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + tokenFile(s.opts.Dir),
	}
}

// host is what a request's Host header must say.
func (s *Server) host() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Prove assumes the role unless good keys are there, to find out before the app does. Its error is Assume's.
func (s *Server) Prove(ctx context.Context) error {
	_, err := s.keys.get(ctx)
	return err
}

// Bounds of a request. Keys are asked for once in a while, by processes of this machine: what is slow is stuck.
const (
	maxConnections = 64
	maxHeader      = 8 << 10
	readTimeout    = 5 * time.Second
	// patience is how long a request waits for the first keys. Botocore gives up after 2 s and asks again;
	// the renewal goes on meanwhile.
	patience     = 10 * time.Second
	writeTimeout = readTimeout + patience + 5*time.Second
	// closeGrace is for answers under way at the end.
	closeGrace = time.Second
)

// Run serves until ctx ends, then waits for what is under way, and closes. It returns early, with an error, when
// the port can't be served any more. Call it once.
func (s *Server) Run(ctx context.Context) error {
	requests, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          zap.NewStdLog(zap.NewNop()), // what it says of broken requests is of no use to anybody
	}
	server.SetKeepAlivesEnabled(false) // a connection that idles would hold one of the few places
	served := make(chan error, 1)
	go func() { served <- server.Serve(limit(s.listener, maxConnections)) }()
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve the keys of %s on %s: %w", s.opts.Role, s.host(), err), server.Close(), s.Close())
	case <-ctx.Done():
	}
	limited, stop := context.WithTimeout(context.Background(), closeGrace)
	defer stop()
	err := server.Shutdown(limited)
	if errors.Is(err, context.DeadlineExceeded) { // who has connected and says nothing
		err = server.Close()
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return errors.Join(err, s.Close())
}

// Close gives the port back and ends a renewal under way, for a server that does not Run (any more). Port and token
// stay remembered. A second Close does nothing.
func (s *Server) Close() error {
	s.keys.close()
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
