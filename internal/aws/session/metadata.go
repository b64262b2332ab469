package session

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

const (
	// metadataTimeout is for a dial, and again for an answer. IMDS is a hop away and answers in
	// milliseconds; the SDK's own 250 and 500 ms are short for a machine whose CPU is busy booting.
	metadataTimeout = time.Second
	// roleAttempts, a second apart: credentials of a role that was attached at launch may lag behind the
	// instance for some seconds, and IMDS says 404 until then. Less than DefaultTimeout, so that the answer comes first.
	roleAttempts = 20
)

// Metadata is a client of IMDSv2 (never v1) at AWS_EC2_METADATA_SERVICE_ENDPOINT,
// or else at 169.254.169.254.
func (s *Session) Metadata(r aws.Retryer, more ...func(*imds.Options)) *imds.Client {
	options := append([]func(*imds.Options){func(o *imds.Options) {
		o.HTTPClient = awshttp.NewBuildableClient().
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = metadataTimeout }).
			WithTransportOptions(func(t *http.Transport) {
				t.Proxy = nil // a proxy would answer for its own instance
				t.ResponseHeaderTimeout = metadataTimeout
				t.MaxConnsPerHost = 2
			}).Freeze() // or else the SDK sets its own time-outs
		o.Retryer = r
		o.DisableDefaultMaxBackoff = true // it replaces the retryer's back-off, whatever that is
		o.DisableDefaultTimeout = true    // the deadline is the caller's, or the number of attempts
		o.EnableFallback = aws.FalseTernary
	}}, more...)
	return imds.NewFromConfig(s.Config, options...)
}

// Patient is a retryer for IMDS: so many attempts, about pause apart. It
// retries answers that may change soon, with 404 among them only if absent is
// set, and connections that fail only if unreachable is.
func Patient(attempts int, pause time.Duration, absent, unreachable bool) aws.Retryer {
	statuses := map[int]struct{}{429: {}, 500: {}, 502: {}, 503: {}, 504: {}}
	if absent {
		statuses[http.StatusNotFound] = struct{}{}
	}
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return pause, nil })
		o.RateLimiter = ratelimit.None
		o.Retryables = []retry.IsErrorRetryable{
			retry.NoRetryCanceledError{},
			retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				var op *net.OpError
				if !unreachable && errors.As(err, &op) && op.Op == "dial" {
					return aws.FalseTernary
				}
				return aws.UnknownTernary
			}),
			retry.RetryableError{},
			retry.RetryableConnectionError{},
			retry.RetryableHTTPStatusCode{Codes: statuses},
		}
	})
}

// roleClient reads the role's credentials. By the time they are needed IMDS
// has said who this instance is: one that can't be connected to is not there
// (a laptop), and waiting would only delay the sentence that says so.
func (s *Session) roleClient() *imds.Client {
	return s.Metadata(Patient(roleAttempts, time.Second, true, false), func(o *imds.Options) {
		o.APIOptions = []func(*middleware.Stack) error{recordCause(func(err error) error {
			return &credentialsError{&smithy.OperationError{ServiceID: imds.ServiceID, OperationName: "GetMetadata", Err: err}}
		})}
	})
}

// roleMetadata is the client that the provider of role credentials uses.
type roleMetadata struct{ *imds.Client }

// credentials marks the errors of a provider. They are never retried by the
// call that wanted them: the provider has had attempts of its own.
type credentials struct{ aws.CredentialsProvider }

func (c credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return creds, &credentialsError{err}
	}
	return creds, nil
}

// ProviderSources keeps the SDK's user agent right.
func (c credentials) ProviderSources() []aws.CredentialSource {
	if p, ok := c.CredentialsProvider.(aws.CredentialProviderSource); ok {
		return p.ProviderSources()
	}
	return nil
}

type credentialsError struct{ err error }

func (e *credentialsError) Error() string        { return "no credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error        { return e.err }
func (e *credentialsError) RetryableError() bool { return false }
