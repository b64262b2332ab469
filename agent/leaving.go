package agent

import (
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// Leaving is why an instance takes nothing new and lets go of what it has. Whatever the reason is, the way out is
// the same: what is registered is deregistered, drained, and stopped.
type Leaving string

const (
	// Stays is no reason to leave.
	Stays Leaving = ""
	// Drained means that an operator took the instance out of service, until undrain.
	Drained Leaving = "drain"
	// Terminating means that its Auto Scaling group ends the instance: there is no way back.
	Terminating Leaving = "termination"
	// ShuttingDown means that the machine goes down; it may come back.
	ShuttingDown Leaving = "shutdown"
)

// leaves notes whether and since when the instance is leaving, and why: the reason from which there is no way back first.
func (m Memory) leaves(d Desired, o Observed, now time.Time) Memory {
	why := m.Leaving
	switch {
	case o.terminating(), why == Terminating:
		why = Terminating
	case d.ShutDown:
		why = ShuttingDown
	case !m.DrainSince.IsZero():
		why = Drained
	default:
		why = Stays
	}
	if why != m.Leaving {
		m.Leaving, m.LeavingSince = why, now
	}
	if why != Stays && o.UnitsKnown && !o.hasWeb() {
		m.Port, m.Serving = 0, false // it comes back, if it does, as after a boot: on whatever is wanted then
	}
	return m
}

// terminating says whether Auto Scaling ends the instance. IMDS tells the state that it is being moved to, at once and
// without a permission; the group's own word tells how far it has come.
func (o Observed) terminating() bool {
	switch o.Membership.Lifecycle {
	case model.LifecycleTerminating, model.LifecycleTerminatingWait, model.LifecycleTerminatingProceed, model.LifecycleTerminated:
		return true
	}
	return o.TargetLifecycle == model.LifecycleTerminated
}

// gone says whether nothing of this instance takes requests any more: nothing is registered, and no process of the app
// runs. Where the machine goes down processes may, once they are drained: systemd ends them after the agent.
func gone(o Observed, d Desired, m Memory) bool {
	if !o.UnitsKnown || d.Rules.Balanced && !o.TargetsKnown {
		return false
	}
	for _, u := range o.Units {
		use, used := m.Ports[u.Port]
		if !d.ShutDown || u.State == unit.Running && used && !use.Drained {
			return false
		}
	}
	for _, t := range o.Targets {
		if t.Registered {
			return false
		}
	}
	return true
}

// hasWeb says whether a process with a port still runs.
func (o Observed) hasWeb() bool {
	for _, u := range o.Units {
		if u.Port != 0 && u.State == unit.Running {
			return true
		}
	}
	return false
}

// longestFarewell is how long an instance that is being terminated may take to drain and to stop: the longest
// deregistration delay that AWS allows, an hour, and as much as it could need to stop. An instance whose targets can't
// be deregistered, for a permission that is missing, must not wait for the hook's own limit of up to two days.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
const longestFarewell = 90 * time.Minute

// sayFarewell answers the hooks of an instance that is being terminated: the one of its end when nothing is left, or
// when its time is nearly over, and the one of its launch at once. One that was drained in the middle of its launch keeps
// that hook open for as long as it can.
func (p *plan) sayFarewell() {
	m := p.Membership
	switch {
	case p.hookOpen() && (p.Leaving == Terminating || p.abandoned()):
		p.do(CompleteHook{Result: model.HookAbandon})
	case p.Leaving != Terminating:
	case m.Lifecycle != model.LifecycleTerminatingWait || m.TerminateHook == "" || p.Departed:
	case gone(p.Observed, p.Desired, p.Memory), p.now.Sub(p.LeavingSince) > min(hookLimit(m.TerminateTimeout), longestFarewell):
		p.do(CompleteTermination{})
	}
}
