package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Interceptor stands between the front and the services. next carries the call
// out; an Interceptor may call it or not, wait before or after, and change what
// comes back. ErrCut closes the connection without an answer.
type Interceptor func(ctx context.Context, call Call, next func() (any, error)) (any, error)

// Options of a Server; the zero value is a server for any region, with nobody
// known and nothing recorded.
type Options struct {
	// Region is the only region that calls may be signed for; "" takes any.
	Region string
	// Principal says who an access key belongs to; nil knows nobody.
	Principal func(accessKey string) Principal
	// Intercept sees every well-formed call; nil lets all pass.
	Intercept Interceptor
	// Log gets a Record of every call, before its answer is sent; nil drops them.
	Log *Log
	// Clock says when a call arrived; nil is time.Now.
	Clock func() time.Time
	// Logger gets a line a call at debug level; nil drops them.
	Logger *zap.Logger
}

// Server is the one endpoint of all services: an http.Handler that finds the
// service of each request by the scope of its signature. Use NewServer.
type Server struct {
	opts Options

	mu       sync.RWMutex
	services map[string]service
	rests    map[string]REST
}

type service struct {
	xmlns   string // "" for awsJson
	handler Handler
}

// NewServer makes a server without services.
func NewServer(opts Options) *Server {
	if opts.Principal == nil {
		opts.Principal = func(string) Principal { return Principal{} }
	}
	if opts.Intercept == nil {
		opts.Intercept = func(_ context.Context, _ Call, next func() (any, error)) (any, error) { return next() }
	}
	if opts.Log == nil {
		opts.Log = NewLog(1)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	return &Server{opts: opts, services: map[string]service{}, rests: map[string]REST{}}
}

// Handle serves a service under its SigV4 signing name. xmlns is the XML
// namespace of an awsQuery service; "" makes it an awsJson service. A second
// Handle of the same name replaces the first.
func (s *Server) Handle(name, xmlns string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[name] = service{xmlns: xmlns, handler: h}
}

// ServeHTTP serves one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h, req, err := s.rest(r); h != nil {
		s.serveREST(w, r, h, req, err)
		return
	}
	arrived, start := s.opts.Clock(), time.Now()
	id := requestID()
	req, err := parse(w, r)
	req.call.Principal = s.opts.Principal(req.call.AccessKey)
	svc, found := s.service(req.call.Service)

	var result any
	if err == nil {
		err = s.admit(req, svc, found)
	}
	if err == nil {
		result, err = s.opts.Intercept(r.Context(), req.call, func() (any, error) {
			return svc.handler.Serve(r.Context(), req.call)
		})
	}
	var a answer
	if err == nil {
		a, err = success(req, svc.xmlns, id, result)
	}
	cut := errors.Is(err, ErrCut)
	switch {
	case cut:
		a = answer{id: id, code: CodeCut}
	case err != nil:
		a = failure(req, svc.xmlns, id, err)
	}

	// Recorded before it is sent, so that a client that has its answer finds its record.
	s.record(Record{
		ID: id, Time: arrived, Service: req.call.Service, Operation: req.call.Operation,
		AccessKey: req.call.AccessKey, Instance: req.call.Principal.Instance,
		Status: a.status, Code: a.code, Duration: time.Since(start),
	}, err)
	if cut {
		panic(http.ErrAbortHandler) // net/http's way to close a connection without an answer
	}
	a.send(w)
}

func (s *Server) service(name string) (service, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	svc, ok := s.services[name]
	return svc, ok
}

// admit refuses what no service should see.
func (s *Server) admit(req request, svc service, found bool) error {
	call := req.call
	if !req.signed {
		return &Error{Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token", Status: http.StatusForbidden}
	}
	if s.opts.Region != "" && call.Region != s.opts.Region {
		return &Error{Code: "SignatureDoesNotMatch", Status: http.StatusForbidden, Message: fmt.Sprintf(
			"Credential should be scoped to a valid region: the request is signed for '%s', this is '%s'; set AWS_REGION", call.Region, s.opts.Region)}
	}
	if !found {
		return &Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: fmt.Sprintf(
			"this region on a laptop has no service '%s', only %s", call.Service, s.names())}
	}
	if isJSON := svc.xmlns == ""; isJSON != (req.jsonType != "") {
		return Errorf("InvalidRequest", "the service '%s' does not speak the protocol of this request", call.Service)
	}
	return nil
}

func (s *Server) names() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return strings.Join(slices.Sorted(maps.Keys(s.services)), ", ")
}

func (s *Server) record(r Record, err error) {
	s.opts.Log.Add(r)
	s.opts.Logger.Debug("call",
		zap.String("operation", r.Service+":"+r.Operation), zap.String("instance", r.Instance),
		zap.Int("status", r.Status), zap.Duration("duration", r.Duration), zap.Error(err))
}

// requestID makes a random UUID, which is what AWS's request ids look like.
func requestID() string {
	var b [16]byte
	// crypto/rand.Read never fails.
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
