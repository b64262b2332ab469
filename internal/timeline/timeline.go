// Package timeline keeps the spans of a boot or a deployment, so that a
// person can see where the time went and what overlapped.
package timeline

import (
	"sync"
	"time"
)

// Span is one phase of one release's way onto this instance.
type Span struct {
	Phase   string    `json:"phase"` // "fetch", "build", "check" …
	Release int64     `json:"release,omitempty"`
	Start   time.Time `json:"start"`
	// End is zero while the phase is going on.
	End time.Time `json:"end,omitzero"`
	// Error is why it failed, "" if it did not.
	Error string `json:"error,omitempty"`
}

// Duration is how long the span took, or has taken until now.
func (s Span) Duration(now time.Time) time.Duration {
	if s.End.IsZero() {
		return now.Sub(s.Start)
	}
	return s.End.Sub(s.Start)
}

// limit bounds the spans kept: some 40 deployments.
const limit = 512

// Spans is the list of an agent's spans, oldest first, bounded. A nil *Spans records nothing.
type Spans struct {
	mu   sync.Mutex
	now  func() time.Time
	list []*Span
}

// New makes an empty list on that clock; nil is time.Now.
func New(now func() time.Time) *Spans {
	if now == nil {
		now = time.Now
	}
	return &Spans{now: now}
}

// Begin starts a span; the function it returns ends it, with the phase's error or nil.
func (s *Spans) Begin(phase string, release int64) func(error) {
	if s == nil {
		return func(error) {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	span := &Span{Phase: phase, Release: release, Start: s.now()}
	s.list = append(s.list, span)
	if len(s.list) > limit {
		s.list = append([]*Span(nil), s.list[len(s.list)-limit:]...)
	}
	return func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !span.End.IsZero() {
			return
		}
		span.End = s.now()
		if err != nil {
			span.Error = err.Error()
		}
	}
}

// All gives copies of the spans, in order of their start.
func (s *Spans) All() []Span {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Span, 0, len(s.list))
	for _, span := range s.list {
		out = append(out, *span)
	}
	return out
}
