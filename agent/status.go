package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
)

// Status is what the agent tells a person or a program that asks on its socket.
type Status struct {
	App      string         `json:"app"`
	Env      string         `json:"env"`
	Identity model.Identity `json:"identity"`
	// Group is the instance's place in its Auto Scaling group.
	Group model.Membership `json:"group"`
	// State is this instance's deployment in one word: see Deployment.
	State string `json:"state"`
	// Leaving is why the instance is draining or drained: "drain" (an operator's), "termination", "shutdown"; "" while it stays.
	Leaving      Leaving   `json:"leaving,omitempty"`
	LeavingSince time.Time `json:"leaving_since,omitzero"`
	// InService is what serves here, on Port; zero while nothing does.
	InService model.Release `json:"in_service,omitzero"`
	Port      int           `json:"port,omitempty"`
	// Deploying is the release on its way, zero when there is none.
	Deploying model.Release `json:"deploying,omitzero"`
	Newest    model.Release `json:"newest,omitzero"`
	Stable    model.Release `json:"stable,omitzero"`
	// Leads says that this agent leads the fleet's rollout.
	Leads bool `json:"leads,omitempty"`
	// Doing are the steps in flight, the oldest first.
	Doing []Doing `json:"doing"`
	// Problems are what stands in the way, by subject.
	Problems map[string]string `json:"problems"`
	Failed   []Failure         `json:"failed"`
	Timeline []timeline.Span   `json:"timeline"`
	Started  time.Time         `json:"started"`
	At       time.Time         `json:"at"`
}

// Doing is a step in flight.
type Doing struct {
	Step  string    `json:"step"`
	Phase string    `json:"phase"`
	Since time.Time `json:"since"`
}

// Status gives the newest status; it may be called from any goroutine.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Timeline = a.Spans.All()
	return s
}

// publish makes the status that others read.
func (a *Agent) publish(w *world, now time.Time) {
	m := w.memory
	s := Status{
		App: a.Rules.App, Env: a.Env, Identity: w.id, Group: w.observed.Membership,
		Leaving: m.Leaving, LeavingSince: m.LeavingSince,
		Newest: w.fleet.newest(), Stable: LocalRelease(w.fleet.stable), Leads: w.fleet.decision.Leads,
		Doing: []Doing{}, Problems: map[string]string{}, Failed: []Failure{},
		Started: a.started, At: now,
	}
	if m.Serving && m.Port != 0 { // else it is out of service, and on its way back
		s.InService, s.Port = m.InService, m.Port
	}
	if g := goal(w.observed, w.desired, m); !g.IsZero() && g.Number != s.InService.Number && m.Leaving == Stays {
		s.Deploying = g
	}
	for step, act := range w.doing {
		s.Doing = append(s.Doing, Doing{Step: step.String(), Phase: step.Phase(), Since: act.since})
	}
	slices.SortFunc(s.Doing, func(x, y Doing) int { return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Step, y.Step)) })
	for subject, problem := range w.problems {
		s.Problems[subject] = problem
	}
	for step, r := range m.Retries {
		s.Problems[step] = fmt.Sprintf("%s (failed %d times in a row, tried again by itself)", r.Cause, r.Count)
	}
	for _, f := range m.Failed {
		s.Failed = append(s.Failed, f)
	}
	slices.SortFunc(s.Failed, func(x, y Failure) int { return cmp.Compare(x.Release.Number, y.Release.Number) })
	s.State = deployment(s, w)
	a.mu.Lock()
	a.status = s
	a.mu.Unlock()
}

// deployment is the state of the release that is on its way, or of the one in
// service: pending, fetching, starting, checking, registering, in_service,
// reverted, failed; draining and drained of an instance that leaves.
func deployment(s Status, w *world) string {
	if s.Leaving != Stays {
		if gone(w.observed, w.desired, w.memory) {
			return "drained"
		}
		return "draining"
	}
	if !s.Deploying.IsZero() {
		for step := range w.doing {
			if step.For().Number != s.Deploying.Number {
				continue
			}
			switch step.(type) {
			case Prepare:
				return "fetching"
			case Start:
				return "starting"
			case Check:
				return "checking"
			case Register, AwaitBalancer, Promote:
				return "registering"
			}
		}
		return "pending"
	}
	_, bad := w.memory.Failed[s.Newest.Revision]
	bad = bad && !s.Newest.IsZero() && s.Newest.Number != s.InService.Number
	switch {
	case !s.InService.IsZero() && bad:
		return "reverted"
	case !s.InService.IsZero():
		return "in_service"
	case bad:
		return "failed"
	default:
		return "pending"
	}
}
