package health

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bootagent/bootagent/internal/unit"
)

// day is some point in time; a second is one result.
var day = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestStateNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		t       Thresholds
		results string // + passed, - failed, one a second from 1 s on
		status  Status
		since   int // seconds
		passes  int
		fails   int
	}{
		{"never asked", Thresholds{}, "", Unknown, 0, 0, 0},
		{"the first pass", Thresholds{Fall: 3, Rise: 3}, "+", Passing, 1, 1, 0},
		{"one failure of three is none", Thresholds{Fall: 3}, "-", Unknown, 0, 0, 1},
		{"two failures of three are none", Thresholds{Fall: 3}, "+--", Passing, 1, 0, 2},
		{"three are, and count from the first", Thresholds{Fall: 3}, "+---", Failing, 2, 0, 3},
		{"and go on to", Thresholds{Fall: 3}, "+-----", Failing, 2, 0, 5},
		{"failing from the first look on", Thresholds{Fall: 2}, "--", Failing, 1, 0, 2},
		{"failures that are not in a row", Thresholds{Fall: 2}, "+-+-+-", Passing, 1, 0, 1},
		{"one pass heals without a threshold", Thresholds{Fall: 1}, "+-+", Passing, 3, 1, 0},
		{"one pass of two heals not yet", Thresholds{Fall: 1, Rise: 2}, "+-+", Failing, 2, 1, 0},
		{"two do, and count from the first", Thresholds{Fall: 1, Rise: 2}, "+-++", Passing, 3, 2, 0},
		{"a failure in between begins anew", Thresholds{Fall: 1, Rise: 2}, "+-+-+", Failing, 2, 1, 0},
		{"thresholds of zero are one", Thresholds{}, "+-", Failing, 2, 0, 1},
		{"what could not be asked is neither", Thresholds{Fall: 2}, "+-??", Passing, 1, 0, 1},
		{"and ends no row", Thresholds{Fall: 2}, "+-?-", Failing, 2, 0, 2},
	} {
		var s State
		for i, r := range c.results {
			var result error
			switch r {
			case '-':
				result = errSick
			case '?':
				result = &UnaskedError{errSick}
			}
			s = s.Next(result, day.Add(time.Duration(i+1)*time.Second), c.t)
		}
		if s.Status != c.status || s.Passes != c.passes || s.Failures != c.fails {
			t.Errorf("%s: %+v", c.name, s)
		}
		if asked := !strings.HasSuffix(c.results, "?"); asked != (s.Unasked == nil) {
			t.Errorf("%s: the last could not be asked: %v", c.name, s.Unasked)
		}
		if want := day.Add(time.Duration(c.since) * time.Second); c.since > 0 && !s.Since.Equal(want) {
			t.Errorf("%s: since %s, want %s", c.name, s.Since, want)
		}
		now := day.Add(10 * time.Second)
		if want := time.Duration(10-c.since) * time.Second; c.since > 0 && s.For(now) != want || c.since == 0 && s.For(now) != 0 {
			t.Errorf("%s: for %s, want %s", c.name, s.For(now), want)
		}
	}
}

func TestStateNextAlways(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		thresholds := Thresholds{Fall: rapid.IntRange(0, 4).Draw(t, "fall"), Rise: rapid.IntRange(0, 4).Draw(t, "rise")}
		var s State
		for i, passed := range rapid.SliceOf(rapid.Bool()).Draw(t, "results") {
			before, now := s, day.Add(time.Duration(i)*time.Second)
			var result error
			if !passed {
				result = errSick
			}
			s = s.Next(result, now, thresholds)
			switch {
			case s.Passes > 0 == (s.Failures > 0):
				t.Fatalf("both or none of passes and failures: %+v", s)
			case s.Status != before.Status && (s.Status == Passing) != passed:
				t.Fatalf("a result led to its opposite: %+v", s)
			case s.Status == before.Status && !s.Since.Equal(before.Since):
				t.Fatalf("the same status has another beginning: %+v, %+v", before, s)
			case s.Since.After(s.Checked):
				t.Fatalf("it begins in the future: %+v", s)
			}
		}
	})
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var at []time.Duration
		var changes []Status
		m := NewMonitor(MonitorOptions{
			Probe: script(&at, 0, 0, 1, 2, 0, 0, 2), Interval: 10 * time.Second, Timeout: 3 * time.Second,
			Thresholds: Thresholds{Fall: 2, Rise: 2}, Changed: func(s State) { changes = append(changes, s.Status) },
		})
		if s := m.State(); s.Status != Unknown {
			t.Errorf("before it was asked anything: %+v", s)
		}
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()

		time.Sleep(34 * time.Second) // 0, 10, 20 (fails), 30 to 33 (times out), 43, 53
		s := m.State()
		if s.Status != Failing || !s.Since.Equal(began.Add(20*time.Second)) || s.Last == nil || s.Last.Error() != "timed out after 3s" {
			t.Errorf("after two failures: %+v", s)
		}
		time.Sleep(20 * time.Second)
		if s := m.State(); s.Status != Passing || !s.Since.Equal(began.Add(43*time.Second)) {
			t.Errorf("after two passes: %+v", s)
		}
		time.Sleep(10 * time.Second) // in the middle of a probe
		before := m.State()
		cancel()
		<-done
		if diff := cmp.Diff(before, m.State(), cmp.AllowUnexported(State{}), cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); diff != "" {
			t.Errorf("a probe that was cut short counted (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff([]Status{Passing, Failing, Passing}, changes); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

func TestDiagnoseSockets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		sockets unit.Sockets
		foreign bool
		want    string
	}{
		{"its port", unit.Sockets{Owned: true}, false, ""},
		{"its port and others", unit.Sockets{Owned: true, Others: []int{9090}}, false, ""},
		{"another port", unit.Sockets{Others: []int{3000}}, false, "it listens on 3000, not on PORT=8081: the app must listen on the port that is in the environment variable PORT"},
		{"other ports", unit.Sockets{Others: []int{3000, 9090}}, false, "it listens on 3000 and 9090, not on PORT=8081: the app must listen on the port that is in the environment variable PORT"},
		{"nothing yet", unit.Sockets{}, false, "it does not listen on any port yet, and should on PORT=8081"},
		{"a stranger's port", unit.Sockets{Others: []int{3000}}, true, "port 8081, which it was given as PORT, is taken by a process that is not its own: end that process, or take the port out of the configured range"},
	} {
		err := DiagnoseSockets(8081, c.sockets, c.foreign)
		if text(err) != c.want {
			t.Errorf("%s: got %v", c.name, err)
		}
		var elsewhere *PortError
		if errors.As(err, &elsewhere) == (c.name == "nothing yet") && err != nil || errors.Is(err, ErrNotListening) != (c.name == "nothing yet") {
			t.Errorf("%s: it is a %T", c.name, err)
		}
	}
}

func TestLasting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var result error
		check := Lasting(2*time.Second, func(context.Context) error { return result })
		for _, step := range []struct {
			result, want error
		}{{nil, nil}, {errSick, nil}, {errSick, nil}, {nil, nil}, {errSick, nil}, {errSick, nil}, {errDied, errDied}, {nil, nil}, {errSick, nil}} {
			result = step.result
			if err := check(t.Context()); !errors.Is(err, step.want) {
				t.Errorf("after %v: %v, want %v", step.result, err, step.want)
			}
			time.Sleep(time.Second)
		}
	})
}
