package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// WaitOptions says what Wait waits for, and how long.
type WaitOptions struct {
	Probe Probe
	// Interval is the time from the end of one probe to the start of the next; 1 s by default. Until the first that
	// passes it is shorter: it begins with 25 ms and doubles.
	Interval time.Duration
	// Timeout is a probe's; 5 s by default.
	Timeout time.Duration
	// Successes in a row are needed; 1 by default. One failure between them, and the count begins anew.
	Successes int
	// Deadline bounds it all, from the call on; 60 s by default.
	Deadline time.Duration
	// Alive says whether waiting still makes sense, nil meaning yes: for an app whose process has exited it does not. It
	// is asked ten times a second, beside the probes, and once more after the last; its first error ends Wait at once. It may be nil, and is never called twice at the same time.
	Alive func(ctx context.Context) error
}

const (
	firstPause = 25 * time.Millisecond
	alivePause = 100 * time.Millisecond
)

func (o WaitOptions) withDefaults() WaitOptions {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Successes <= 0 {
		o.Successes = 1
	}
	if o.Deadline <= 0 {
		o.Deadline = time.Minute
	}
	if o.Alive == nil {
		o.Alive = func(context.Context) error { return nil }
	}
	return o
}

// ErrDeadline is the Cause of an Error when the app did not get well in time.
var ErrDeadline = errors.New("the deadline has passed")

// Error says why waiting ended without the app being well.
type Error struct {
	// Cause is ErrDeadline, what Alive said, or the cause of the context that ended.
	Cause error
	// Last is what the last failed probe said; nil when none failed.
	Last     error
	Attempts int // probes that were sent
	Passed   int // of them the last so many passed
	Needed   int // and so many had to
	Elapsed  time.Duration
	// Output are the last lines that the app printed. Wait leaves it empty: who knows the app's unit fills it in. The text ends
	// with them.
	Output []string
}

func (e *Error) Error() string {
	var b strings.Builder
	checks := fmt.Sprintf("%d checks", e.Attempts)
	if e.Attempts == 1 {
		checks = "1 check"
	}
	elapsed := e.Elapsed.Round(time.Millisecond)
	if errors.Is(e.Cause, ErrDeadline) {
		fmt.Fprintf(&b, "not healthy after %s and %s", elapsed, checks)
	} else {
		fmt.Fprintf(&b, "%v (after %s and %s)", e.Cause, elapsed, checks)
	}
	if e.Passed > 0 {
		fmt.Fprintf(&b, "; %d of %d in a row passed", e.Passed, e.Needed)
	}
	if e.tells() {
		fmt.Fprintf(&b, "; the last failure: %v", e.Last)
	}
	if len(e.Output) > 0 {
		b.WriteString("; the app's last lines:")
		for _, line := range e.Output {
			b.WriteString("\n  | " + line)
		}
	}
	return b.String()
}

// tells says whether the last failure says more than the cause: it may be the same sentence, or, where the app
// was well when it ended, one from before it was.
func (e *Error) tells() bool {
	return e.Last != nil && e.Last.Error() != e.Cause.Error() && (e.Passed == 0 || errors.Is(e.Cause, ErrDeadline))
}

// Unwrap gives the cause and the last probe's error.
func (e *Error) Unwrap() []error {
	if e.Last == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Last}
}

// Wait probes until enough probes in a row have passed: nil. Else the error is an *Error.
func Wait(ctx context.Context, o WaitOptions) error {
	o = o.withDefaults()
	began := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, o.Deadline, unansweredError{})
	defer stop()

	var asking sync.Mutex
	askAlive := func() {
		asking.Lock()
		defer asking.Unlock()
		if err := o.Alive(ctx); err != nil {
			cancel(err)
		}
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for ctx.Err() == nil {
			askAlive()
			_ = pause(ctx, alivePause)
		}
	}()
	e := &Error{Needed: o.Successes}
	well := o.untilWell(ctx, e)
	if well {
		// Once more: the process may have died since, and somebody else have answered.
		askAlive()
	}
	e.Cause = context.Cause(ctx)
	cancel(nil)
	<-watching
	switch {
	case well && e.Cause == nil:
		return nil
	case errors.Is(e.Cause, ErrDeadline):
		e.Cause = ErrDeadline
	}
	e.Elapsed = time.Since(began)
	return e
}

// untilWell counts in e, and says whether enough probes in a row have passed before ctx ended.
func (o WaitOptions) untilWell(ctx context.Context, e *Error) bool {
	early := min(firstPause, o.Interval)
	for ctx.Err() == nil {
		e.Attempts++
		err := once(ctx, o.Probe, o.Timeout)
		next := o.Interval
		switch {
		case err != nil && ctx.Err() != nil:
			// It did not fail, it was cut short. What an earlier one said says more.
			if e.Last == nil && errors.Is(context.Cause(ctx), ErrDeadline) {
				e.Last = err
			}
			return false
		case err != nil:
			e.Last, e.Passed = err, 0
			next, early = early, min(2*early, o.Interval)
		default:
			if e.Passed++; e.Passed >= o.Successes {
				return true
			}
		}
		_ = pause(ctx, next)
	}
	return false
}

// unansweredError is the cause of the context of a probe that the deadline cut short.
type unansweredError struct{}

func (unansweredError) Error() string { return "had no answer before the deadline" }
func (unansweredError) Unwrap() error { return ErrDeadline }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
