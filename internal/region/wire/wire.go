// Package wire speaks AWS's two families of protocols on the server's side:
// awsJson (X-Amz-Target and a JSON body) and awsQuery (a form with an Action,
// answered in XML), and passes a third on: REST, which is S3's. A service of the region is a Handler and knows neither.
package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Call is one request to a service, decoded as far as every service needs it.
type Call struct {
	Service   string // "ssm", "elasticloadbalancing", "autoscaling", "sts" …: the SigV4 signing name
	Operation string // "GetParameters"
	Region    string // from the signature's scope
	AccessKey string // from the signature, "" for an unsigned request
	// Principal is who the access key belongs to.
	Principal Principal
	// Body is the JSON document of an awsJson call; nil for awsQuery.
	Body []byte
	// Form holds the parameters of an awsQuery call; nil for awsJson.
	Form url.Values
}

// Principal is who signs with an access key.
type Principal struct {
	Account string // twelve digits
	ARN     string // "arn:aws:sts::123456789012:assumed-role/web/i-0abc"
	UserID  string // "AROA…:i-0abc"
	// Instance is the id of the instance whose role credentials signed the
	// call; "" for a person.
	Instance string
}

// Handler is one service. For awsJson the answer is marshalled by
// encoding/json; for awsQuery by encoding/xml, inside
// <OperationResponse><OperationResult>…</OperationResult><ResponseMetadata>,
// where the answer's own element name does not matter. A nil answer is an
// empty result. An *Error is sent as the service's own error; any other error
// is an InternalFailure (500). Serve is called concurrently.
type Handler interface {
	Serve(ctx context.Context, call Call) (any, error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, call Call) (any, error)

// Serve calls f.
func (f HandlerFunc) Serve(ctx context.Context, call Call) (any, error) { return f(ctx, call) }

// Error is an error that a client sees as the service's own.
type Error struct {
	Code    string // "ParameterNotFound"
	Message string
	Status  int // HTTP status; 0 means 400
	// Members are further members of the error's document, which some errors of awsJson have.
	Members map[string]any
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// status is the HTTP status that the error is sent with.
func (e *Error) status() int {
	if e.Status == 0 {
		return http.StatusBadRequest
	}
	return e.Status
}

// Errorf makes an *Error with status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

// UnknownOperation is what a service answers to an operation that it does not
// have: UnknownOperationException for awsJson, InvalidAction for awsQuery.
func UnknownOperation(call Call) *Error {
	if call.Form != nil {
		return Errorf("InvalidAction", "Could not find operation %s for version %s: this region on a laptop has no %s:%s",
			call.Operation, call.Form.Get("Version"), call.Service, call.Operation)
	}
	return Errorf("UnknownOperationException", "this region on a laptop has no %s:%s", call.Service, call.Operation)
}

// ErrCut returned by an Interceptor makes the server close the connection
// without an answer, whatever has happened before.
var ErrCut = errors.New("the connection is cut on purpose")
