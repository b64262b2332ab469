package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// apart is how long before a release's first phase one of the instance's own may have ended to have been what it waited for.
const apart = time.Second

// Path gives the critical path that brought a release into service: the spans that waited for one another, in their order. What went on
// beside them could have been slower for nothing. It begins with the instance's own, where the release came with the boot. It is empty
// where nothing is known of the release.
func Path(spans []Span, release int64, now time.Time) []Span {
	var path []Span
	next, found := last(spans, release, now)
	for found {
		path = append(path, next)
		next, found = before(spans, release, next, now)
	}
	slices.Reverse(path)
	return path
}

// last is the span that put the release into service, or, while none has, the one that ends last.
func last(spans []Span, release int64, now time.Time) (last Span, found bool) {
	arrived := func(s Span) bool { return s.Phase == "promote" || s.Phase == "hook" }
	for _, s := range spans {
		switch {
		case s.Release != release:
		case !found, arrived(s) && !arrived(last), arrived(s) == arrived(last) && s.end(now).After(last.end(now)):
			last, found = s, true
		}
	}
	return last, found
}

// before is the span that ended last of those that were over when the next one began.
func before(spans []Span, release int64, next Span, now time.Time) (before Span, found bool) {
	for _, s := range spans {
		switch own := s.Release == release; {
		case !own && (s.Release != 0 || next.Start.Sub(s.end(now)) > apart):
		case s.end(now).After(next.Start) || !s.Start.Before(next.Start):
		case !found, s.end(now).After(before.end(now)):
			before, found = s, true
		}
	}
	return before, found
}

func (s Span) end(now time.Time) time.Time { return s.Start.Add(s.Duration(now)) }

// visible is how long a phase must take to be told of: the rest is 0.00s each.
const visible = 5 * time.Millisecond

// tell is the path in one line, with what passed between its spans. Those that took no time to speak of are left out.
func tell(path []Span, now time.Time) string {
	parts := make([]string, 0, len(path))
	between := path[len(path)-1].end(now).Sub(path[0].Start)
	whole := between
	for _, s := range path {
		if took := s.Duration(now); took >= visible {
			parts = append(parts, s.Phase+" "+seconds(took))
			between -= took
		}
	}
	if len(parts) == 0 {
		parts = append(parts, path[len(path)-1].Phase+" "+seconds(0))
	}
	line := fmt.Sprintf("critical path %s: %s", seconds(whole), strings.Join(parts, " → "))
	if between >= visible {
		line += fmt.Sprintf(", and %s between them", seconds(between))
	}
	return line
}
