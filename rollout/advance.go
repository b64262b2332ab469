package rollout

import (
	"fmt"
	"slices"
	"strings"
)

// advance takes a rollout that lives one step on: the leader's part.
func (s *step) advance() {
	r := s.Rollout
	if r.State.forward() && r.Failures-r.State.Forgiven > r.Policy.MaxFailures {
		s.fail(s.failureCause(), true)
		return
	}
	if r.State.forward() && r.Task.State == TaskFailed { // nobody can switch any more, whatever the budget
		s.fail(s.failureCause(), true)
		return
	}
	if s.late() {
		return
	}
	if !s.fresh() {
		return
	}
	switch r.State.Status {
	case Pending:
		s.begin()
	case RollingBack:
		s.grantBack()
	case Running:
		s.run()
	case Baking:
		s.bake()
	}
}

// begin looks at the group for the first time.
func (s *step) begin() {
	state := s.Rollout.State
	switch {
	case s.Rollout.Origin.First:
		state.Status, state.Phase = Baking, FinalPhase
		s.commit("every instance boots the very first release", leading{state: &state})
	case len(s.members()) == 0: // whoever boots now boots stable, and is a member then
	case s.Rollout.Policy.Canary > 0:
		state.Status, state.Phase = Running, CanaryPhase
		s.commit("begin with the canary", leading{state: &state})
	default:
		state.Status, state.Phase = Running, BatchPhase
		s.commit("begin without a canary", leading{state: &state})
	}
}

// run grants slots, and goes on to bake when all are done.
func (s *step) run() {
	r, state := s.Rollout, s.Rollout.State
	c := s.count()
	state.Status = Baking
	switch {
	case c.members == 0:
	case c.open == 0 && c.waiting == 0 && c.done == 0: // within the failure budget, but there is nothing left that works
		s.fail(s.failureCause(), true)
	case c.open == 0 && c.waiting == 0:
		state.Phase = FinalPhase
		s.commit("every instance has taken the candidate: the last bake", leading{state: &state})
	case state.Phase == CanaryPhase && c.open == 0 && c.done >= min(r.Policy.Canary, c.members):
		s.commit("the canary bakes", leading{state: &state})
	case state.Phase == CanaryPhase:
		s.grant(min(r.Policy.Canary, c.members) - c.open - c.done)
	default:
		s.grant(r.Policy.batch(c.members) - c.open)
	}
}

// bake waits until what serves the candidate has stayed healthy for long enough.
func (s *step) bake() {
	r, state := s.Rollout, s.Rollout.State
	if r.Origin.First {
		if c := s.count(); c.waiting > 0 { // what serves something else takes its turn
			s.grant(r.Policy.batch(c.members) - c.open)
		}
	}
	over := s.bakes() && (s.bakedFor() >= durationOf(r.Policy.Bake) || state.Baked)
	switch {
	case !over:
	case state.Phase == CanaryPhase:
		state.Status, state.Phase = Running, BatchPhase
		s.commit("the canary is well: on to the fleet", leading{state: &state})
	case r.Policy.Promote == Manual && !state.Approved:
		state = s.paused("it has baked, and waits for `bootagent promote`")
		state.Baked = true
		s.commit("wait for an operator to promote it", leading{state: &state})
	default:
		s.promote()
	}
}

// bakes says whether the bake's time counts: something serves the candidate, and all that does is healthy, but for what the failure
// budget allows; at the very first release that is as many as the group wants.
func (s *step) bakes() bool {
	if s.Rollout.State.Status != Baking || !s.fresh() {
		return false
	}
	well := 0
	for _, m := range s.members() {
		p, ok := s.Rollout.Parts[m.ID]
		switch {
		case ok && p.State == Done && m.Healthy:
			well++
		case ok && (p.State == Done || p.Open()):
			return false
		case s.Rollout.Origin.First:
			return false
		}
	}
	if s.Rollout.Origin.First {
		return well >= max(s.Group.Desired, 1)
	}
	return well > 0
}

// counted is the members by where they are.
type counted struct{ members, done, open, waiting int }

func (s *step) count() (c counted) {
	for _, m := range s.members() {
		c.members++
		p, ok := s.Rollout.Parts[m.ID]
		switch {
		case ok && p.State == Done:
			c.done++
		case ok && p.Open(): // below: also of who is not in service right now
		case s.takes(m.ID):
			c.waiting++
		}
	}
	for _, p := range s.Rollout.Parts {
		if p.Open() {
			c.open++
		}
	}
	return c
}

// members are those that take part: the instances in service, those that are aside to switch, and of those that boot, which never
// do, the ones that can't boot stable. Such a one is not healthy, so that a slot for it costs nobody anything.
func (s *step) members() []Member {
	return slices.DeleteFunc(slices.Clone(s.Group.Members), func(m Member) bool {
		p, ok := s.Rollout.Parts[m.ID]
		if m.stranded(p) {
			return true
		}
		return !m.InService && (!m.Standby || !p.Aside) && (s.Rollout.Origin.First || !ok || p.State == Lost || p.State == Returned)
	})
}

// takes says whether a member is to be given a slot to the candidate.
func (s *step) takes(id string) bool {
	p, ok := s.Rollout.Parts[id]
	if !ok {
		return !s.Rollout.Origin.First // there it will tell by itself where it is
	}
	switch p.State {
	case Stray, Lost, Returned:
		return true
	case Reverted:
		return p.Attempt < s.Rollout.State.Round
	}
	return false
}

// grant gives slots to the candidate, n at most and not below the floor: first to those whose app is not healthy, which
// costs nobody a healthy target, then in order of their names. But a canary is a healthy one, where there is one: what it shows is to be the release's doing.
func (s *step) grant(n int) {
	r := s.Rollout
	var sick, well []string
	for _, m := range s.members() {
		switch {
		case !s.takes(m.ID):
		case m.Healthy:
			well = append(well, m.ID)
		default:
			sick = append(sick, m.ID)
		}
	}
	slices.Sort(sick)
	slices.Sort(well)
	well = well[:min(len(well), s.spare())]
	order := append(sick, well...)
	if r.State.Phase == CanaryPhase {
		order = append(well, sick...)
	}
	order = order[:min(max(n, 0), len(order))]
	if len(order) == 0 {
		if n > 0 {
			s.tell("no slot can be granted: policy.min_healthy is %s, and no more instances are healthy", r.Policy.MinHealthy)
		}
		return
	}
	parts := map[string]Part{}
	for _, id := range order {
		p := r.Parts[id]
		if p.State == Reverted {
			p.Attempt = r.State.Round
		}
		p.Astray = p.Astray || p.State == Stray
		p.State = Granted
		p.Counter++
		parts[id] = p
	}
	s.commit("slots for "+strings.Join(order, ", "), leading{parts: parts})
}

// spare is how many healthy members may be taken out now. With overlap a slot takes nobody out, but none is granted while
// fewer are healthy than the floor.
func (s *step) spare() int {
	r, members := s.Rollout, s.members()
	floor := r.Policy.floor(len(members))
	if floor == 0 {
		return len(members)
	}
	healthy := 0
	for _, m := range members {
		p, ok := r.Parts[m.ID]
		disrupted := ok && p.Open() && (r.Policy.Restart || s.still(partPrefix+m.ID, r.text[partPrefix+m.ID]) >= Lease)
		if m.Healthy && !disrupted {
			healthy++
		}
	}
	switch {
	case !r.Policy.Restart && healthy >= floor:
		return len(members)
	case !r.Policy.Restart:
		return 0
	}
	return max(healthy-floor, 0)
}

func (s *step) failureCause() string {
	r := s.Rollout
	if r.Failure == nil {
		return fmt.Sprintf("%d instances failed", r.Failures)
	}
	return fmt.Sprintf("%s: %s (instances that failed: %d)", r.Failure.Instance, r.Failure.Cause, max(r.Failures-r.State.Forgiven, 1))
}
