package rollout

import (
	"maps"
	"slices"
)

// An instance that Auto Scaling registers switches in standby. That is written into its part before it enters, and taken out
// when it is back; whoever leads brings back what an agent has left there that is gone.

// aside keeps the mark in this instance's own part.
func (s *step) aside() {
	p, has := s.part()
	s.Aside = has && p.Aside
	switch {
	case !has || s.Self.Leaving || len(s.Writes) > 0: // what is written first changes the part
	case p.Aside != s.Self.Aside:
		p.Aside = s.Self.Aside
		s.report(p, map[bool]string{true: "this instance is about to enter standby", false: "this instance is back from standby"}[p.Aside])
	case p.Aside && !p.Open() && s.due(partPrefix):
		s.renewed[partPrefix] = s.now
		p.Counter++
		s.report(p, "renew the mark of standby")
	}
}

// anyAside says whether any instance is aside.
func (s *step) anyAside() bool {
	for _, p := range s.Rollout.Parts {
		if p.Aside {
			return true
		}
	}
	return false
}

// forsaken says for which instances an agent that is gone has left the mark: it has not moved for two leases.
func (s *step) forsaken() (out []string) {
	for _, id := range slices.Sorted(maps.Keys(s.Rollout.Parts)) {
		name := partPrefix + id
		if s.Rollout.Parts[id].Aside && id != s.Self.ID && s.still("aside/"+id, s.Rollout.text[name]) >= 2*Lease {
			out = append(out, id)
		}
	}
	return out
}

// stranded says whether a person has put a member in standby, whose part that is.
func (m Member) stranded(p Part) bool { return m.Standby && !p.Aside }

// restore asks to bring back what is left in standby, and takes the mark from what is back; it says whether it wrote.
func (s *step) restore() bool {
	if !s.fresh() {
		return false
	}
	back := map[string]Part{}
	for _, id := range s.forsaken() {
		switch m, here := s.member(id); {
		case here && m.Standby:
			s.Restore = append(s.Restore, id)
		case here && m.InService && len(back) < maxBatch:
			p := s.Rollout.Parts[id]
			p.Aside = false
			back[id] = p
		}
	}
	if len(back) > 0 {
		s.commit("brought back from standby", leading{parts: back})
		return true
	}
	return false
}
