package agent

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// MemorySchema is the version of Memory's shape on disk.
const MemorySchema = 1

// Memory is what an instance must remember over a restart of the agent or of
// the machine. It is changed by Before and After alone, which are pure, and
// written to disk before the next step is taken.
type Memory struct {
	Schema     int    `json:"schema"`
	InstanceID string `json:"instance_id"`
	BootID     string `json:"boot_id"`
	// Parameter is the name of the release parameter whose versions the numbers are.
	Parameter string `json:"parameter,omitempty"`

	// InService is the release that serves or last served here, Previous the one before it.
	InService model.Release `json:"in_service,omitzero"`
	Previous  model.Release `json:"previous,omitzero"`
	// Port is where InService came into service on this boot; 0 until it has.
	Port int `json:"port,omitempty"`
	// Serving says that InService came into service on this boot, also where it has no port.
	Serving bool `json:"serving,omitempty"`
	// Failed are the revisions that failed here, by full SHA. They are not tried again.
	Failed map[string]Failure `json:"failed,omitempty"`
	// LastFailed is the revision that failed last.
	LastFailed string `json:"last_failed,omitempty"`
	// Retries are the steps that failed for a reason of the world's, by Step.String.
	Retries map[string]Retry `json:"retries,omitempty"`
	// Ports are those that have, or may still have, traffic on this boot.
	Ports map[int]PortUse `json:"ports,omitempty"`
	// Left are ports that may still be targets from before this boot: whatever runs there now must not inherit them.
	Left []int `json:"left,omitempty"`
	// Crashes counts, by process, how often the release in service had to be started again in a row.
	Crashes map[string]Retry `json:"crashes,omitempty"`
	// HookSince is when the launch hook was first seen open on this boot; zero when it was not.
	HookSince time.Time `json:"hook_since,omitzero"`
	// DrainSince is when an operator took this instance out of service; zero while none has. It outlives a boot.
	DrainSince time.Time `json:"drain_since,omitzero"`
	// Leaving is why the instance lets go of what it has, since LeavingSince; Stays while it does not.
	Leaving      Leaving   `json:"leaving,omitempty"`
	LeavingSince time.Time `json:"leaving_since,omitzero"`
	// Aside says that this agent has put the instance in standby, or was about to. It outlives a boot.
	Aside bool `json:"aside,omitempty"`
	// Departed says that the hook of the instance's end was completed.
	Departed bool `json:"departed,omitempty"`
	// Replaced says that the group was asked to replace this instance.
	Replaced bool `json:"replaced,omitempty"`
}

// Failure says why a revision is not tried again here.
type Failure struct {
	Release model.Release `json:"release"`
	Reason  string        `json:"reason"`
	At      time.Time     `json:"at"`
	// Attempt is the fleet's at this release that it failed in.
	Attempt rollout.Attempt `json:"attempt,omitzero"`
}

// PortUse is a port's way through the balancer.
type PortUse struct {
	Release model.Release `json:"release"`
	// Deregistered is when the port was taken out; zero while it is, or is being, registered.
	Deregistered time.Time `json:"deregistered,omitzero"`
	// Drained says that nobody uses the port any more.
	Drained bool `json:"drained,omitempty"`
	// Condemned is why the process on this port must go although its release stays; "" if it need not.
	Condemned string `json:"condemned,omitempty"`
}

// toldToStop condemns a process that may be ending.
const toldToStop = "it was told to stop"

// maxFailed is how many failed revisions are kept; the oldest is forgotten first.
const maxFailed = 50

// On gives the memory as it is good for this instance on this boot: all of it
// on the same boot, what concerns processes and ports forgotten on a new one,
// nothing of another instance's (an image may have been made of a used disk), and of another parameter's only that the
// instance was taken out of service, by an operator or into standby.
func (m Memory) On(id model.Identity, parameter string) Memory {
	if m.InstanceID != id.InstanceID || m.Parameter != parameter {
		fresh := Memory{Schema: MemorySchema, InstanceID: id.InstanceID, BootID: id.BootID, Parameter: parameter}
		if m.InstanceID == id.InstanceID {
			fresh.DrainSince, fresh.Aside = m.DrainSince, m.Aside // of the instance, whatever it is to serve
		}
		return fresh
	}
	if m.BootID != id.BootID {
		m.BootID = id.BootID
		m.Left = left(m.Left, m.Ports)
		m.Port, m.Serving, m.Ports, m.Retries, m.Crashes = 0, false, nil, nil, nil
		m.HookSince, m.Replaced = time.Time{}, false
		m.Leaving, m.LeavingSince, m.Departed = Stays, time.Time{}, false
	}
	m.Schema = MemorySchema
	return m
}

// Seen notes what the fleet forgives, whether the launch hook is open, whether the instance leaves, and what is left
// from before this boot.
func (m Memory) Seen(d Desired, o Observed, now time.Time) Memory {
	m = m.forgiven(d)
	if o.hookOpen() && m.HookSince.IsZero() {
		m.HookSince = now
	}
	stayed := m.Leaving == Stays
	m = m.leaves(d, o, now)
	m = m.setAside(d, o).broughtBack(d, o, stayed && m.Leaving == Terminating)
	if o.TargetsKnown {
		m = m.forgetLeft(func(port int) bool { return !o.Targets[port].Registered })
	}
	return m
}

// Forget drops the tries of steps that are not wanted any more: a ref that was
// mistyped stands in nobody's way once another was put. Until the parameter was
// read nobody knows what is wanted.
func (m Memory) Forget(wanted []Step, d Desired) Memory {
	if !d.Known || len(m.Retries) == 0 {
		return m
	}
	steps := make(map[string]bool, len(wanted))
	for _, s := range wanted {
		steps[s.String()] = true
	}
	for step := range m.Retries {
		if !steps[step] {
			m.Retries = without(m.Retries, step)
		}
	}
	return m
}

// Before gives the memory as it must be on disk before the step is taken:
// whatever would be forgotten if the agent died in the middle of it.
func (m Memory) Before(step Step) Memory {
	switch s := step.(type) {
	case Start: // what is remembered of a process that had the port before is over
		if use := m.Ports[s.Port]; !use.Deregistered.IsZero() || use.Condemned != "" {
			m.Ports = without(m.Ports, s.Port)
		}
	case Register:
		m.Ports = with(m.Ports, s.Port, PortUse{Release: s.Release})
		m = m.forgetLeft(func(port int) bool { return port == s.Port })
	case Promote: // where there is no balancer, nothing was registered, and nothing says that it is back
		if use, ok := m.Ports[s.Port]; !ok || !use.Deregistered.IsZero() {
			m.Ports = with(m.Ports, s.Port, PortUse{Release: s.Release})
		}
	case EnterStandby:
		m.Aside = true
	case Stop: // a process that is ending must not come back into service if it is wanted again meanwhile
		if use := m.Ports[s.Port]; s.Port != 0 && use.Condemned == "" {
			m.Ports = with(m.Ports, s.Port, PortUse{Release: s.Release, Deregistered: use.Deregistered, Drained: true, Condemned: toldToStop})
		}
	}
	return m
}

// After gives the memory after the step ended, with err or without.
func (m Memory) After(step Step, outcome Outcome, now time.Time) Memory {
	if outcome.Err != nil {
		return m.afterFailure(step, outcome, now)
	}
	m.Retries = without(m.Retries, step.String())
	switch s := step.(type) {
	case Start: // that is a crash where a process had ended, and not where it was condemned, or never there
		if s.Release.Number == m.InService.Number && m.Serving && outcome.Ended != "" {
			process := s.Process
			if s.Port != 0 {
				process = web
			}
			m.Crashes = with(m.Crashes, process, m.Crashes[process].again(outcome.Ended, now))
		}
	case Promote:
		if m.InService.Number != s.Release.Number {
			m.Previous, m.InService = m.InService, s.Release
			m.Crashes = nil
		}
		m.Port, m.Serving, m.Aside = s.Port, true, false
	case Deregister:
		use := m.Ports[s.Port]
		use.Release, use.Deregistered = s.Release, now
		m.Ports = with(m.Ports, s.Port, use)
		m = m.forgetLeft(func(port int) bool { return port == s.Port })
		if s.Cause == Unhealthy {
			m = m.condemn(s.Port, s.Release, m.Crashes[web].since(s.Cause, now), now)
		}
	case Drain:
		use := m.Ports[s.Port]
		use.Drained = true
		m.Ports = with(m.Ports, s.Port, use)
	case Stop:
		if s.Port != 0 {
			m.Ports = without(m.Ports, s.Port)
			if m.Port == s.Port {
				m.Port, m.Serving = 0, m.Serving && m.Leaving == Stays
			}
		}
	case Replace:
		m.Replaced = true
	case CompleteHook:
		m.HookSince = time.Time{}
	case CompleteTermination:
		m.Departed = true
	}
	return m
}

// afterFailure tells failures of the revision, which mark it, from those of
// the world, which are tried again. The release that is in service is never
// marked: it has served, so the trouble lies elsewhere.
func (m Memory) afterFailure(step Step, outcome Outcome, now time.Time) Memory {
	rel, err := step.For(), outcome.Err
	var bad *deploy.RevisionError
	if !errors.As(err, &bad) || !rel.Resolved() {
		m.Retries = with(m.Retries, step.String(), m.Retries[step.String()].again(err.Error(), now))
		return m
	}
	if rel.Number != m.InService.Number {
		m.Failed = with(m.Failed, rel.Revision, Failure{Release: rel, Reason: err.Error(), At: now, Attempt: outcome.Attempt})
		m.LastFailed = rel.Revision
		for len(m.Failed) > maxFailed {
			m.Failed = without(m.Failed, oldest(m.Failed))
		}
		return m
	}
	switch s := step.(type) {
	case Check:
		m = m.condemn(s.Port, rel, err.Error(), now)
	case AwaitBalancer:
		m = m.condemn(s.Port, rel, err.Error(), now)
	default:
		m.Retries = with(m.Retries, step.String(), m.Retries[step.String()].again(err.Error(), now))
	}
	return m
}

// condemn decides that the process on this port must make way for a new one.
func (m Memory) condemn(port int, rel model.Release, cause string, now time.Time) Memory {
	use := m.Ports[port]
	use.Release, use.Condemned = rel, cause
	m.Ports = with(m.Ports, port, use)
	m.Crashes = with(m.Crashes, web, m.Crashes[web].again(cause, now))
	return m
}

// left adds the ports in use when a boot ended to those that were left before.
func left(before []int, used map[int]PortUse) []int {
	all := slices.AppendSeq(slices.Clone(before), maps.Keys(used))
	slices.Sort(all)
	return slices.Compact(all)
}

// forgetLeft forgets ports that were left from before this boot.
func (m Memory) forgetLeft(gone func(port int) bool) Memory {
	if slices.ContainsFunc(m.Left, gone) {
		m.Left = slices.DeleteFunc(slices.Clone(m.Left), gone)
	}
	return m
}

// Outcome is how a step ended.
type Outcome struct {
	Err error
	// Attempt is the fleet's at the release as the step began.
	Attempt rollout.Attempt
	// Ended is how the process ended that Start started again, in words; "" where there was none.
	Ended string
}
