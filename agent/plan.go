package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// Plan says which steps to take now, given what is, what should be, and what
// is remembered. It has no clock, no goroutine and no I/O, and it is level
// triggered: where a step was cut off it asks for it again. The steps it gives
// may run at the same time; one that it no longer gives is to be cancelled.
//
// It is the sentence of an instance's life, read for each release that should
// run here: prepare it, start it, wait until it is healthy, register it, wait
// until the balancer says so too, let it be the one in service. (Where two can't run at the same time the old one makes
// way as soon as the new one is prepared: restart.go.) Whatever then
// should not be there any more is deregistered, drained and stopped; on an instance that leaves, that is everything.
func Plan(o Observed, d Desired, m Memory, now time.Time) []Step {
	p := &plan{Observed: o, Desired: d, Memory: m, now: now, goal: goal(o, d, m), switching: switching(o, d, m)}
	if m.Leaving == Stays {
		if !p.switching {
			p.advance(m.InService)
		}
		if p.goal.Number != m.InService.Number {
			p.advance(p.goal)
		}
		p.ready()
		p.leaveEmpty()
	}
	p.retire()
	if m.Leaving == Stays {
		p.finishLaunch()
	} else {
		p.sayFarewell()
	}
	return p.steps
}

// wanted is Plan with the steps that wait for their next try.
func wanted(o Observed, d Desired, m Memory, now time.Time) []Step {
	m.Retries = nil
	return Plan(o, d, m, now)
}

// plan is one call of Plan.
type plan struct {
	Observed
	Desired
	Memory
	now       time.Time
	goal      model.Release
	switching bool // the goal takes the place of what is in service, which makes way first
	steps     []Step
	taken     []int // ports given out by this plan
}

// do asks for a step, unless it failed a moment ago and its time has not come.
func (p *plan) do(s Step) {
	if !p.Retries[s.String()].waits(p.now) {
		p.steps = append(p.steps, s)
	}
}

// advance takes a release one step nearer to service, or keeps it there.
func (p *plan) advance(rel model.Release) {
	if rel.IsZero() {
		return
	}
	prepared, ok := p.Prepared[rel.Number]
	if !ok || prepared.Release.Revision != rel.Revision { // a number may have meant something else: see On
		if p.wanted(rel) {
			p.do(Prepare{rel})
		}
		return
	}
	main, ok := webOf(prepared.Recipe)
	if !ok {
		return // Prepare refuses such a release
	}
	u, ok := p.unit(rel, main.Name)
	if !ok {
		p.start(rel, main.Name)
		return
	}
	if p.Ports[u.Port].Condemned != "" {
		return // retire takes it away, then it is started anew
	}
	if !p.alive(rel, u) || !p.serves(rel, u) {
		return
	}
	p.workers(rel, prepared.Recipe.Processes, main.Name)
}

// ready prepares what the fleet wants ready here before this instance has its turn.
func (p *plan) ready() {
	rel := p.Ready
	if rel.IsZero() || rel.Number == p.goal.Number || p.failed(rel) {
		return
	}
	if prepared, ok := p.Prepared[rel.Number]; !ok || prepared.Release.Revision != rel.Revision {
		p.do(Prepare{rel})
	}
}

// wanted says whether it is worth fetching a release: one that served before
// the machine was stopped and that nobody wants any more is not.
func (p *plan) wanted(rel model.Release) bool {
	return rel.Number == p.goal.Number
}

// start starts the process with the port on a port that nobody uses.
func (p *plan) start(rel model.Release, process string) {
	if p.restarting(rel, web) || p.Rules.Restart && p.otherWeb(rel) {
		return
	}
	if p.Rules.Attached && !p.mayRegister(rel) {
		return // the balancer may send it requests as soon as it runs
	}
	if port, ok := p.freePort(); ok {
		p.taken = append(p.taken, port)
		p.do(Start{Release: rel, Process: process, Port: port})
	}
}

// restarting says whether the release in service crashed a moment ago and waits before its next start.
func (p *plan) restarting(rel model.Release, process string) bool {
	return rel.Number == p.InService.Number && p.Crashes[process].waits(p.now)
}

// freePort is a port of the range that no unit has, where nobody listens and
// that is no target; where there is a choice, one that the balancer is not draining and that was no target before this boot.
func (p *plan) freePort() (int, bool) {
	if p.Rules.Attached {
		return p.attachedPort()
	}
	second := 0
	for port := p.Rules.FirstPort; port <= p.Rules.LastPort; port++ {
		if p.Listening[port] || slices.Contains(p.taken, port) ||
			slices.ContainsFunc(p.Units, func(u unit.Status) bool { return u.Port == port }) {
			continue
		}
		if t := p.Targets[port]; !t.Registered && !t.Draining && !slices.Contains(p.Left, port) {
			return port, true
		} else if second == 0 && !t.Registered {
			second = port
		}
	}
	return second, second != 0
}

// alive sees to it that the process runs and has passed its check; false while it has not.
func (p *plan) alive(rel model.Release, u unit.Status) bool {
	if u.State == unit.Exited && p.serving(rel, u) {
		// What served and crashed is started again where it was: that is the shortest gap.
		if !p.restarting(rel, web) {
			p.do(Start{Release: rel, Process: u.Process, Port: u.Port})
		}
		p.takeOutFailing(rel, u)
		return false
	}
	if !p.Passed[incarnation(u)] {
		p.do(Check{Release: rel, Unit: u.Name, PID: incarnation(u).PID, Port: u.Port})
		p.takeOutFailing(rel, u)
		return false
	}
	return !p.takeOutFailing(rel, u)
}

// serving says whether this unit is the one in service on this boot.
func (p *plan) serving(rel model.Release, u unit.Status) bool {
	return p.Serving && rel.Number == p.InService.Number && u.Port == p.Port
}

// takeOutFailing asks to deregister what has failed its checks for longer than
// the grace. Once it is out its process is condemned, and a new one is started.
func (p *plan) takeOutFailing(rel model.Release, u unit.Status) bool {
	if !p.serving(rel, u) || p.FailingSince.IsZero() || p.now.Sub(p.FailingSince) < p.Rules.UnhealthyGrace {
		return false
	}
	p.do(Deregister{Release: rel, Port: u.Port, Cause: Unhealthy})
	return true
}

// Unhealthy is the Cause of a Deregister that condemns the process on the port.
const Unhealthy = "the app in service has been failing its checks"

// serves sees to it that the process is registered, healthy in the balancer,
// and the one in service; false while it is not.
func (p *plan) serves(rel model.Release, u unit.Status) bool {
	if p.Rules.Balanced {
		if !p.TargetsKnown {
			return p.serving(rel, u)
		}
		if slices.Contains(p.Left, u.Port) {
			return false // it must not inherit the target, which retire takes out
		}
		t := p.Targets[u.Port]
		if !t.Everywhere {
			if p.mayRegister(rel) {
				p.do(Register{Release: rel, Port: u.Port})
			}
			return false
		}
		if !t.Healthy && !p.serving(rel, u) {
			p.do(AwaitBalancer{Release: rel, Port: u.Port})
			return false
		}
	}
	if p.Rules.Attached && p.Aside {
		p.comesBack(rel, u)
		return false
	}
	back := !p.Rules.Balanced && !p.Ports[u.Port].Deregistered.IsZero() // it was on its way out, and no target says so
	if !p.serving(rel, u) || back {
		p.do(Promote{Release: rel, Port: u.Port})
		return false
	}
	return true
}

// mayRegister says whether the release is one that may take traffic: what this boot had in service already, or
// what somebody wants now. A machine that slept must not come back with yesterday's release.
func (p *plan) mayRegister(rel model.Release) bool {
	if rel.Number == p.InService.Number && (p.Serving || p.rejoins(p.Memory)) {
		return true
	}
	return p.current(rel)
}

// workers starts the processes without a port: once their web is in service
// and, unless they may overlap, once no older one is left.
func (p *plan) workers(rel model.Release, processes []recipe.Process, main string) {
	for _, proc := range processes {
		if proc.Name == main {
			continue
		}
		u, ok := p.unit(rel, proc.Name)
		switch {
		case ok && u.State == unit.Running:
		case p.restarting(rel, proc.Name):
		case (!proc.Overlap || p.Rules.Restart) && p.olderRuns(rel, proc.Name):
		default:
			p.do(Start{Release: rel, Process: proc.Name})
		}
	}
}

// olderRuns says whether another release's process of that name still runs.
func (p *plan) olderRuns(rel model.Release, process string) bool {
	return slices.ContainsFunc(p.Units, func(u unit.Status) bool {
		return u.Process == process && u.Release.Number != rel.Number && u.State == unit.Running
	})
}

// portless says why the goal can't be started although it is prepared: every
// port of the range is taken. It is nil where that is not so.
func portless(o Observed, d Desired, m Memory) error {
	if m.Leaving != Stays {
		return nil
	}
	p := &plan{Observed: o, Desired: d, Memory: m, goal: goal(o, d, m)}
	prepared, ok := p.Prepared[p.goal.Number]
	if !ok {
		return nil
	}
	main, ok := webOf(prepared.Recipe)
	if !ok {
		return nil
	}
	if _, runs := p.unit(p.goal, main.Name); runs || d.Rules.Restart && p.otherWeb(p.goal) {
		return nil
	}
	if _, free := p.freePort(); free {
		return nil
	}
	if d.Rules.Attached {
		if o.GroupPort == 0 {
			return nil // why it is not known is said where it is asked for
		}
		return fmt.Errorf("%s waits for port %d, the target groups' own: a process that is not the app's listens there; end it", p.goal, o.GroupPort)
	}
	return fmt.Errorf("%s waits for a port: all of balancer.ports, %d-%d, are taken by releases that still drain, or by processes that are not the app's; end those, or widen the range",
		p.goal, d.Rules.FirstPort, d.Rules.LastPort)
}
