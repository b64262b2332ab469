package sim

import (
	"slices"
	"time"

	"github.com/bootagent/bootagent/agent"
)

// act asks Plan for the machine's next steps, as far as the fleet allows them, and takes them.
func (p *process) act() {
	in, w := p.in, p.in.w
	d := p.desired()
	now := p.wall()
	in.memory = in.memory.Seen(d, in.observed, now)
	steps := w.mutation.plan(in.observed, d, in.memory, now)
	p.standby = slices.ContainsFunc(steps, isEnter)
	for step := range p.doing {
		if !slices.Contains(steps, step) {
			delete(p.doing, step) // cancelled
		}
	}
	for _, step := range steps {
		if _, doing := p.doing[step]; !doing && !p.dead() && p.fresh(step) {
			p.begin(step)
		}
	}
	resting := len(steps) == 0 && len(p.doing) == 0 && !p.busy && len(p.decision.Writes) == 0 && len(p.decision.Read) == 0 && !p.decision.Resolve && p.known
	if !resting {
		p.quiet = -1
	} else if p.quiet < 0 {
		p.quiet = w.now
	}
}

// desired puts the fleet's word into the machine's: the goal is the one release that may run, be registered, be put in service.
func (p *process) desired() agent.Desired {
	in := p.in
	attached := in.w.scenario.Attached
	return agent.Desired{Known: p.known, Marked: p.decision.Aside, Goal: agent.LocalRelease(p.decision.Goal), Ready: agent.LocalRelease(p.decision.Ready), Attempt: p.decision.Attempt, Rules: agent.Rules{
		App: "shop", Balanced: !attached, Attached: attached, FirstPort: firstPort, LastPort: firstPort + 2, Restart: in.w.scenario.Policy.Restart,
		UnhealthyGrace: grace, HoldOnFailure: 5 * time.Minute,
	}}
}

// fresh says whether a step may be taken on what was read: those that change what serves need a fresh word.
func (p *process) fresh(step agent.Step) bool {
	if isEnter(step) && !p.decision.Aside {
		return false // it is written down first
	}
	if p.paced != nil {
		return p.paced.fresh(step)
	}
	return !agent.NeedsFresh(step, p.in.memory) || p.known && (p.alone || p.in.w.now-p.reached <= agent.Fresh) || p.in.w.mutation.stale(step)
}

func isEnter(step agent.Step) bool { _, is := step.(agent.EnterStandby); return is }

// begin takes a step: it is remembered, takes its time, has its effect, and is remembered again.
func (p *process) begin(step agent.Step) {
	in, w := p.in, p.in.w
	w.sends(in, step)
	p.tries++
	try := p.tries
	p.doing[step] = try
	in.memory = in.memory.Before(step)
	if p.strike(step, false) && in.gone {
		return
	}
	attempt := p.decision.Attempt
	var end func()
	var failed error
	var outcome *agent.Outcome
	asked := p.paced == nil
	end = func() {
		if p.dead() {
			// The request may have been on its way when the agent died.
			if _, ok := step.(agent.Register); !in.gone && (ok || isEnter(step) && outcome == nil) && w.chance(2) {
				in.effect(step)
			}
			return
		}
		if p.doing[step] != try {
			if isEnter(step) && outcome == nil && w.chance(2) { // it was on its way
				in.effect(step)
			}
			return
		}
		if w.now < p.frozen {
			if isEnter(step) && outcome == nil { // the request was on its way, and its answer waits
				o := in.effect(step)
				outcome = &o
			}
			w.after(p.frozen-w.now, end)
			return
		}
		if !asked {
			p.paced.requests(step, func(err error) {
				asked, failed = true, err
				end()
			})
			return
		}
		if s, ok := step.(agent.AwaitBalancer); ok && p.paced == nil && !in.observed.Targets[s.Port].Healthy && p.tries > 0 && w.now-max(in.startedAt(s.Port), in.back) < time.Minute {
			w.after(3*time.Second, end)
			return
		}
		if outcome == nil {
			outcome = &agent.Outcome{Err: failed}
			if failed == nil {
				*outcome = in.effect(step)
			}
		}
		if p.strike(step, true) {
			return
		}
		delete(p.doing, step)
		outcome.Attempt = attempt
		in.memory = in.memory.After(step, *outcome, p.wall())
		if outcome.Err != nil {
			w.trace("%s: %s: %v", in.id, step, outcome.Err)
		} else {
			w.trace("%s: %s", in.id, step)
		}
		if p.paced != nil {
			p.paced.ended(step)
		}
	}
	w.after(p.takes(step), end)
}

func (in *instance) startedAt(port int) time.Duration {
	u, _ := in.onPort(port)
	return in.started[u.PID]
}

// takes is how long a step takes.
func (p *process) takes(step agent.Step) time.Duration {
	w := p.in.w
	switch step.(type) {
	case agent.EnterStandby: // a request that is on its way when its agent dies comes before another agent
		return w.between(50*time.Millisecond, 900*time.Millisecond)
	case agent.Prepare:
		return w.between(3*time.Second, 40*time.Second)
	case agent.Check, agent.AwaitBalancer:
		return w.between(time.Second, 10*time.Second)
	case agent.Drain:
		return w.between(5*time.Second, 30*time.Second)
	}
	return w.between(50*time.Millisecond, 2*time.Second)
}
