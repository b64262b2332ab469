package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// explain puts the failure of a call to an AWS service into words.
func (f *failure) explain(c Call) error {
	if f.cancelled {
		return f.cancelledError(c.Action + " on " + c.Resource)
	}
	kind, sentence := Reach, ""
	if f.cause != nil {
		kind, sentence = explain(f.cause, c)
	}
	return f.error(kind, sentence, c.Action+" on "+c.Resource)
}

// explainMetadata puts the failure of a request to IMDS into words.
func (f *failure) explainMetadata(what string) error {
	if f.cancelled {
		return f.cancelledError("asking IMDS for " + what)
	}
	kind, sentence := Reach, ""
	if f.cause != nil {
		kind, sentence = explainMetadata(f.cause)
		sentence = "IMDS did not tell " + what + ": " + sentence
	}
	return f.error(kind, sentence, "asking IMDS for "+what)
}

func (f *failure) cancelledError(what string) error {
	return fmt.Errorf("%s was cancelled: %w", what, context.Canceled)
}

func (f *failure) error(kind Kind, sentence, what string) error {
	switch {
	case sentence == "":
		sentence = fmt.Sprintf("%s got no answer within %s", what, round(f.waited))
	case f.waited > 0:
		sentence = fmt.Sprintf("%s; tried for %s, this was the last cause", sentence, round(f.waited))
	}
	return &Error{Kind: kind, Sentence: sentence, Err: f.err, cause: f.cause}
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// denied is how AWS words a missing permission.
var denied = regexp.MustCompile(`User: (\S+) is not authorized to perform: (\S+)(?: on resource: (\S+))?(.*)`)

func explain(err error, c Call) (Kind, string) {
	where := c.Action + " on " + c.Resource
	var missing *credentialsError
	var api smithy.APIError
	switch {
	case errors.As(err, &missing):
		return Credentials, fmt.Sprintf("%s: %s", where, explainCredentials(missing.err))
	case errors.As(err, &api):
		kind, sentence := explainAnswer(err, api, c)
		return kind, sentence + requestID(err)
	}
	if sentence, kind := explainNetwork(err, "check the instance's route, its security group, and the NAT gateway or VPC endpoint"); kind != "" {
		return kind, where + ": " + sentence
	}
	if status(err) != 0 {
		return Reach, fmt.Sprintf("%s: the answer (HTTP %d) can't be read: %s", where, status(err), innermost(err))
	}
	return Reach, fmt.Sprintf("%s failed: %s", where, innermost(err))
}

// explainAnswer explains what AWS answered.
func explainAnswer(err error, api smithy.APIError, c Call) (Kind, string) {
	where := c.Action + " on " + c.Resource
	said := fmt.Sprintf("%s: %s", api.ErrorCode(), strings.TrimSuffix(strings.TrimSpace(api.ErrorMessage()), "."))
	if api.ErrorMessage() == "" {
		said = api.ErrorCode()
	}
	switch code := strings.TrimSuffix(api.ErrorCode(), "Exception"); code {
	case "AccessDenied", "UnauthorizedOperation", "NotAuthorized", "AuthorizationError":
		return Configuration, explainDenied(api, c)
	case "ExpiredToken", "RequestExpired":
		return Credentials, where + ": the credentials have expired: those of a role are renewed by themselves, others must be set anew"
	case "UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "MissingAuthenticationToken", "OptInRequired":
		return Credentials, fmt.Sprintf("%s: AWS does not know these credentials (%s): are they of this account and partition, and is the region enabled?", where, api.ErrorCode())
	case "SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature", "RequestTimeTooSkewed", "AuthFailure":
		// Its message is never shown: it quotes the signed headers, the session token among them.
		return Credentials, fmt.Sprintf("%s: AWS refused the signature (%s): is the secret key right, and this machine's clock?", where, api.ErrorCode())
	}
	if _, ok := retry.DefaultThrottleErrorCodes[api.ErrorCode()]; ok {
		return Throttled, fmt.Sprintf("%s was throttled, at every attempt (%s): the account's or region's request limit is used up", where, said)
	}
	if status(err) >= http.StatusInternalServerError {
		return Reach, fmt.Sprintf("%s: AWS failed (HTTP %d, %s)", where, status(err), said)
	}
	return Refused, fmt.Sprintf("%s was refused: %s", where, said)
}

func explainDenied(api smithy.APIError, c Call) string {
	who, action, resource, why := "the instance's role", c.Action, c.Resource, ""
	if m := denied.FindStringSubmatch(api.ErrorMessage()); m != nil {
		who, action, why = m[1], m[2], strings.TrimSpace(m[4])
		// Which resource matters where it is another action that is missing: kms:Decrypt on a key, say.
		if m[3] != "" && m[3] != "*" && !strings.EqualFold(action, c.Action) {
			resource = m[3] + " (for " + c.Action + " on " + c.Resource + ")"
		}
	} else if api.ErrorMessage() != "" {
		why = api.ErrorMessage()
	}
	fix := "add that action to its policy"
	if strings.Contains(why, "explicit deny") {
		fix = "lift the deny"
	}
	sentence := fmt.Sprintf("%s may not %s on %s: %s", who, action, resource, fix)
	if why != "" {
		sentence += " (" + strings.TrimSuffix(why, ".") + ")"
	}
	return sentence
}

func explainCredentials(err error) string {
	var op *smithy.OperationError
	if !errors.As(err, &op) || op.ServiceID != imds.ServiceID {
		return "no credentials: " + innermost(err)
	}
	if status(err) == http.StatusNotFound {
		return "no credentials: the instance has no IAM role (IMDS says 404): attach an instance profile to it, or to its launch template"
	}
	_, sentence := explainMetadata(err)
	return "no credentials in the environment or in ~/.aws, and none of an instance's role: " + sentence
}

func explainMetadata(err error) (Kind, string) {
	switch {
	case strings.Contains(err.Error(), "access disabled to EC2 IMDS"): // not a type either
		return Configuration, "AWS_EC2_METADATA_DISABLED forbids to ask IMDS: unset it"
	case status(err) == http.StatusForbidden:
		return Configuration, "IMDS is switched off for this instance (403): switch it on, with aws ec2 modify-instance-metadata-options --http-endpoint enabled"
	case status(err) == http.StatusNotFound:
		return Refused, "it says 404"
	case status(err) != 0:
		return Reach, fmt.Sprintf("it answered HTTP %d", status(err))
	}
	if sentence, kind := explainNetwork(err, "it is there on EC2 only, elsewhere set AWS_EC2_METADATA_SERVICE_ENDPOINT; in a container its hop limit must be 2"); kind != "" {
		return Reach, sentence
	}
	return Reach, innermost(err)
}

// explainNetwork explains why no answer came; the kind is empty where that was not the reason.
func explainNetwork(err error, hint string) (string, Kind) {
	var at *url.Error
	if !errors.As(err, &at) {
		return "", ""
	}
	endpoint, cause := at.URL, innermost(at.Err)
	if u, perr := url.Parse(at.URL); perr == nil {
		endpoint = u.Scheme + "://" + u.Host
	}
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("there is no host %s: does that region exist, and does DNS work?", dns.Name), Reach
	case errors.As(err, &cert), errors.As(err, &unknown):
		return fmt.Sprintf("the certificate of %s is not trusted (%s): if it is yours, let AWS_CA_BUNDLE name its CA", endpoint, cause), Configuration
	case at.Timeout():
		return fmt.Sprintf("%s does not answer (%s): %s", endpoint, cause, hint), Reach
	}
	return fmt.Sprintf("%s can't be reached (%s): %s", endpoint, cause, hint), Reach
}

// status is the HTTP status of the answer, 0 where none came.
func status(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

// requestID is what AWS's support asks for.
func requestID(err error) string {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.RequestID != "" {
		return " (request " + answer.RequestID + ")"
	}
	return ""
}

// innermost is the text of the error at the chain's end, without the SDK's
// layers: down to a network operation, which says more than its errno.
func innermost(err error) string {
	for {
		next := errors.Unwrap(err)
		if _, operation := err.(*net.OpError); operation || next == nil { //nolint:errorlint // each layer is looked at by itself
			return strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		err = next
	}
}
