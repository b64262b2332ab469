package health

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	errSick = errors.New("GET http://127.0.0.1:8081/up answered 503 Service Unavailable")
	errDied = errors.New("the process exited with code 3")
	errHalt = errors.New("the agent is told to stop")
)

// script is a probe with these answers, the last of them for ever; 0 passes, 1 fails, 2 hangs.
func script(at *[]time.Duration, answers ...int) Probe {
	began := time.Now()
	n := 0
	return func(ctx context.Context) error {
		answer := answers[min(n, len(answers)-1)]
		n++
		*at = append(*at, time.Since(began))
		switch answer {
		case 1:
			return errSick
		case 2:
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	diesAt := func(d time.Duration) func(context.Context) error {
		began := time.Now()
		return func(context.Context) error {
			if time.Since(began) >= d {
				return errDied
			}
			return nil
		}
	}
	for _, c := range []struct {
		name    string
		answers []int
		opts    WaitOptions
		alive   time.Duration // when the process dies, if it does
		halt    time.Duration // when the caller's context ends, if it does
		at      []time.Duration
		want    string // the error's text
		is      []error
	}{
		{name: "well at once", answers: []int{0}, at: []time.Duration{0}},
		{
			name: "probes come quickly at first, and then at the interval", answers: []int{1, 1, 1, 1, 1, 1, 1, 1, 0},
			at: []time.Duration{0, 25 * ms, 75 * ms, 175 * ms, 375 * ms, 775 * ms, 1575 * ms, 2575 * ms, 3575 * ms},
		},
		{
			name: "an interval shorter than the first pause is kept", answers: []int{1, 1, 0}, opts: WaitOptions{Interval: 10 * ms},
			at: []time.Duration{0, 10 * ms, 20 * ms},
		},
		{
			name: "several passes in a row, counted from the first", answers: []int{1, 0}, opts: WaitOptions{Successes: 3},
			at: []time.Duration{0, 25 * ms, 1025 * ms, 2025 * ms},
		},
		{
			name: "a failure in between, and the count begins anew", answers: []int{0, 1, 0, 0}, opts: WaitOptions{Successes: 2},
			at: []time.Duration{0, 1000 * ms, 1025 * ms, 2025 * ms},
		},
		{
			name: "a probe that hangs is one that failed", answers: []int{2, 0}, opts: WaitOptions{Timeout: 2 * time.Second},
			at: []time.Duration{0, 2025 * ms},
		},
		{
			name: "never well", answers: []int{1}, opts: WaitOptions{Deadline: 2 * time.Second},
			at:   []time.Duration{0, 25 * ms, 75 * ms, 175 * ms, 375 * ms, 775 * ms, 1575 * ms},
			want: "not healthy after 2s and 7 checks; the last failure: " + errSick.Error(), is: []error{ErrDeadline, errSick},
		},
		{
			name: "never an answer", answers: []int{2}, opts: WaitOptions{Deadline: 3 * time.Second},
			at:   []time.Duration{0},
			want: "not healthy after 3s and 1 check; the last failure: had no answer before the deadline", is: []error{ErrDeadline},
		},
		{
			name: "well, but not for long enough", answers: []int{1, 0}, opts: WaitOptions{Deadline: 2 * time.Second, Successes: 5},
			at:   []time.Duration{0, 25 * ms, 1025 * ms},
			want: "not healthy after 2s and 3 checks; 2 of 5 in a row passed; the last failure: " + errSick.Error(), is: []error{ErrDeadline},
		},
		{
			name: "a process that dies ends the wait at once", answers: []int{1}, alive: 150 * ms,
			at:   []time.Duration{0, 25 * ms, 75 * ms, 175 * ms},
			want: "the process exited with code 3 (after 200ms and 4 checks); the last failure: " + errSick.Error(), is: []error{errDied, errSick},
		},
		{
			name: "also while a probe hangs", answers: []int{2}, alive: 150 * ms,
			at:   []time.Duration{0},
			want: "the process exited with code 3 (after 200ms and 1 check)", is: []error{errDied},
		},
		{
			name: "an answer does not count when the process is dead", answers: []int{0}, opts: WaitOptions{Successes: 2, Interval: 50 * ms}, alive: 20 * ms,
			at:   []time.Duration{0, 50 * ms},
			want: "the process exited with code 3 (after 50ms and 2 checks); 2 of 2 in a row passed", is: []error{errDied},
		},
		{
			name: "the caller gives up", answers: []int{2}, halt: 500 * ms,
			at:   []time.Duration{0},
			want: "the agent is told to stop (after 500ms and 1 check)", is: []error{errHalt},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.halt > 0 {
					timer := time.AfterFunc(c.halt, func() { cancel(errHalt) })
					defer timer.Stop()
				}
				if c.alive > 0 {
					c.opts.Alive = diesAt(c.alive)
				}
				var at []time.Duration
				c.opts.Probe = script(&at, c.answers...)
				err := Wait(ctx, c.opts)
				if diff := cmp.Diff(c.at, at); diff != "" {
					t.Errorf("times of the probes (-want +got):\n%s", diff)
				}
				if text(err) != c.want {
					t.Errorf("got  %s\nwant %s", text(err), c.want)
				}
				var typed *Error
				if err != nil && !errors.As(err, &typed) {
					t.Errorf("the error is a %T", err)
				}
				for _, is := range c.is {
					if !errors.Is(err, is) {
						t.Errorf("the error is not %v", is)
					}
				}
				if c.want != "" && !errors.Is(errors.Join(c.is...), ErrDeadline) && errors.Is(err, ErrDeadline) {
					t.Error("the error blames the deadline")
				}
			})
		})
	}
}

func TestErrorEndsWithTheAppsLastLines(t *testing.T) {
	t.Parallel()
	err := &Error{
		Cause: errDied, Attempts: 1, Needed: 1, Elapsed: 1234567 * time.Microsecond,
		Output: []string{"Traceback (most recent call last):", "KeyError: 'DATABASE_URL'"},
	}
	want := "the process exited with code 3 (after 1.235s and 1 check); the app's last lines:\n" +
		"  | Traceback (most recent call last):\n  | KeyError: 'DATABASE_URL'"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

// TestWaitForAServer waits for a real one that needs a while.
func TestWaitForAServer(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) <= 3 {
			http.Error(w, "migrating", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	err := Wait(t.Context(), WaitOptions{Probe: HTTP(HTTPCheck{URL: server.URL}), Interval: 10 * time.Millisecond, Successes: 2})
	if err != nil || asked.Load() != 5 {
		t.Errorf("after %d requests: %v", asked.Load(), err)
	}
}
