package sim

import (
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Mutation takes a guard away, to see whether the simulator finds out. The zero value takes none.
type Mutation struct {
	Name string
	// From is the seed to begin with: a little before one that is known to find out.
	From uint64
	// View changes what an agent is told before it decides, and Decision what it has decided.
	View     func(v *rollout.View)
	Decision func(v rollout.View, d *rollout.Decision)
	// Group changes what a leader sees.
	Group func(g *rollout.Group)
	// Operator changes the rollout that a command is told of.
	Operator func(r *rollout.Rollout)
	// Machine changes what Plan is told, on copies, and Steps what it asks for.
	Machine func(o *agent.Observed, m *agent.Memory)
	Steps   func(steps []agent.Step) []agent.Step
	// Stale says which steps are taken on a decision that is old.
	Stale func(step agent.Step) bool
	// Blind labels versions without a look at what they say.
	Blind bool
	// Attached searches fleets that Auto Scaling registers.
	Attached bool
	// Scenario turns a scenario towards the trouble that the guard is against, where that is too rare to wait for.
	Scenario func(s *Scenario)
}

// step is production's Step, with the mutation around it.
func (m Mutation) step(v rollout.View, memory rollout.Memory, now time.Duration) (rollout.Decision, rollout.Memory) {
	if m.View != nil {
		m.View(&v)
	}
	d, memory := rollout.Step(v, memory, now)
	if m.Decision != nil {
		m.Decision(v, &d)
	}
	return d, memory
}

// generate makes the scenario of a seed, of the kind of fleets that the mutation is looked for in.
func (m Mutation) generate(seed uint64) *Scenario {
	s := Generate(seed)
	if m.Attached {
		s = GenerateAttached(seed)
	}
	if m.Scenario != nil {
		m.Scenario(s)
	}
	return s
}

// plan is production's Plan, with the mutation around it.
func (m Mutation) plan(o agent.Observed, d agent.Desired, memory agent.Memory, now time.Time) []agent.Step {
	if m.Machine != nil {
		m.Machine(&o, &memory)
	}
	steps := agent.Plan(o, d, memory, now)
	if m.Steps != nil {
		steps = m.Steps(steps)
	}
	return steps
}

// unread says whether an agent does not look at the records, because a look of a while ago does for it: one that launches, where
// steps are taken on old decisions. Being cut off in that very minute comes too seldom to wait for.
func (m Mutation) unread(p *process) bool {
	return m.Stale != nil && p.known && p.in.lifecycle() == model.LifecyclePendingWait && p.in.w.now-p.reached < 50*time.Second
}

func (m Mutation) stale(step agent.Step) bool { return m.Stale != nil && m.Stale(step) }

func (m Mutation) operator(r *rollout.Rollout) *rollout.Rollout {
	if m.Operator == nil || r == nil {
		return r
	}
	c := *r
	m.Operator(&c)
	return &c
}

func (m Mutation) group(g rollout.Group) rollout.Group {
	if m.Group != nil {
		m.Group(&g)
	}
	return g
}

// Run runs a scenario. It gives the invariant that did not hold, nil where all did, and the trace where that is wanted.
func Run(s *Scenario, m Mutation, tracing bool) (*Violation, []string) {
	w := newWorld(s, m, tracing)
	v := w.run()
	return v, w.lines
}

// Shrink gives the smallest scenario that it finds which breaks the same invariant: fewer events, fewer instances, less noise.
func Shrink(s *Scenario, m Mutation, invariant string) *Scenario {
	best := s
	for again, budget := true, 400; again && budget > 0; {
		again = false
		for _, smaller := range best.smaller() {
			if budget--; budget <= 0 {
				break
			}
			if v, _ := Run(smaller, m, false); v != nil && v.Invariant == invariant {
				best, again = smaller, true
				break
			}
		}
	}
	return best
}

// smaller are the scenarios with one thing less.
func (s *Scenario) smaller() (out []*Scenario) {
	with := func(change func(*Scenario)) {
		c := *s
		c.Events = append([]Event(nil), s.Events...)
		change(&c)
		out = append(out, &c)
	}
	for _, n := range []int{1, 2, s.Instances / 2, s.Instances - 1} {
		if n > 0 && n < s.Instances && (n >= 3 || s.Policy.MinHealthy.N == 0) { // fewer could never meet it
			with(func(c *Scenario) { c.Instances = n })
		}
	}
	if s.Noise != (Noise{}) {
		with(func(c *Scenario) { c.Noise = Noise{} })
	}
	for i := range s.Events {
		with(func(c *Scenario) { c.Events = append(c.Events[:i:i], c.Events[i+1:]...) })
	}
	for _, off := range []func(*Noise){
		func(n *Noise) { n.Throttled = 0 }, func(n *Noise) { n.Lost = 0 }, func(n *Noise) { n.Doubled = 0 }, func(n *Noise) { n.Delayed = 0 },
		func(n *Noise) { n.Torn = 0 }, func(n *Noise) { n.CutOff = 0 },
		func(n *Noise) { n.Stale = 0 }, func(n *Noise) { n.StepFails = 0 }, func(n *Noise) { n.Frozen = 0 }, func(n *Noise) { n.Drift = false },
	} {
		c := s.Noise
		if off(&c); c != s.Noise {
			with(func(o *Scenario) { o.Noise = c })
		}
	}
	return out
}
