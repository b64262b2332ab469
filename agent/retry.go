package agent

import (
	"fmt"
	"strings"
	"time"
)

const (
	longest = time.Minute     // between two tries
	calm    = 5 * time.Minute // without a crash, and the count starts again
)

// Retry says how often something failed in a row, why, and when it may be tried again.
type Retry struct {
	Count     int       `json:"count"`
	Cause     string    `json:"cause,omitempty"`
	At        time.Time `json:"at"`
	NotBefore time.Time `json:"not_before"`
}

// again is the next try of something that failed: at once, then after 1 s, 2 s, 4 s … longest.
// The first retry is not delayed because most failures are gone at the second look.
func (r Retry) again(cause string, now time.Time) Retry {
	if r.Count > 0 && now.Sub(r.At) > calm+r.NotBefore.Sub(r.At) {
		r = Retry{}
	}
	delay := time.Duration(0)
	if r.Count > 0 {
		delay = min(time.Second<<min(r.Count-1, 10), longest)
	}
	return Retry{Count: r.Count + 1, Cause: cause, At: now, NotBefore: now.Add(delay)}
}

// waits says whether the time for another try has not come. A time further
// away than any delay was written before the clock was set back.
func (r Retry) waits(now time.Time) bool {
	wait := r.NotBefore.Sub(now)
	return wait > 0 && wait <= longest
}

// since is a cause that says less than the failure before it, with that: a process that crashes again and again fails
// its checks, and why it crashes is what a person wants to know.
func (r Retry) since(cause string, now time.Time) string {
	switch {
	case r.Count == 0 || r.Cause == "" || now.Sub(r.At) > calm:
		return cause
	case strings.HasPrefix(r.Cause, cause):
		return r.Cause
	}
	return cause + "; before that: " + r.Cause
}

// repeated tells of failures in a row, to be appended to what is wrong; "" where there was none of late.
func (r Retry) repeated(now time.Time) string {
	switch {
	case r.Count == 0 || now.Sub(r.At) > calm:
		return ""
	case r.Count == 1:
		return "; it failed before: " + r.Cause
	}
	return fmt.Sprintf("; it failed %d times in a row, the last time: %s", r.Count, r.Cause)
}
