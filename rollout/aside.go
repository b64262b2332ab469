package rollout

import "slices"

// An instance that Auto Scaling registers switches in standby. That is written into its part before it enters, and taken out
// when it is back; whoever leads brings back what an agent has left there that is gone.

// aside keeps the mark in this instance's own part. It is good for entering standby while it is this process's own word, which no write
// that is still on its way can take back: a leader takes out what has not moved for two leases, and this process what it no longer needs,
// and either expects the part as it was before.
func (s *step) aside() {
	p, has := s.part()
	name := partPrefix + s.Self.ID
	sure := p.Aside && s.marked.text == s.Rollout.text[name] && s.now-s.marked.at < Lease
	s.Aside = has && s.Self.Aside && sure
	switch {
	case !has || s.Self.Leaving || len(s.Writes) > 0: // what is written first changes the part
	case p.Aside && !s.Self.Aside:
		p.Aside = false
		s.report(p, "this instance is back from standby")
	case s.Self.Aside && !sure:
		p.Aside = true
		p.Counter++
		s.report(p, "this instance is about to enter standby")
	case p.Aside && !p.Open() && s.due(partPrefix):
		s.raised(partPrefix)
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
	for id, p := range s.Rollout.Parts {
		if p.Aside && id != s.Self.ID && s.still("aside/"+id, s.Rollout.text[partPrefix+id]) >= 2*Lease {
			out = append(out, id)
		}
	}
	slices.Sort(out)
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
