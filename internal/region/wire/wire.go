// Package wire speaks AWS's two families of protocols on the server's side:
// awsJson (X-Amz-Target and a JSON body) and awsQuery (a form with an Action,
// answered in XML). A service of the region is a Handler and knows neither.
package wire

import (
	"context"
	"fmt"
	"net/url"
)

// Call is one request to a service, decoded as far as every service needs it.
type Call struct {
	Service   string // "ssm", "elasticloadbalancing", "autoscaling", "sts" …: the SigV4 signing name
	Operation string // "GetParameters"
	Region    string // from the signature's scope
	AccessKey string // from the signature, "" for an unsigned request
	// Body is the JSON document of an awsJson call; nil for awsQuery.
	Body []byte
	// Form holds the parameters of an awsQuery call; nil for awsJson.
	Form url.Values
}

// Handler is one service. For awsJson the answer is marshalled by
// encoding/json; for awsQuery by encoding/xml, inside
// <OperationResponse><OperationResult>…</OperationResult><ResponseMetadata>,
// where the answer's own element name does not matter. A nil answer is an
// empty result. An *Error is sent as the service's own error; any other error
// is an InternalFailure (500).
type Handler interface {
	Serve(ctx context.Context, call Call) (any, error)
}

// Error is an error that a client sees as the service's own.
type Error struct {
	Code    string // "ParameterNotFound"
	Message string
	Status  int // HTTP status; 0 means 400
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an *Error with status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: 400}
}
