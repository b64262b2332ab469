package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// returns says whether an instance with that part is still to be brought to stable.
func (s *step) returns(p Part) bool {
	if s.Rollout.State.Status == Succeeded {
		return p.State == Stray || p.State == Reverted
	}
	return !p.Open() && p.away()
}

// outstanding says whether anybody is still to be brought to stable after the rollout's end.
func (s *step) outstanding() bool {
	if s.anyAside() {
		return true
	}
	if s.Rollout.State.Stays || s.Stable.Release.IsZero() {
		return false
	}
	for id, p := range s.Rollout.Parts {
		if m, _ := s.member(id); p.Open() || s.returns(p) && !m.stranded(p) {
			return true
		}
	}
	return false
}

// grantBack gives slots to stable: at once to those whose app is not healthy, and to the others under the floor that
// the candidate was rolled out under. When nobody is left a rollback has ended.
func (s *step) grantBack() {
	r := s.Rollout
	if !s.fresh() {
		return
	}
	open, sick, well := 0, []string(nil), []string(nil)
	for _, id := range slices.Sorted(maps.Keys(r.Parts)) {
		p := r.Parts[id]
		m, here := s.member(id)
		switch {
		case p.Open():
			open++
		case !here || m.stranded(p) || !s.returns(p) || !s.again(id, p):
		case m.Healthy:
			well = append(well, id)
		default:
			sick = append(sick, id)
		}
	}
	if r.State.Status == RollingBack && !s.outstanding() {
		s.end(r.State.Ends, r.State.Cause)
		return
	}
	n := min(max(r.Policy.batch(len(s.members()))-open, 0), s.spare())
	order := append(sick, well[:min(len(well), n)]...)
	if len(order) > maxBatch {
		order = order[:maxBatch]
	}
	if len(order) == 0 {
		return
	}
	parts := map[string]Part{}
	for _, id := range order {
		p := r.Parts[id]
		if p.State == Reverted {
			p.Attempt++
		}
		p.State = Back
		p.Counter++
		parts[id] = p
	}
	s.commit("slots to stable for "+strings.Join(order, ", "), leading{parts: parts})
}

// again says whether the time has come to try an instance that failed once more: after one minute, then two, four … thirty.
func (s *step) again(id string, p Part) bool {
	if p.State != Reverted {
		return true
	}
	pause := min(time.Minute<<min(p.Attempt, 5), 30*time.Minute)
	return s.still("again/"+id, s.Rollout.text[partPrefix+id]) >= pause
}

// late ends what takes longer than the policy allows, and says whether it did.
func (s *step) late() bool {
	r := s.Rollout
	deadline := durationOf(r.Policy.ProgressDeadline)
	if r.State.Status == Baking {
		deadline += durationOf(r.Policy.Bake)
	}
	if s.idleFor() < deadline {
		return false
	}
	why := fmt.Sprintf("nothing has got on for %s (progress_deadline): waiting for %s", deadline, s.waitsFor())
	if r.State.Status == RollingBack {
		s.end(FailedState, fmt.Sprintf("%s; and the return to stable was not over after %s: waiting for %s", r.State.Cause, deadline, s.waitsFor()))
	} else {
		s.fail(why, false)
	}
	return true
}

// waitsFor names the instances that a rollout waits for.
func (s *step) waitsFor() string {
	var names []string
	for _, id := range slices.Sorted(maps.Keys(s.Rollout.Parts)) {
		p := s.Rollout.Parts[id]
		if p.Open() || s.Rollout.State.Status == RollingBack && s.returns(p) {
			if p.Why != "" {
				id += fmt.Sprintf(" (%s)", p.Why)
			}
			names = append(names, id)
		}
	}
	switch {
	case len(names) > 5:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	case len(names) > 0:
		return strings.Join(names, ", ")
	case s.Rollout.State.Status == Baking:
		return "the instances on it to be healthy in the balancer"
	}
	if c := s.count(); c.waiting > 0 && s.fresh() {
		return fmt.Sprintf("an instance that may switch: %d of %d wait, and min_healthy is %s", c.waiting, c.members, s.Rollout.Policy.MinHealthy)
	}
	return "an instance in service"
}
