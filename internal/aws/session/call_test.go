package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// get asks for a parameter, as an adapter would.
func get(ctx context.Context, s *session.Session) error {
	client := ssm.NewFromConfig(s.Config)
	_, err := session.Do(ctx, s, session.Call{Action: "ssm:GetParameter", Resource: "parameter /shop"},
		func(ctx context.Context) (*ssm.GetParameterOutput, error) {
			return client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/shop")})
		})
	return err
}

func kind(t *testing.T, err error) session.Kind {
	t.Helper()
	var e *session.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *session.Error", err)
	}
	return e.Kind
}

func mentions(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

// ssmServer answers each request with answer(n), n counted from 1.
func ssmServer(t *testing.T, answer func(n int32) (status int, body string)) *session.Session {
	t.Helper()
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		status, body := answer(n.Add(1))
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.Header().Set("X-Amzn-Requestid", fmt.Sprintf("request-%d", n.Load()))
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return awstest.Session(t, server.URL)
}

func apiError(code, message string) string {
	return fmt.Sprintf(`{"__type":%q,"message":%q}`, code, message)
}

const found = `{"Parameter":{"Name":"/shop","Type":"String","Value":"v1","Version":1}}`

func TestAThrottledCallIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := ssmServer(t, func(n int32) (int, string) {
		if n < 3 {
			return 400, apiError("ThrottlingException", "Rate exceeded")
		}
		return 200, found
	})
	if err := get(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func TestADeadlineNamesTheLastCause(t *testing.T) {
	t.Parallel()
	s := ssmServer(t, func(int32) (int, string) { return 400, apiError("ThrottlingException", "Rate exceeded") })
	s.Timeout = 500 * time.Millisecond
	err := get(t.Context(), s)
	if kind(t, err) != session.Throttled {
		t.Errorf("kind %q", kind(t, err))
	}
	mentions(t, err, "ssm:GetParameter on parameter /shop was throttled", "Rate exceeded", "the last cause", "request-")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v hides that the deadline passed", err)
	}
}

func TestAHangIsSaidToBeOne(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	s := awstest.Session(t, server.URL)
	s.Timeout = 300 * time.Millisecond
	err := get(t.Context(), s)
	if kind(t, err) != session.Reach {
		t.Errorf("kind %q", kind(t, err))
	}
	mentions(t, err, "ssm:GetParameter on parameter /shop got no answer within 3")
}

func TestACancelledCallIsNoError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := ssmServer(t, func(int32) (int, string) {
		cancel()
		return 400, apiError("ThrottlingException", "Rate exceeded")
	})
	err := get(ctx, s)
	var e *session.Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &e) {
		t.Fatalf("%v", err)
	}
}

func TestWhatAWSSaysIsExplained(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		status        int
		code, message string
		kind          session.Kind
		words         []string
	}{
		"denied": {400, "AccessDeniedException",
			"User: arn:aws:sts::1:assumed-role/shop/i-1 is not authorized to perform: ssm:GetParameter on resource: arn:aws:ssm:us-east-1:1:parameter/shop because no identity-based policy allows the ssm:GetParameter action",
			session.Configuration, []string{"arn:aws:sts::1:assumed-role/shop/i-1 may not ssm:GetParameter on parameter /shop: add that action to its policy"}},
		"denied another action": {400, "AccessDeniedException",
			"User: arn:aws:sts::1:assumed-role/shop/i-1 is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:1:key/2 because no identity-based policy allows the kms:Decrypt action",
			session.Configuration, []string{"may not kms:Decrypt on arn:aws:kms:us-east-1:1:key/2 (for ssm:GetParameter on parameter /shop)"}},
		"denied outright": {400, "AccessDeniedException",
			"User: arn:aws:sts::1:assumed-role/shop/i-1 is not authorized to perform: ssm:GetParameter on resource: x with an explicit deny in a service control policy",
			session.Configuration, []string{"lift the deny", "service control policy"}},
		"denied without a word": {400, "AccessDeniedException", "",
			session.Configuration, []string{"the instance's role may not ssm:GetParameter on parameter /shop: add"}},
		"expired": {400, "ExpiredTokenException", "The security token included in the request is expired",
			session.Credentials, []string{"credentials have expired"}},
		"unknown": {400, "UnrecognizedClientException", "The security token included in the request is invalid.",
			session.Credentials, []string{"does not know these credentials"}},
		"broken": {500, "InternalServerError", "An error occurred on the server side.",
			session.Reach, []string{"AWS failed (HTTP 500, InternalServerError: An error occurred on the server side)", "(request request-"}},
		"refused": {400, "ValidationException", "No.",
			session.Refused, []string{"ssm:GetParameter on parameter /shop was refused: ValidationException: No (request request-1)"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ssmServer(t, func(int32) (int, string) { return c.status, apiError(c.code, c.message) })
			err := get(t.Context(), s)
			if got := kind(t, err); got != c.kind {
				t.Errorf("kind %q, want %q", got, c.kind)
			}
			if got := errors.Is(err, model.ErrConfiguration); got != (c.kind == session.Configuration) {
				t.Errorf("is model.ErrConfiguration: %v", got)
			}
			mentions(t, err, c.words...)
		})
	}
}

// AWS quotes the signed headers, the session token among them, when a signature is wrong.
func TestARefusedSignatureShowsNoToken(t *testing.T) {
	t.Parallel()
	s := ssmServer(t, func(int32) (int, string) {
		return 403, apiError("SignatureDoesNotMatch", "The Canonical String should have been x-amz-security-token:TOP-SECRET")
	})
	err := get(t.Context(), s)
	if strings.Contains(err.Error(), "TOP-SECRET") {
		t.Errorf("the error shows the token: %v", err)
	}
	mentions(t, err, "SignatureDoesNotMatch", "clock")
}

func TestAnAnswerThatCannotBeReadIsSaid(t *testing.T) {
	t.Parallel()
	s := ssmServer(t, func(int32) (int, string) { return 200, "<html>a captive portal" })
	err := get(t.Context(), s)
	mentions(t, err, "ssm:GetParameter on parameter /shop", "HTTP 200")
}

func TestAnEndpointThatIsNotThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + l.Addr().String()
	l.Close()
	err = get(t.Context(), awstest.Session(t, endpoint))
	if kind(t, err) != session.Reach {
		t.Errorf("kind %q", kind(t, err))
	}
	mentions(t, err, endpoint+" can't be reached", "connection refused", "VPC endpoint")
}

func TestACertificateThatNobodyKnows(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	s := awstest.Session(t, server.URL)
	s.Timeout = 2 * time.Second
	err := get(t.Context(), s)
	if kind(t, err) != session.Configuration {
		t.Errorf("kind %q", kind(t, err))
	}
	mentions(t, err, "is not trusted", "AWS_CA_BUNDLE")
}
