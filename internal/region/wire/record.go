package wire

import (
	"maps"
	"sync"
	"time"
)

// Record is one call as the region remembers it.
type Record struct {
	ID        string    // the request id that the client got
	Time      time.Time // when the call arrived
	Service   string
	Operation string
	AccessKey string
	Instance  string // the instance that signed the call, "" for a person
	// Status is the HTTP status of the answer; 0 where the connection was cut.
	Status int
	// Code is the error's code, "" for a success and CodeCut where the connection was cut.
	Code     string
	Duration time.Duration
}

// CodeCut stands in Record.Code for a call whose connection was cut on purpose.
const CodeCut = "(cut)"

// Filter selects records. A zero field matches everything.
type Filter struct {
	Service   string
	Operation string
	Instance  string
	Code      string
	Failed    bool      // only calls that did not succeed
	Since     time.Time // only calls that arrived at or after it
}

func (f Filter) matches(r Record) bool {
	return (f.Service == "" || f.Service == r.Service) &&
		(f.Operation == "" || f.Operation == r.Operation) &&
		(f.Instance == "" || f.Instance == r.Instance) &&
		(f.Code == "" || f.Code == r.Code) &&
		(!f.Failed || r.Code != "") &&
		!r.Time.Before(f.Since)
}

// Log remembers the last calls and counts all of them. Use NewLog.
type Log struct {
	mu     sync.Mutex
	ring   []Record
	next   int // where the next record goes
	full   bool
	counts map[string]int
}

// NewLog makes a log that remembers the last size calls.
func NewLog(size int) *Log {
	return &Log{ring: make([]Record, max(size, 1)), counts: map[string]int{}}
}

// Add records one call; the oldest makes room for it.
func (l *Log) Add(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.next] = r
	l.next = (l.next + 1) % len(l.ring)
	l.full = l.full || l.next == 0
	l.counts[r.Service+":"+r.Operation]++
}

// Calls returns the remembered calls that match, in the order in which they ended.
func (l *Log) Calls(f Filter) []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Record
	if l.full {
		out = appendMatching(out, l.ring[l.next:], f)
	}
	return appendMatching(out, l.ring[:l.next], f)
}

func appendMatching(out, records []Record, f Filter) []Record {
	for _, r := range records {
		if f.matches(r) {
			out = append(out, r)
		}
	}
	return out
}

// Counts returns how many calls there were of each operation since the start,
// keyed as in an IAM policy: "ssm:GetParameters".
func (l *Log) Counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}
