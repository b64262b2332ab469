package rollout

import "fmt"

// fail does what the policy says of a rollout that failed. Bad says that the revision did, and not the world around it.
func (s *step) fail(cause string, bad bool) {
	r, state := s.Rollout, s.Rollout.State
	state.Cause, state.By, state.Bad = cut(cause), "", bad
	irreversible := r.Task.ran() || r.Origin.Marked
	switch {
	case s.Stable.Release.IsZero() && r.Policy.OnFailure != Pause:
		s.endAs(state, FailedState)
	case r.Policy.OnFailure == Stop:
		state.Stays = true
		s.endAs(state, FailedState)
	case r.Policy.OnFailure == Pause, irreversible, r.Origin.RollbackOf != 0:
		state.Was, state.Status = state.Status, Paused
		switch {
		case irreversible:
			state.Cause += "; its release task ran and is not declared reversible, so nothing returns by itself: resume, or abort"
		case r.Origin.RollbackOf != 0:
			state.Cause += "; it is a rollback itself, which is not rolled back by itself: resume, or abort"
		}
		s.commit("pause: "+cause, leading{state: &state})
	default:
		state.Status, state.Ends = RollingBack, RolledBack
		s.commit("roll back: "+cause, leading{state: &state})
	}
}

// end ends the rollout as it is.
func (s *step) end(status Status, cause string) {
	state := s.Rollout.State
	state.Cause = cut(cause)
	s.endAs(state, status)
}

// endAs writes the end, what became of the release, and of a bad revision that it is bad, all in one.
func (s *step) endAs(state State, status Status) {
	r := s.Rollout
	state.Status = status
	with := []Change{outcome(r.Release, string(status), state.Cause)}
	if state.Bad && !r.Origin.First && status != Aborted {
		with = append(with, Change{Key: FailedKey(r.Release.Revision), Set: map[string]string{
			"schema": text(Schema), "release": text(r.Release), "cause": text(state.Cause),
		}})
	}
	s.commit(fmt.Sprintf("%s ends %s", r.Release.ID, status), leading{state: &state, with: with, release: s.left() == 0})
}

// left counts the parts that are still to be brought to stable.
func (s *step) left() (n int) {
	for _, p := range s.Rollout.Parts {
		if p.Open() || p.away() {
			n++
		}
	}
	return n
}

// promote moves stable: the release's end as it was meant.
func (s *step) promote() {
	state := s.Rollout.State
	state.Status, state.Cause, state.By = Succeeded, "", ""
	s.commit(s.Rollout.Release.String()+" is stable", leading{state: &state, with: []Change{
		s.Stable.promote(s.Rollout.Release), outcome(s.Rollout.Release, string(Succeeded), ""),
	}})
}

// outcome is what became of a release, for who looks at its number later.
func outcome(r Release, what, cause string) Change {
	c := Change{Key: ReleaseKey(r.ID), Set: map[string]string{
		"schema": text(Schema), "revision": text(r.Revision), "ref": text(r.Ref), "outcome": text(what),
	}}
	if cause != "" {
		c.Set["cause"] = text(cause)
	}
	return c
}
