package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// lead takes the lease where nobody has it, and does what a leader does next. There is at most one write of the lease in a step.
func (s *step) lead() {
	r := s.Rollout
	s.still("state", r.text["state"])
	if !s.holds() {
		s.takeLead()
		return
	}
	s.Leads, s.Watch = true, true
	paused := r.State.Status == Paused
	if s.Self.Leaving || paused && len(s.forsaken()) == 0 || !r.State.Live() && !s.outstanding() {
		s.commit("give the lead back", leading{release: true})
		return
	}
	if !paused && s.taskLost() || s.housekeep() || s.restore() {
		return
	}
	if paused {
		// It waits for an operator; what was left in standby does not.
	} else if r.State.Live() {
		s.advance()
	} else {
		s.grantBack()
	}
	if len(s.Writes) == 0 && s.now-s.held.at >= Renew {
		s.commit("renew the lead", leading{})
	}
}

// holds says whether the lease in the record is one that this very process wrote.
func (s *step) holds() bool {
	is := s.Rollout.text["lease"]
	if is == s.tried.text && is != "" {
		s.held = s.tried
	}
	return is != "" && is == s.held.text && s.Rollout.Lead.By == s.Self.ID
}

// takeLead takes a lease that nobody has, or that has been dead for long enough.
func (s *step) takeLead() {
	lead := s.Rollout.Lead
	silent := s.still("lease", s.Rollout.text["lease"])
	if !s.leads() {
		return
	}
	why := "take the lead"
	if lead.By != "" {
		if silent < patience(s.Self.ID) {
			return
		}
		why = fmt.Sprintf("take the lead: %s has not renewed it for %s", lead.By, silent.Round(time.Second))
		// Nobody saw how long the leader was gone: one lease is what it was at least.
		s.commit(why, leading{elapsed: Lease})
		return
	}
	s.commit(why, leading{})
}

// leads says whether there is something to lead, and this agent may.
func (s *step) leads() bool {
	state, forsaken := s.Rollout.State, len(s.forsaken()) > 0
	switch {
	case s.Self.Leaving:
		return false
	case forsaken:
		return true
	case state.Live():
		return state.Status != Paused
	}
	p, _ := s.part()
	return !s.Self.Standby && !state.Stays && !s.Stable.Release.IsZero() && (p.Open() || s.returns(p))
}

// leading is what a leader's write does beside raising the lease's counter.
type leading struct {
	release bool              // nobody leads after it
	elapsed time.Duration     // to be added where the leader does not know it by its own clock
	state   *State            // the new state
	parts   map[string]Part   // new parts
	drop    []string          // parts to be removed
	set     map[string]string // further attributes
	with    []Change          // further records, in the same transaction
}

// commit writes as the leader: under the lease as it was read, the state and the count of failures as they were read.
func (s *step) commit(why string, l leading) {
	r := s.Rollout
	lead := s.nextLead(l)
	c := Change{Key: RolloutKey, Expect: expect(r.text, "release", "lease", "state", "failures"), Set: map[string]string{"lease": text(lead)}}
	if l.state != nil {
		l.state.Serial = r.State.Serial + 1
		c.Set["state"] = text(*l.state)
	}
	for _, id := range slices.Sorted(maps.Keys(l.parts)) {
		name, part := partPrefix+id, l.parts[id]
		part.ID = r.Release.ID
		c.Set[name] = text(part)
		if old, ok := r.text[name]; ok {
			c.Expect[name] = old
		} else {
			c.Absent = append(c.Absent, name)
		}
	}
	for _, id := range l.drop {
		c.Remove, c.Expect[partPrefix+id] = append(c.Remove, partPrefix+id), r.text[partPrefix+id]
	}
	for name, value := range l.set {
		c.Set[name] = value
		if old, ok := r.text[name]; ok {
			c.Expect[name] = old
		} else {
			c.Absent = append(c.Absent, name)
		}
	}
	s.tried = sight{c.Set["lease"], s.now}
	s.write(why, append([]Change{c}, l.with...)...)
}

// nextLead is the lease after a write: the counter raised, and the time that has passed added.
func (s *step) nextLead(l leading) Lead {
	lead, elapsed := s.Rollout.Lead, l.elapsed
	if s.holds() {
		elapsed = s.now - s.held.at
	} else {
		lead.Term++
	}
	lead.By = s.Self.ID
	if l.release {
		lead.By = ""
	}
	lead.Counter++
	if lead.Serial != s.Rollout.State.Serial {
		lead.Serial, lead.Baked, lead.Idle, lead.Done = s.Rollout.State.Serial, 0, 0, s.done()
		elapsed = min(elapsed, s.still("state", s.Rollout.text["state"])) // what was before the state is none of its time
	}
	if s.Rollout.Task.State != TaskRunning || !s.Rollout.State.forward() { // which has a time-out of its own, and whose runner is watched
		lead.Idle += elapsed.Milliseconds()
	}
	if s.bakes() { // a leader that slept has not seen how the release did
		lead.Baked += min(elapsed, Lease).Milliseconds()
	}
	done := s.done()
	if done > lead.Done { // what is lost meanwhile is no step forward
		lead.Idle = 0
	}
	lead.Done = done
	return lead
}

// done counts the instances that are where the rollout wants them.
func (s *step) done() (n int) {
	for _, p := range s.Rollout.Parts {
		switch p.State {
		case Done:
			if s.Rollout.State.forward() {
				n++
			}
		case Returned:
			if !s.Rollout.State.forward() {
				n++
			}
		}
	}
	return n
}

// idleFor and bakedFor are the elapsed times of the present state, with what has passed since the leader's last write.
func (s *step) idleFor() time.Duration  { return s.elapsed(s.Rollout.Lead.Idle) }
func (s *step) bakedFor() time.Duration { return s.elapsed(s.Rollout.Lead.Baked) }

func (s *step) elapsed(written int64) time.Duration {
	if s.Rollout.Lead.Serial != s.Rollout.State.Serial {
		return 0
	}
	return time.Duration(written) * time.Millisecond
}

// taskLost pauses a rollout whose release task nobody runs any more, and says that it has.
func (s *step) taskLost() bool {
	t := s.Rollout.Task
	if t.State == TaskRunning && s.still("task/"+s.Rollout.Release.key(), s.Rollout.text["task"]) >= Lease {
		t.State = TaskUnknown
		l := leading{set: map[string]string{"task": text(t)}}
		if s.Rollout.State.forward() { // a way back goes on whatever came of it
			state := s.paused(fmt.Sprintf("%s ran the release task and has gone silent: how far it came is unknown. Look, then resume, or abort", t.By))
			l.state = &state
		}
		s.commit("the release task's runner is gone", l)
		return true
	}
	if t.State == TaskUnknown && s.Rollout.State.forward() {
		state := s.paused(fmt.Sprintf("the release task was cut off on %s: how far it came is unknown. Look, then resume, or abort", t.By))
		s.commit("the release task's result is unknown", leading{state: &state})
		return true
	}
	return false
}

// paused is the state of this rollout once it waits for an operator.
func (s *step) paused(cause string) State {
	state := s.Rollout.State
	state.Was, state.Status, state.Cause, state.By = state.Status, Paused, cause, ""
	return state
}

// housekeep drops what earlier rollouts left, and notes who has left the group; it says whether it wrote.
func (s *step) housekeep() bool {
	if stale := s.Rollout.Stale; len(stale) > 0 {
		s.commit("drop parts of an earlier rollout", leading{drop: stale[:min(len(stale), maxBatch)]})
		return true
	}
	if !s.fresh() {
		return false
	}
	lost := map[string]Part{}
	for _, id := range slices.Sorted(maps.Keys(s.Rollout.Parts)) {
		p := s.Rollout.Parts[id]
		m, here := s.member(id)
		left := !here && (p.away() || p.State == Returned || p.Aside)
		if (left || here && p.Open() && m.stranded(p)) && len(lost) < maxBatch { // who a person has taken out of service can't use a slot
			p.State, p.Aside = Lost, false
			lost[id] = p
		}
	}
	if len(lost) > 0 {
		s.commit(fmt.Sprintf("%d of the instances have left the group, or were put in standby by hand", len(lost)), leading{parts: lost})
		return true
	}
	return false
}

// fresh says whether the group is known well enough to decide on: no older than a lease.
func (s *step) fresh() bool { return s.Group.Known && s.now-s.Group.At <= Lease }

func (s *step) member(id string) (Member, bool) {
	i := slices.IndexFunc(s.Group.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return s.Group.Members[i], true
}

func durationOf(d Duration) time.Duration { return time.Duration(d) }
