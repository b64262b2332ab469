package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/rollout"
)

// A fleet whose instances Auto Scaling registers (balancer.mode asg) switches in standby. What is here is Auto Scaling's part in that, the
// people who use standby too, and what can go wrong in the middle.

// What may happen to an attached fleet beside the rest.
const (
	PersonStandby Kind = "a person puts an instance in standby"
	Strike        Kind = "something is struck down in standby"
)

// blow strikes one instance down, once, as it takes a step.
type blow struct {
	step  string
	after bool // the step has had its effect, and nobody remembers it
	what  int  // the agent, the agent for long, the machine, the machine for a moment
	lasts time.Duration
}

// GenerateAttached makes the scenario of a seed for an attached fleet.
func GenerateAttached(seed uint64) *Scenario {
	s := Generate(seed)
	r := rand.New(rand.NewPCG(seed, 11))
	s.Attached, s.Policy.Restart = true, true
	if s.Instances > 12 {
		s.Instances = 3 + r.IntN(10) // fewer could not meet every min_healthy
	}
	if s.Policy.MinHealthy.N >= 60 { // meant for two that run beside each other
		s.Policy.MinHealthy = rollout.Percent(r.IntN(60))
	}
	if r.IntN(8) == 0 {
		s.Least = s.Instances
	}
	for range r.IntN(6) {
		e := Event{At: time.Duration(r.Int64N(int64(s.Trouble))), Kind: Strike, N: r.IntN(1000), For: time.Duration(30+r.IntN(400)) * time.Second}
		if r.IntN(4) == 0 {
			e.Kind = PersonStandby
		}
		s.Events = append(s.Events, e)
	}
	return s
}

// happenAttached is happen for what befalls attached fleets alone.
func (w *world) happenAttached(e Event) {
	switch e.Kind {
	case Strike:
		struck := []string{"enter standby", "deregister", "drain", "stop", "start", "check", "leave standby", "balancer", "promote"}
		n := len(struck)
		w.blows = append(w.blows, blow{struck[e.N%n], e.N/n%2 == 0, e.N / n / 2 % 4, e.For})
	case PersonStandby:
		all := w.listed()
		if len(all) == 0 {
			return
		}
		in := all[e.N%len(all)]
		if in.lifecycle() != model.LifecycleInService || w.marked(in) || w.desired <= w.least() {
			return
		}
		w.trace("a person puts %s in standby", in.id)
		in.persons, in.contested = true, in.memory.Aside // its agent has slept since it was brought back, and takes it for its own doing
		in.toStandby()
		w.after(e.For, in.personReturns)
	}
}

// personReturns is a person who brings back what he has put in standby.
func (in *instance) personReturns() {
	w := in.w
	if in.persons && in.lifecycle() == model.LifecycleEnteringStandby {
		w.after(5*time.Second, in.personReturns)
	}
	if in.persons && in.lifecycle() == model.LifecycleStandby {
		w.trace("a person brings %s back", in.id)
		in.fromStandby()
	}
}

// strike lets a blow fall on an instance that takes a step, if one is due; it says whether one did.
func (p *process) strike(step agent.Step, after bool) bool {
	in, w := p.in, p.in.w
	name := step.Phase()
	if name == "standby" {
		name = step.String()
	}
	for i, b := range w.blows {
		if b.step != name || b.after != after || w.calm || !in.memory.Aside {
			continue
		}
		w.blows = append(w.blows[:i:i], w.blows[i+1:]...)
		w.trace("struck down: %s, at %q (after it: %t)", in.id, step, after)
		switch b.what {
		case 0:
			in.crashAgent()
		case 1:
			in.downTo = w.now + b.lasts
			in.crashAgent()
			w.after(b.lasts, in.startAgent)
		case 2:
			in.die()
		default:
			in.reboot()
		}
		return true
	}
	return false
}

var (
	errRefused = errors.New("the group is at its MinSize")
	errElse    = errors.New("the instance is on its way elsewhere")
)

// least is the group's MinSize; in calm somebody has lowered it.
func (w *world) least() int {
	if w.calm {
		return 0
	}
	return w.scenario.Least
}

// part is an instance's in the record.
func (w *world) part(in *instance) rollout.Part {
	if w.table.rollout == nil {
		return rollout.Part{}
	}
	return w.table.rollout.Parts[in.id]
}

// marked says whether the record tells that the instance is aside.
func (w *world) marked(in *instance) bool { return w.part(in).Aside }

// enterStandby is Auto Scaling's answer to the product.
func (in *instance) enterStandby() error {
	w := in.w
	switch in.lifecycle() {
	case model.LifecycleStandby, model.LifecycleEnteringStandby:
		return nil
	case model.LifecycleInService:
	default:
		return errElse
	}
	if w.desired <= w.least() {
		return errRefused
	}
	if !w.marked(in) {
		w.violated("S12", "%s enters standby, and that is not written down", in.id)
	}
	u, _ := in.onPort(firstPort)
	_, bad := in.memory.Failed[u.Release.Revision] // what has failed here may go whenever it likes
	if p := w.part(in); in.healthy() && !bad && !p.Open() && p.State != rollout.Done && p.State != rollout.Lost {
		w.violated("S2", "%s goes out of service to switch, and has no slot (its part is %q)", in.id, p.State)
	}
	in.persons = false
	in.toStandby()
	return nil
}

// toStandby takes an instance in service out, and one off the desired capacity.
func (in *instance) toStandby() {
	w, o := in.w, &in.observed
	w.desired--
	o.Membership.Lifecycle = model.LifecycleEnteringStandby
	o.Targets[firstPort] = agent.Target{Draining: true}
	w.after(w.between(3*time.Second, 30*time.Second), func() {
		if in.lifecycle() == model.LifecycleEnteringStandby {
			o.Membership.Lifecycle = model.LifecycleStandby
			delete(o.Targets, firstPort)
			in.emptied()
			w.trace("%s is in standby", in.id)
		}
	})
}

// exitStandby is Auto Scaling's answer to the product: by is who asks.
func (in *instance) exitStandby(by string) error {
	w := in.w
	switch in.lifecycle() {
	case model.LifecycleInService, model.LifecyclePending:
		return nil
	case model.LifecycleStandby:
	default:
		return errElse
	}
	if in.persons && !in.contested {
		w.violated("S12", "%s brings %s back, which a person has put in standby", by, in.id)
	}
	w.trace("%s brings %s back from standby", by, in.id)
	in.fromStandby()
	return nil
}

// fromStandby brings an instance back: without a hook, and whatever runs there.
func (in *instance) fromStandby() {
	w := in.w
	w.desired++
	in.persons = false
	in.observed.Membership.Lifecycle = model.LifecyclePending
	w.after(w.between(time.Second, 15*time.Second), func() {
		if in.lifecycle() == model.LifecyclePending {
			in.registered()
		}
	})
}

// registered is what Auto Scaling does at the end of Pending.
func (in *instance) registered() {
	in.observed.Membership.Lifecycle = model.LifecycleInService
	in.observed.Targets[firstPort] = agent.Target{Registered: true, Everywhere: true}
	in.strikes[firstPort], in.back = 0, in.w.now
	if u, ok := in.onPort(firstPort); ok {
		in.took[u.PID], in.drained[u.PID] = true, false
	}
}

// emptied is the end of the group's own draining.
func (in *instance) emptied() {
	if u, ok := in.onPort(firstPort); ok {
		in.drained[u.PID] = true
	}
}

// inStandby says whether it does not count among those that the group wants.
func (in *instance) inStandby() bool {
	return in.lifecycle() == model.LifecycleStandby || in.lifecycle() == model.LifecycleEnteringStandby
}

// effectAttached are the effects that are others where Auto Scaling registers; false where there is none.
func (in *instance) effectAttached(step agent.Step) (agent.Outcome, bool) {
	w := in.w
	if !w.scenario.Attached {
		return agent.Outcome{}, false
	}
	switch s := step.(type) {
	case agent.Register:
		w.violated("contract", "%s registers what Auto Scaling registers", in.id)
	case agent.Deregister: // nothing is
	case agent.EnterStandby:
		return in.lossy(in.enterStandby()), true
	case agent.ExitStandby:
		in.checkReturn(s.Release)
		return in.lossy(in.exitStandby(in.id)), true
	case agent.CompleteHook:
		if s.Result == model.HookAbandon || in.lifecycle() != model.LifecyclePendingWait {
			return agent.Outcome{}, false
		}
		in.checkReturn(in.memory.InService)
		in.registered()
	default:
		return agent.Outcome{}, false
	}
	return agent.Outcome{}, true
}

// lossy loses an answer now and then.
func (in *instance) lossy(err error) agent.Outcome {
	if err == nil && in.w.chance(in.w.scenario.Noise.StepFails) {
		err = errNetwork
	}
	return agent.Outcome{Err: err}
}

// checkReturn holds S4 where the balancer gets the instance next: what runs has passed, unless nothing does.
func (in *instance) checkReturn(rel model.Release) {
	u, ok := in.onPort(firstPort)
	if !ok && rel.IsZero() {
		return
	}
	if !ok || u.State != unit.Running || !in.passed[u.PID] {
		in.w.violated("S4", "%s comes into service with %s, which has not passed its checks", in.id, rel)
	}
}

// asideLeft names an instance that is still in standby by the product's doing, or still said to be; "" for none.
func (w *world) asideLeft() string {
	for _, in := range w.listed() {
		if in.inStandby() && !in.persons {
			return in.id + " is in standby"
		}
		if in.memory.Aside && in.process != nil {
			return in.id + " takes itself for aside"
		}
		if w.marked(in) {
			return "the record says that " + in.id + " is aside"
		}
	}
	if r := w.table.rollout; r != nil {
		for id, p := range r.Parts {
			if p.Aside {
				return fmt.Sprintf("the record says that %s is aside, which is no more", id)
			}
		}
	}
	return ""
}
