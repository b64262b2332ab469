package rollout

// goal says which release this instance is to serve. It writes nothing, and needs nothing but the records.
func (s *step) goal() {
	serving := s.Self.Serving
	switch {
	case !s.Reached, s.Broken != nil:
		// What serves goes on; a boot takes the mirror's word, where that is a full SHA.
		if s.Goal = serving; serving.IsZero() && s.Published.Mirror.Revision != "" {
			s.Goal = s.Published.Mirror
		}
		if s.Goal.IsZero() && s.Broken == nil {
			s.tell("the table can't be reached, and the label stable names no full SHA that could be booted without it: waiting")
		}
	case s.foreign(), s.Rollout == nil, !s.Rollout.State.Live():
		if s.Goal = s.atRest(); s.Goal.IsZero() && s.Rollout != nil && !s.foreign() {
			s.tell("%s ended %s, and no release is stable yet that could be booted: deploy one that works (%s)",
				s.Rollout.Release.ID, s.Rollout.State.Status, orText(s.Rollout.State.Cause, "no cause is known"))
		}
	default:
		s.Goal, s.Ready = s.during()
	}
	s.Attempt = s.attempt()
}

// attempt is the one that a failure on this instance would be of.
func (s *step) attempt() Attempt {
	if s.Rollout == nil {
		return Attempt{}
	}
	p, _ := s.part()
	return Attempt{s.Rollout.Release.ID, p.Attempt}
}

// atRest is the goal while no rollout is under way: a boot takes stable, and what serves goes on until it has a slot.
func (s *step) atRest() Release {
	if p, ok := s.part(); ok && p.Open() && !s.foreign() && !s.Rollout.State.Stays && !s.Stable.Release.IsZero() {
		return s.Stable.Release
	}
	if s.Self.Serving.IsZero() {
		return s.Stable.Release
	}
	return s.Self.Serving
}

// during is the goal while a rollout is under way, and what to prepare for it.
func (s *step) during() (goal, ready Release) {
	r, serving := s.Rollout, s.Self.Serving
	p, has := s.part()
	if !r.State.forward() {
		if has && p.Open() || serving.IsZero() {
			return s.Stable.Release, Release{}
		}
		return serving, Release{}
	}
	switch {
	case has && (p.State == Done || p.State == Sick):
		return r.Release, Release{} // also after a reboot: its own part names it
	case has && p.State == Back: // its slot is from before
		return s.Stable.Release, Release{}
	case has && p.State == Granted, s.bootsFirst():
		if r.Task.settled() {
			return r.Release, Release{}
		}
		return orElse(serving, s.Stable.Release), r.Release
	}
	return orElse(serving, s.Stable.Release), Release{}
}

// bootsFirst says whether this instance boots the very first release, for which it needs no slot: nothing serves here, and
// nothing is stable.
func (s *step) bootsFirst() bool {
	r := s.Rollout
	return r.Origin.First && r.State.Status == Baking && s.Stable.Release.IsZero() && (s.Self.Serving.IsZero() || s.Self.Serving.ID == r.Release.ID)
}

func orElse(one, other Release) Release {
	if one.IsZero() {
		return other
	}
	return one
}
