package timeline_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/timeline"
)

func TestATimelineShowsWhatOverlappedAndWhatFailed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	spans := timeline.New(func() time.Time { return now })
	fetch := spans.Begin("fetch", 2)
	drain := spans.Begin("drain", 1)
	now = now.Add(time.Second)
	fetch(nil)
	check := spans.Begin("check", 2)
	now = now.Add(time.Second)
	check(errors.New("answered 500\nwith a stack"))
	drain(nil)
	drain(errors.New("an end is an end"))
	spans.Begin("stop", 1)
	now = now.Add(2 * time.Second)

	var out strings.Builder
	timeline.Draw(&out, spans.All(), now)
	want := strings.Join([]string{
		"release 2, from 12:00:00, 2.00s in all",
		"  fetch         1.00s  " + strings.Repeat("█", 20),
		"  check         1.00s  " + strings.Repeat(" ", 20) + strings.Repeat("█", 20) + "  answered 500",
		"  critical path 2.00s: fetch 1.00s → check 1.00s",
		"release 1, from 12:00:00, 4.00s in all",
		"  drain         2.00s  " + strings.Repeat("█", 20),
		"  stop          2.00s  " + strings.Repeat(" ", 20) + strings.Repeat("█", 20) + ">",
		"  critical path 4.00s: drain 2.00s → stop 2.00s",
		"",
	}, "\n")
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// What a boot waited for is named; what went on beside it is not, nor what came after.
func TestTheCriticalPathIsWhatABootWaitedFor(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	span := func(phase string, release int64, from, to int) timeline.Span {
		at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
		return timeline.Span{Phase: phase, Release: release, Start: at(from), End: at(to)}
	}
	spans := []timeline.Span{
		span("identify", 0, 0, 100),
		span("targets", 0, 110, 900), // slow, and nobody waited for it
		span("records", 0, 110, 200), span("secrets", 0, 110, 260),
		span("drain", 6, 0, 9000), // another release
		span("cache", 7, 300, 1300), span("store", 7, 1300, 1310), span("start", 7, 1320, 1400), span("check", 7, 1400, 1600),
		span("register", 7, 1600, 1650), span("balancer", 7, 1650, 2650), span("promote", 7, 2660, 2670),
		span("label", 7, 60000, 61000),
	}
	var got []string
	for _, s := range timeline.Path(spans, 7, began.Add(time.Hour)) {
		got = append(got, s.Phase)
	}
	if want := "identify secrets cache store start check register balancer promote"; strings.Join(got, " ") != want {
		t.Errorf("the path is %v, and should be %s", got, want)
	}
	var out strings.Builder
	timeline.Draw(&out, spans, began.Add(time.Hour))
	if want := "critical path 2.67s: identify 0.10s → secrets 0.15s → cache 1.00s"; !strings.Contains(out.String(), want) || !strings.Contains(out.String(), ", and 0.07s between them") {
		t.Errorf("the drawing does not say %q:\n%s", want, out.String())
	}
	if path := timeline.Path(spans, 8, began); len(path) != 0 {
		t.Errorf("a release that nobody knows has the path %v", path)
	}
}

func TestATimelineIsBounded(t *testing.T) {
	t.Parallel()
	spans := timeline.New(time.Now)
	for n := range 2000 {
		spans.Begin("check", int64(n))(nil)
	}
	all := spans.All()
	if len(all) == 0 || len(all) > 600 || all[len(all)-1].Release != 1999 {
		t.Errorf("%d spans are kept, the last of release %d", len(all), all[len(all)-1].Release)
	}
}
