package wire

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds a request. SSM's and ELBv2's largest are a few kilobytes, DynamoDB's 16 MB.
const maxBody = 16 << 20

// targetServices names the service of an X-Amz-Target prefix, for calls whose
// signature does not tell.
var targetServices = map[string]string{
	"AmazonSSM":         "ssm",
	"DynamoDB_20120810": "dynamodb",
}

// request is an HTTP request as far as it could be understood.
type request struct {
	call     Call
	signed   bool
	jsonType string // the Content-Type of an awsJson call, "" for awsQuery
}

// parse reads the whole body, then works out what is called and by whom. What
// it returns beside an error is enough to answer in the right protocol.
//
// The body is read before anything is answered because smithy-go loses the
// answer of a server that does not: "use of closed network connection" on a 200.
func parse(w http.ResponseWriter, r *http.Request) (request, error) {
	var req request
	target := r.Header.Get("X-Amz-Target")
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if target != "" || strings.HasPrefix(contentType, "application/x-amz-json") {
		req.jsonType = "application/x-amz-json-1.1"
		if contentType == "application/x-amz-json-1.0" {
			req.jsonType = contentType
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return req, &Error{Code: "RequestEntityTooLarge", Status: http.StatusRequestEntityTooLarge,
			Message: "the request's body could not be read: " + err.Error()}
	}
	if err := req.signature(r); err != nil {
		return req, err
	}
	if req.jsonType != "" {
		return req, req.json(target, body)
	}
	return req, req.query(r, contentType, body)
}

// signature takes the caller and the service from the credential scope.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
// The signature's bytes are not verified: whoever reaches this loopback port is
// trusted, and the secret keys are nobody's.
func (req *request) signature(r *http.Request) error {
	if r.URL.Query().Has("X-Amz-Credential") {
		return Errorf("IncompleteSignature", "presigned requests are not served by this region on a laptop; sign in the Authorization header")
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return nil
	}
	algorithm, fields, _ := strings.Cut(authorization, " ")
	if algorithm != "AWS4-HMAC-SHA256" {
		return Errorf("IncompleteSignature", "unsupported signature algorithm %q: sign with AWS4-HMAC-SHA256", algorithm)
	}
	values := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		values[key] = value
	}
	scope := strings.Split(values["Credential"], "/")
	if len(scope) != 5 || scope[0] == "" || scope[4] != "aws4_request" {
		return Errorf("IncompleteSignature", "Credential must have exactly 5 slash-delimited elements, "+
			"accesskeyid/date/region/service/aws4_request, got '%s'", values["Credential"])
	}
	if values["SignedHeaders"] == "" || values["Signature"] == "" {
		return Errorf("IncompleteSignature", "Authorization header requires 'SignedHeaders' and 'Signature' parameters")
	}
	req.signed = true
	req.call.AccessKey, req.call.Region, req.call.Service = scope[0], scope[2], scope[3]
	return nil
}

// json reads an awsJson call: X-Amz-Target: AmazonSSM.GetParameters.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
func (req *request) json(target string, body []byte) error {
	prefix, operation, ok := strings.Cut(target, ".")
	if !ok || operation == "" {
		return Errorf("UnknownOperationException", "X-Amz-Target is %q, not <service>.<operation>", target)
	}
	if req.call.Service == "" {
		req.call.Service = targetServices[prefix]
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	req.call.Operation, req.call.Body = operation, body
	return nil
}

// query reads an awsQuery call: a form in the body of a POST or in the URL.
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
func (req *request) query(r *http.Request, contentType string, body []byte) error {
	req.call.Form = r.URL.Query()
	switch {
	case r.Method == http.MethodGet:
	case r.Method != http.MethodPost:
		return &Error{Code: "InvalidRequest", Message: r.Method + " is not served: POST a call", Status: http.StatusMethodNotAllowed}
	case contentType != "application/x-www-form-urlencoded":
		return Errorf("InvalidRequest", "Content-Type %q is neither awsJson nor awsQuery, which is all that this region on a laptop speaks",
			contentType)
	default:
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return Errorf("MalformedQueryString", "the form could not be read: %v", err)
		}
		for key, values := range form {
			req.call.Form[key] = values
		}
	}
	req.call.Operation = req.call.Form.Get("Action")
	if req.call.Operation == "" {
		return Errorf("MissingAction", "the request has no Action")
	}
	return nil
}
