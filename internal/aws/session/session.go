// Package session holds what the AWS adapters share: where AWS is and who
// asks (Load), one deadline around every call (Do), and errors in words that
// say what to change (Error).
//
// A call has one retry layer, the SDK's own; nothing above it tries again
// except the agent's loop, which looks at the world anew each time.
package session

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	"go.uber.org/zap"
)

// The numbers of a call. AWS answers these services in well under a second;
// what takes longer is lost, and asking again costs less than waiting.
const (
	dialTimeout   = 3 * time.Second
	tlsTimeout    = 5 * time.Second
	headerTimeout = 10 * time.Second // of one attempt, from the request's end to the answer's first line
	attempts      = 5
	maxBackoff    = 5 * time.Second
	// DefaultTimeout is for a call with all its attempts.
	DefaultTimeout = 30 * time.Second
)

// Options say how AWS is asked. The zero value is usable.
type Options struct {
	// Region is the AWS region; empty means what the environment (AWS_REGION) or ~/.aws/config says. It may
	// stay unknown until IMDS was asked: see In.
	Region string
	// Version goes into the user agent, as bootagent/<version>; empty means dev.
	Version string
	// Timeout is for one call with all its attempts; 0 means DefaultTimeout.
	Timeout time.Duration
	// Logger gets the SDK's warnings; nil means none.
	Logger *zap.Logger
}

// Session is where AWS is and who asks. Adapters are made from it; it may be
// used by several goroutines, and must not be changed once it is.
type Session struct {
	// Config is what SDK clients are made from.
	Config aws.Config
	// Timeout is for one call with all its attempts.
	Timeout time.Duration
}

// Load reads the SDK's own sources: environment (AWS_REGION, AWS_ENDPOINT_URL
// and its forms for one service, AWS_CA_BUNDLE, AWS_ACCESS_KEY_ID …), then
// ~/.aws. Credentials come from there or else from the instance's role, and
// are fetched with the first call: Load itself makes no request.
func Load(ctx context.Context, o Options) (*Session, error) {
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	// The SDK asks for the provider of role credentials before the Config is complete that its client is made from.
	role := &roleMetadata{}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(httpClient()),
		config.WithRetryer(func() aws.Retryer { return standardRetryer() }),
		config.WithLogger(sdkLogger{o.Logger}),
		config.WithRegion(o.Region), // empty: the sources after it are asked
		config.WithEC2RoleCredentialOptions(func(r *ec2rolecreds.Options) { r.Client = role }),
		config.WithAPIOptions([]func(*middleware.Stack) error{
			awsmiddleware.AddUserAgentKeyValue("bootagent", o.Version),
			recordCause(nil),
		}),
	)
	if err != nil {
		return nil, &Error{Kind: Configuration, Sentence: fmt.Sprintf(
			"the AWS settings of this machine can't be read: %v: mend ~/.aws/config or the AWS_* variables", err), Err: err}
	}
	cfg.HTTPClient = plainBodies{cfg.HTTPClient}
	cfg.Credentials = credentials{cfg.Credentials}
	s := &Session{Config: cfg, Timeout: o.Timeout}
	role.Client = s.roleClient()
	return s, nil
}

// In is the same session in another region: the one that IMDS names.
func (s *Session) In(region string) *Session {
	c := *s
	c.Config = s.Config.Copy()
	c.Config.Region = region
	return &c
}

// standardRetryer retries what is throttled, broken or unreachable: up to 5
// attempts with full jitter, at most 5 s apart. Its bucket of tokens, shared
// by all calls of one client, ends retries when nearly everything fails.
func standardRetryer() *retry.Standard {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.MaxBackoff = maxBackoff
	})
}

// httpClient is the SDK's own kind, because only that one takes AWS_CA_BUNDLE.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = tlsTimeout
			t.ResponseHeaderTimeout = headerTimeout
		})
}

// plainBodies hides io.WriterTo of request bodies. smithy-go's wrapper of a
// body has it and holds a lock while it writes; with a server that answers
// before it has read the body, 0.1–1.9 % of calls on loopback failed with
// "use of closed network connection" on a 200 (measured with v1.28.8; v1.28.9 did
// not show it in 12,000 calls, but has the wrapper still).
type plainBodies struct{ aws.HTTPClient }

func (c plainBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

// sdkLogger passes the SDK's warnings on. Its debug lines stay out: they
// quote errors of AWS that may quote signed headers.
type sdkLogger struct{ log *zap.Logger }

func (l sdkLogger) Logf(c logging.Classification, format string, args ...any) {
	if c == logging.Warn {
		l.log.Warn("the AWS SDK warns", zap.String("warning", fmt.Sprintf(format, args...)))
	}
}
