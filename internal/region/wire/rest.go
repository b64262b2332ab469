package wire

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// REST is a service whose operations are methods and paths: S3. Its request bodies and its answers are streams.
type REST interface {
	// Operation names what a request asks for, "GetObject".
	Operation(r *http.Request) string
	// ServeREST answers. It may leave the request's body unread. An *Error is sent as the service's own.
	ServeREST(ctx context.Context, call Call, r *http.Request) (*Response, error)
}

// Response is a REST service's answer.
type Response struct {
	Status int // 0 means 200
	Header http.Header
	// Body is sent and closed; nil is empty. Size is its length.
	Body io.ReadCloser
	Size int64
}

// HandleREST serves a REST service under its SigV4 signing name.
func (s *Server) HandleREST(name string, h REST) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rests[name] = h
}

// rest finds the REST service of a request.
func (s *Server) rest(r *http.Request) (REST, request, error) {
	var req request
	err := req.signature(r)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rests[req.call.Service], req, err
}

// serveREST serves one call of a REST service.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request, h REST, req request, err error) {
	arrived, start, id := s.opts.Clock(), time.Now(), requestID()
	req.call.Operation, req.call.Principal, req.call.Form = h.Operation(r), s.opts.Principal(req.call.AccessKey), r.URL.Query()
	if err == nil && s.opts.Region != "" && req.call.Region != s.opts.Region {
		err = &Error{Code: "AuthorizationHeaderMalformed", Status: http.StatusBadRequest,
			Message: "the region '" + req.call.Region + "' is wrong; expecting '" + s.opts.Region + "'"}
	}
	var resp *Response
	if err == nil {
		var result any
		result, err = s.opts.Intercept(r.Context(), req.call, func() (any, error) { return h.ServeREST(r.Context(), req.call, r) })
		resp, _ = result.(*Response)
	}
	if err == nil && resp == nil {
		resp = &Response{}
	}
	cut := errors.Is(err, ErrCut)
	rec := Record{
		ID: id, Time: arrived, Service: req.call.Service, Operation: req.call.Operation,
		AccessKey: req.call.AccessKey, Instance: req.call.Principal.Instance, Duration: time.Since(start),
	}
	var e *Error
	switch {
	case cut:
		rec.Code = CodeCut
	case errors.As(err, &e):
		rec.Status, rec.Code = e.status(), e.Code
	case err != nil:
		e = &Error{Code: "InternalError", Message: err.Error(), Status: http.StatusInternalServerError}
		rec.Status, rec.Code = e.status(), e.Code
	default:
		if resp.Status == 0 {
			resp.Status = http.StatusOK
		}
		rec.Status = resp.Status
	}
	s.record(rec, err)
	if cut {
		if resp != nil && resp.Body != nil {
			_ = resp.Body.Close()
		}
		panic(http.ErrAbortHandler)
	}
	_, _ = io.Copy(io.Discard, r.Body) // else smithy-go may lose the answer
	w.Header().Set("X-Amz-Request-Id", id)
	if e != nil {
		sendRESTError(w, r, e, id)
		return
	}
	sendREST(w, resp)
}

func sendREST(w http.ResponseWriter, resp *Response) {
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	if resp.Status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.FormatInt(resp.Size, 10))
	}
	w.WriteHeader(resp.Status)
	if resp.Body == nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	// A client that is gone has nobody to be told about it.
	_, _ = io.Copy(w, resp.Body)
}

// sendRESTError sends an error as S3 does.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func sendRESTError(w http.ResponseWriter, r *http.Request, e *Error, id string) {
	body, _ := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: e.Code, Message: e.Message, Resource: r.URL.Path, RequestID: id})
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status())
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
