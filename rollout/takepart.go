package rollout

import "fmt"

// takePart sees to this instance's own entry in the record: it reports where the instance is, renews its slot, or gives it
// back. Each write expects the entry as it was read and the record to be of the same release.
func (s *step) takePart() {
	p, has := s.part()
	if s.Self.Leaving {
		if has && p.Open() {
			p.State = Lost
			s.report(p, "the instance leaves service, and gives its slot back")
		}
		return
	}
	s.takeTask(p)
	switch state := s.Rollout.State; {
	case state.forward():
		s.partForward(p)
	case state.Live() || !state.Stays:
		s.partBack(p)
	}
}

// partForward reports while the candidate is meant to win.
func (s *step) partForward(p Part) {
	candidate, serving := s.Rollout.Release.ID, s.Self.Serving.ID
	steady := s.Self.Passing > 0 && s.Self.Passing >= durationOf(s.Rollout.Policy.MinHealthyTime)
	switch {
	case serving == candidate && s.Self.Failing:
		if p.State != Sick {
			p.State = Sick
			s.reportFailure(p, "the app fails its checks in service"+after(": ", s.Self.Cause))
		}
	case serving == candidate && steady:
		if p.State != Done {
			p.State, p.Astray = Done, false
			s.report(p, "the candidate serves here")
		}
	case serving == candidate:
		s.renew(p)
	case p.State == Granted && s.Rollout.Task.State == TaskFailed && s.Rollout.Task.By == s.Self.ID:
		p.State = Reverted
		s.reportFailure(p, s.taskCause())
	case s.failedHere(candidate) && (p.State == Granted || p.State == "" && s.Rollout.Origin.First):
		p.State = Reverted
		s.reportFailure(p, s.Self.Failed.Cause)
	case s.failedHere(candidate) && p.State == Done: // it had been in service, and did not come back after a reboot
		p.State = Sick
		s.reportFailure(p, s.Self.Failed.Cause)
	case p.Open():
		s.renew(p)
	default:
		s.declare(p)
	}
}

// declare tells of an instance whose release the leader can't know from the record.
func (s *step) declare(p Part) {
	serving := s.Self.Serving.ID
	switch {
	case serving.IsZero():
		// Where stable itself can't be booted any more, and nobody is left in service, a fix goes to those that boot.
		if s.failedHere(s.Stable.Release.ID) && (p.State == "" || p.State == Lost || p.State == Returned) {
			p.State = Stray
			s.report(p, "stable can't be booted here: "+cut(s.Self.Failed.Cause))
		}
	case serving == s.Stable.Release.ID && s.Self.Launching && s.Self.Failing:
		// It had come up, and broke before its group took the instance into service.
		if p.State == "" || p.State == Lost || p.State == Returned {
			p.State = Stray
			s.report(p, "stable does not stay up here: "+cut(s.Self.Cause))
		}
	case serving != s.Stable.Release.ID && (p.State == "" || p.State == Lost || p.State == Returned):
		p.State = Stray
		s.report(p, "this instance serves "+s.Self.Serving.ID.String())
	case serving == s.Stable.Release.ID && (p.State == Stray || p.State == Lost || p.State == Reverted && p.Astray):
		p.State, p.Astray = Returned, false
		s.report(p, "stable serves here")
	}
}

// partBack reports while stable is where everybody is to be.
func (s *step) partBack(p Part) {
	serving, stable := s.Self.Serving.ID, s.Stable.Release.ID
	home := Returned
	if stable == s.Rollout.Release.ID {
		home = Done
	}
	switch {
	case stable.IsZero():
	case p.Open() && serving == stable && s.Self.Passing > 0:
		p.State, p.Astray = home, false
		s.report(p, "stable serves here")
	case p.State == Back && s.failedHere(stable):
		p.State, p.Astray = Reverted, true
		s.report(p, "stable failed here: "+s.Self.Failed.Cause)
	case p.Open():
		s.renew(p)
	case serving.IsZero() || p.State == home && serving == stable:
	case serving == stable:
		if p.away() || p.State == Lost {
			p.State, p.Astray = home, false
			s.report(p, "stable serves here")
		}
	case p.State == Reverted:
		if !p.Astray {
			p.Astray = true
			s.report(p, "this instance serves "+s.Self.Serving.ID.String())
		}
	case serving == s.Rollout.Release.ID && s.Rollout.State.Live():
		if p.State != Done && p.State != Sick {
			p.State = Done
			s.report(p, "the candidate serves here")
		}
	case p.State != Stray && (s.Rollout.State.Status == Succeeded || !p.away()):
		p.State = Stray
		s.report(p, "this instance serves "+s.Self.Serving.ID.String())
	}
}

// failedHere says whether a release failed on this instance in the present attempt.
func (s *step) failedHere(release ID) bool {
	f := s.Self.Failed
	return !release.IsZero() && f.Release == release && f.Attempt == s.attempt() && s.Self.Serving.ID != release
}

// report writes the instance's own part.
func (s *step) report(p Part, why string) { s.write(why, s.partChange(p)) }

// reportFailure writes it, and raises the count of failures: whoever grants a slot meanwhile finds another.
func (s *step) reportFailure(p Part, cause string) {
	c := s.partChange(p)
	c.Expect["failures"] = s.Rollout.text["failures"]
	c.Set["failures"] = text(s.Rollout.Failures + 1)
	if s.Rollout.Failure == nil {
		c.Set["failure"] = text(Failure{Instance: s.Self.ID, Cause: cut(cause)})
	}
	s.write("the candidate failed here: "+cut(cause), c)
}

// renew raises the counter of a slot.
func (s *step) renew(p Part) {
	if p.Open() && s.due(partPrefix) {
		s.raised(partPrefix)
		p.Counter++
		p.Why = cutTo(s.Self.Hindered, maxWhy)
		s.report(p, "renew the slot")
	}
}

// partChange is the conditional write of this instance's part.
func (s *step) partChange(p Part) Change {
	if p.ID = s.Rollout.Release.ID; !p.Open() {
		p.Why = ""
	}
	name := partPrefix + s.Self.ID
	c := Change{Key: RolloutKey, Expect: expect(s.Rollout.text, "release", name), Set: map[string]string{name: text(p)}}
	if s.marked = (sight{}); p.Aside {
		s.marked = sight{c.Set[name], s.now}
	}
	if _, ok := s.Rollout.text[name]; !ok {
		c.Absent = []string{name}
	}
	return c
}

// takeTask claims the release task, tells how it went, or that there is none.
func (s *step) takeTask(p Part) {
	r, t := s.Rollout, s.Rollout.Task
	if t.State == TaskRunning && t.By == s.Self.ID {
		s.runTask(t)
		return
	}
	may := p.State == Granted || s.bootsFirst()
	if t.State != "" || !may || !r.State.forward() || r.State.Status == Paused || s.Self.Candidate.Release != r.Release.ID {
		return
	}
	c := Change{Key: RolloutKey, Expect: expect(r.text, "release", "state"), Absent: []string{"task"}}
	if !s.Self.Candidate.Task {
		c.Set = map[string]string{"task": text(Task{State: NoTask})}
		s.write("the recipe has no release task", c)
		return
	}
	c.Set = map[string]string{"task": text(Task{State: TaskRunning, By: s.Self.ID, Reversible: s.Self.Candidate.Reversible})}
	s.claimed = r.Release.key()
	s.write("claim the release task", c)
}

// runTask is for the instance whose claim it is.
func (s *step) runTask(t Task) {
	run := s.Self.Task
	switch {
	case s.claimed != s.Rollout.Release.key(): // another process of this agent, which is no more, had begun
		t.State = TaskUnknown
		s.writeTask(t, "the agent was restarted while the release task ran: how far it came is unknown")
	case run.Release == s.Rollout.Release.ID && run.Ended && run.Err == nil:
		t.State = TaskDone
		s.writeTask(t, "the release task is done")
	case run.Release == s.Rollout.Release.ID && run.Ended:
		t.State = TaskFailed
		s.writeTask(t, s.taskCause()) // that its part failed is reported next
		if s.Rollout.Failure == nil {
			s.Writes[len(s.Writes)-1].Changes[0].Set["failure"] = text(Failure{Instance: s.Self.ID, Cause: cut(s.taskCause())})
		}
	default:
		if s.Rollout.State.forward() { // on the way back it does not begin any more
			s.RunTask, s.Ready = true, s.Rollout.Release
		}
		if s.Rollout.State.Live() && s.due("task") {
			s.raised("task")
			t.Counter++
			s.writeTask(t, "renew the claim on the release task")
		}
	}
}

func (s *step) writeTask(t Task, why string) {
	s.write(why, Change{Key: RolloutKey, Expect: expect(s.Rollout.text, "release", "task"), Set: map[string]string{"task": text(t)}})
}

func (s *step) taskCause() string {
	if run := s.Self.Task; run.Release == s.Rollout.Release.ID && run.Err != nil {
		return fmt.Sprintf("the release task failed: %v", run.Err)
	}
	return "the release task failed"
}

// cut keeps a cause short enough for a record.
func cut(cause string) string { return cutTo(cause, maxCause) }

func cutTo(cause string, most int) string {
	if len(cause) <= most {
		return cause
	}
	runes := []rune(cause)
	for len(string(runes)) > most {
		runes = runes[:len(runes)-len(runes)/8-1]
	}
	return string(runes) + " …"
}

// after is a text behind another; nothing where there is none.
func after(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}
