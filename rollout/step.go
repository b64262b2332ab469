package rollout

import (
	"fmt"
	"hash/fnv"
	"maps"
	"time"
)

// Step says what one agent does next about the fleet's rollout, from what it knows and what it remembers. It has no clock, no
// goroutine and no I/O, and it is level triggered: where a write was lost it asks for it again. Its now is the agent's
// own monotonic clock as the view's records began to be read.
//
// Every agent takes part, at most one leads. Who leads, grants; who is granted a slot, switches, and reports; who is told to
// go back, goes. Nobody acts on what it remembers: each write says how it found the record, and changes nothing where that is over.
func Step(v View, m Memory, now time.Duration) (Decision, Memory) {
	s := &step{View: v, Memory: m, now: now}
	s.goal()
	switch {
	case !v.Reached:
		return s.Decision, s.Memory
	case v.Broken != nil:
		s.tell("the fleet's records can't be read, so this instance serves on and takes no part: %v", v.Broken)
		return s.Decision, s.Memory
	case s.foreign():
		s.tell("the fleet's records have a newer schema than this version of bootagent reads (%d): this instance serves on and takes no part; upgrade it", Schema)
		return s.Decision, s.Memory
	}
	if s.open(); s.Rollout != nil && !s.opens {
		s.takePart()
		s.aside()
		s.lead()
		if state := s.Rollout.State; state.Status == Paused {
			s.tell("%s is paused: %s", s.Rollout.Release.ID, orText(state.Cause, "an operator asked for it"))
		}
	}
	s.mirror()
	s.Idle = s.idle()
	return s.Decision, s.Memory
}

// step is one call of Step.
type step struct {
	View
	Memory
	Decision
	now     time.Duration
	settled bool // the newest version's outcome is known, and final
	opens   bool // this step opens a record, and what is known of the one before is over

	sawSome, raisedSome bool // the memory's maps are this step's own
}

// saw notes what a record said, and when; raised when a counter was. The maps are the caller's memory, and are copied before the first
// change of a step: most steps change none.
func (s *step) saw(what, text string) {
	if !s.sawSome {
		s.seen, s.sawSome = own(s.seen), true
	}
	s.seen[what] = sight{text, s.now}
}

func (s *step) raised(what string) {
	if !s.raisedSome {
		s.renewed, s.raisedSome = own(s.renewed), true
	}
	s.renewed[what] = s.now
}

func own[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

func (s *step) tell(format string, args ...any) {
	if s.Tell == "" {
		s.Tell = fmt.Sprintf(format, args...)
	}
}

func (s *step) write(why string, changes ...Change) {
	s.Writes = append(s.Writes, Write{why, changes})
}

// foreign says whether a record was written by a newer version.
func (s *step) foreign() bool {
	return s.Rollout != nil && s.Rollout.Schema > Schema || s.Stable.Schema > Schema
}

// still says for how long something has been seen as it is. Counters are compared as texts, on this agent's own clock.
func (s *step) still(what, text string) time.Duration {
	if last, ok := s.seen[what]; ok && last.text == text {
		return s.now - last.at
	}
	s.saw(what, text)
	return 0
}

// due says whether it is time to raise a counter of one's own again.
func (s *step) due(what string) bool {
	last, ok := s.renewed[what]
	return !ok || s.now-last >= Renew
}

// part is this instance's own.
func (s *step) part() (Part, bool) {
	if s.Rollout == nil {
		return Part{}, false
	}
	p, ok := s.Rollout.Parts[s.Self.ID]
	return p, ok
}

// mirror asks to repair the label. The versions of a parameter that was made anew are others with the same numbers: there the
// label waits for one that was opened, as far as that can be seen from here; see Decision.Mirror.
func (s *step) mirror() {
	r, pub := s.Stable.Release, s.Published
	switch {
	case r.IsZero(), pub.Number == 0, pub.Mirror.Number == r.Number, pub.Number < r.Number, s.impostor():
	case pub.Anew && s.wanted() != r.ID:
	default:
		s.Mirror = r
	}
}

// idle says whether nothing but a new version of the parameter can give this agent something to do.
func (s *step) idle() bool {
	if len(s.Writes) > 0 || len(s.Read) > 0 || s.Resolve || s.Watch || s.Rollout == nil || s.Rollout.State.Live() || !s.settled {
		return false
	}
	if s.anyAside() {
		return false
	}
	if s.Rollout.State.Stays {
		return true
	}
	p, ok := s.part()
	return s.Self.Serving.ID == s.Stable.Release.ID && (!ok || !p.Open())
}

// patience is how long this agent watches a dead lease before it takes it over: not all at once.
func patience(id string) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return Lease + time.Duration(h.Sum32()%1000)*Renew/1000
}
