package session

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
)

// Call names a request in the errors that it may end in.
type Call struct {
	Action   string // as in an IAM policy: "ssm:GetParameters"
	Resource string // in words: "parameter /bootagent/shop/prod/release"
}

// Do makes one call of an AWS service, within s.Timeout. Its error is an
// *Error; when the time is over it says what kept failing until then. Only
// when ctx itself was cancelled the error is ctx's, wrapped.
func Do[T any](ctx context.Context, s *Session, c Call, request func(context.Context) (T, error)) (T, error) {
	if s.Config.Region == "" { // the SDK would say so only where it has to find the endpoint itself
		var none T
		return none, &Error{Kind: Configuration, Sentence: c.Action + " on " + c.Resource +
			": no AWS region is known: set region in the configuration, or AWS_REGION"}
	}
	out, f := within(ctx, s.Timeout, request)
	if f != nil {
		return out, f.explain(c)
	}
	return out, nil
}

// Ask makes one request to IMDS, within d; what names it in the error, "the
// instance's identity" for example. Errors are Do's.
func Ask[T any](ctx context.Context, d time.Duration, what string, request func(context.Context) (T, error)) (T, error) {
	out, f := within(ctx, d, request)
	if f != nil {
		return out, f.explainMetadata(what)
	}
	return out, nil
}

// failure is how a call failed.
type failure struct {
	err error
	// cause is why the last attempt failed that could say; err itself where that says it.
	cause error
	// waited is how long it was tried where the time was over, else 0.
	waited    time.Duration
	cancelled bool
}

// within puts a deadline around a call, and remembers why its attempts failed:
// once the time is over the SDK says only that it is.
func within[T any](ctx context.Context, d time.Duration, request func(context.Context) (T, error)) (T, *failure) {
	begun := time.Now()
	last := &lastCause{}
	limited, cancel := context.WithTimeout(context.WithValue(ctx, causeKey{}, last), d)
	defer cancel()
	out, err := request(limited)
	if err == nil {
		return out, nil
	}
	f := &failure{err: err, cause: err}
	if hidesCause(err) {
		f.cause = last.get()
	}
	if limited.Err() != nil {
		f.cause = last.get()
		f.cancelled = errors.Is(ctx.Err(), context.Canceled)
		f.waited = max(time.Since(begun), time.Millisecond)
	}
	return out, f
}

// hidesCause says whether this is the IMDS client's error for a token that
// it could not get: it has the cause as text only. The attempts to get the token
// are requests too, and have recorded their own errors.
func hidesCause(err error) bool { return strings.Contains(err.Error(), "failed to get API token") }

type causeKey struct{}

// lastCause is why the last attempt failed that could say why. Credentials are
// fetched by a goroutine of the SDK's, which may outlive the call: hence the mutex.
type lastCause struct {
	mu  sync.Mutex
	err error
}

func (l *lastCause) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *lastCause) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// recordCause makes every attempt of a client leave its error with the
// deadline around the call. An attempt that the deadline itself cut short knows nothing.
func recordCause(wrap func(error) error) func(*middleware.Stack) error {
	record := middleware.FinalizeMiddlewareFunc("bootagent:LastCause",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
			middleware.FinalizeOutput, middleware.Metadata, error,
		) {
			out, md, err := next.HandleFinalize(ctx, in)
			last, ok := ctx.Value(causeKey{}).(*lastCause)
			if err == nil || !ok || ctx.Err() != nil || hidesCause(err) {
				return out, md, err
			}
			if wrap == nil {
				last.set(err)
			} else {
				last.set(wrap(err))
			}
			return out, md, err
		})
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(record, "Retry", middleware.After)
	}
}
