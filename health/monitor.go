package health

import (
	"context"
	"errors"
	"sync"
	"time"
)

// State is how an app has been doing. The zero value is that of one that was never asked.
type State struct {
	Status Status
	// Since is when the first of the results came that led to Status: an app that is failing has answered no probe well since
	// then. Zero while the status is Unknown.
	Since time.Time
	// Checked is when the newest result came.
	Checked time.Time
	// Passes and Failures in a row; one of them is zero.
	Passes, Failures int
	// Last is what the newest failed probe said. It is kept when the app gets well, to say what was wrong.
	Last error
	// Unasked is why the newest probe could not ask (*UnaskedError); nil when it could. It changes nothing else.
	Unasked error

	run time.Time // when the current row of passes or failures began
}

// Status is what a row of results means.
type Status string

// An app's status is Unknown until its first results.
const (
	Unknown Status = ""
	Passing Status = "passing"
	Failing Status = "failing"
)

// Thresholds say how many results in a row change the status, so that one slow answer is no failure. Both are 1 when they are
// zero, except that it takes no more than one pass to go from Unknown to Passing.
type Thresholds struct {
	Fall int // failures until Failing
	Rise int // passes until Passing again
}

// Next is the state after one more result, which came at now. It is a pure function.
func (s State) Next(result error, now time.Time, t Thresholds) State {
	var unasked *UnaskedError
	if errors.As(result, &unasked) {
		s.Unasked = result
		return s
	}
	s.Checked, s.Unasked = now, nil
	if result == nil {
		if s.Passes == 0 {
			s.run = now
		}
		s.Passes, s.Failures = s.Passes+1, 0
		if s.Status == Unknown || s.Status == Failing && s.Passes >= t.Rise {
			s.Status, s.Since = Passing, s.run
		}
		return s
	}
	if s.Failures == 0 {
		s.run = now
	}
	s.Passes, s.Failures, s.Last = 0, s.Failures+1, result
	if s.Status != Failing && s.Failures >= t.Fall {
		s.Status, s.Since = Failing, s.run
	}
	return s
}

// For is how long the status has been what it is; 0 while it is Unknown.
func (s State) For(now time.Time) time.Duration {
	if s.Status == Unknown {
		return 0
	}
	return now.Sub(s.Since)
}

// MonitorOptions says what a Monitor asks, and how often.
type MonitorOptions struct {
	Probe    Probe
	Interval time.Duration // from the end of one probe to the start of the next; 5 s by default
	Timeout  time.Duration // a probe's; 5 s by default
	Thresholds
	// Changed is called after each change of the status, in Run's goroutine. It may be nil.
	Changed func(State)
}

// Monitor asks an app for the rest of its life how it is.
type Monitor struct {
	opts  MonitorOptions
	mu    sync.Mutex
	state State
}

// NewMonitor makes a Monitor that asks nothing until Run is called.
func NewMonitor(o MonitorOptions) *Monitor {
	if o.Interval <= 0 {
		o.Interval = 5 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	return &Monitor{opts: o}
}

// Run asks until ctx ends. It is called once, in a goroutine that the caller owns.
func (m *Monitor) Run(ctx context.Context) {
	for ctx.Err() == nil {
		result := once(ctx, m.opts.Probe, m.opts.Timeout)
		if ctx.Err() != nil {
			return // cut short, which says nothing of the app
		}
		m.mu.Lock()
		before := m.state.Status
		m.state = m.state.Next(result, time.Now(), m.opts.Thresholds)
		now := m.state
		m.mu.Unlock()
		if now.Status != before && m.opts.Changed != nil {
			m.opts.Changed(now)
		}
		_ = pause(ctx, m.opts.Interval)
	}
}

// State is how the app is doing. It may be called at any time, also beside Run.
func (m *Monitor) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}
