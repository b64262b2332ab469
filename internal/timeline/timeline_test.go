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
		"release 1, from 12:00:00, 4.00s in all",
		"  drain         2.00s  " + strings.Repeat("█", 20),
		"  stop          2.00s  " + strings.Repeat(" ", 20) + strings.Repeat("█", 20) + ">",
		"",
	}, "\n")
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
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
