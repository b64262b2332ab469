package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// table is the fleet's table: it decides with production's rollout.MakeAll, and misbehaves as a network does.
type table struct {
	w       *world
	records map[string]rollout.Record

	// What was decoded last, so that a thousand reads of one record decode it once.
	rollout *rollout.Rollout
	stable  rollout.Stable
	// What the rollout was before its last change, and when that was: a read that began before it and was slow has this.
	older   *rollout.Rollout
	changed time.Duration
	// Writes that are stuck on their way until the records move on.
	stuck []*stuck
}

// stuck is a write that its sender has given up, and that arrives when it does the most harm.
type stuck struct {
	arrive  func()
	arrived bool
}

var errNetwork = errors.New("the network is down")

// apply writes as an adapter does, with the network's misfortunes between.
func (t *table) apply(by actor, why string, changes []rollout.Change) error {
	n := t.w.scenario.Noise
	if err := rollout.CheckChanges(changes...); err != nil {
		t.w.violated("contract", "%s: %s: %v", by, why, err)
	}
	switch {
	case t.w.outage(), by.process != nil && !by.process.reaches(), t.w.chance(n.Throttled):
		t.w.trace("%s: %s: throttled", by, why)
		return errNetwork
	case t.w.chance(n.Delayed):
		t.delay(by, why, changes)
		return errNetwork
	case t.w.chance(n.Lost):
		_ = t.commit(by, why+" (response lost)", changes)
		return errNetwork
	case t.w.chance(n.Doubled):
		err := t.commit(by, why, changes)
		t.w.after(t.w.between(0, 30*time.Second), func() { _ = t.commit(by, why+" (again)", changes) })
		return err
	}
	return t.commit(by, why, changes)
}

// delay lets a write arrive after its sender has given it up: at any time, or just after the rollout has got another leader or
// another state, or was replaced, which is when an expectation that is missing shows. Often what held the write up holds up its sender too.
func (t *table) delay(by actor, why string, changes []rollout.Change) {
	t.w.trace("%s: %s: on its way, and given up", by, why)
	s := &stuck{}
	s.arrive = func() {
		if !s.arrived {
			s.arrived = true
			_ = t.commit(by, why+" (late)", changes)
		}
	}
	latest := 90 * time.Second
	if t.w.chance(2) {
		latest = 3 * time.Minute
		t.stuck = append(t.stuck, s)
	}
	t.w.after(t.w.between(time.Second, latest), s.arrive)
	if by.process != nil && t.w.chance(3) {
		by.process.sleep(t.w.between(20*time.Second, 90*time.Second))
	}
}

// unstick lets stuck writes arrive.
func (t *table) unstick(was, is *rollout.Rollout) {
	if was == nil || is == nil || was.Release == is.Release && was.State.Serial == is.State.Serial && was.Lead.Term == is.Lead.Term {
		return
	}
	for _, s := range t.stuck {
		t.w.after(t.w.between(0, 5*time.Second), s.arrive)
	}
	t.stuck = nil
}

// read is the rollout as somebody finds it who reads stable after it: the network may be slow between the two.
func (t *table) read() *rollout.Rollout {
	if t.w.now-t.changed < torn && t.w.chance(t.w.scenario.Noise.Torn) {
		return t.older
	}
	return t.rollout
}

// torn is how old the rollout may be when stable has been read.
const torn = 1500 * time.Millisecond

// commit is the table's own part, all or nothing.
func (t *table) commit(by actor, why string, changes []rollout.Change) error {
	made, err := rollout.MakeAll(t.records, changes)
	if err != nil {
		t.w.trace("%s: %s: %v", by, why, err)
		return err
	}
	if made == nil {
		return nil
	}
	before := *t
	lock := t.get(rollout.LockKey)
	for _, record := range made {
		_, had := t.records[record.Key]
		if record.Attributes == nil {
			delete(t.records, record.Key)
		} else if had || writes(changes, record.Key) {
			t.records[record.Key] = record
		}
	}
	rolled := slices.ContainsFunc(changes, func(c rollout.Change) bool { return c.Key == rollout.RolloutKey })
	settled := slices.ContainsFunc(changes, func(c rollout.Change) bool { return c.Key == rollout.StableKey })
	if rolled || settled {
		t.decode(rolled, settled)
		t.older, t.changed = before.rollout, t.w.now
		t.unstick(before.rollout, t.rollout)
	}
	if t.w.tracing {
		t.w.trace("%s: %s%s", by, why, t.told(before))
	}
	t.w.wrote(by, why, before.rollout, before.stable, lock)
	return nil
}

func writes(changes []rollout.Change, key string) bool {
	for _, c := range changes {
		if c.Key == key {
			return c.Writes()
		}
	}
	return false
}

// decode reads again what has changed.
func (t *table) decode(rolled, settled bool) {
	var err error
	if rolled {
		if t.rollout, err = rollout.DecodeRollout(t.get(rollout.RolloutKey)); err != nil {
			t.w.violated("contract", "%v", err)
		}
	}
	if settled {
		if t.stable, err = rollout.DecodeStable(t.get(rollout.StableKey)); err != nil {
			t.w.violated("contract", "%v", err)
		}
	}
}

func (t *table) get(key string) rollout.Record {
	record := t.records[key]
	record.Key = key
	return record
}

// told says what a write has changed, for the trace.
func (t *table) told(before table) string {
	var b strings.Builder
	was, is := before.rollout, t.rollout
	if is != nil && (was == nil || was.State != is.State || was.Release != is.Release) {
		b.WriteString(" → " + is.Release.ID.String() + " " + string(is.State.Status) + " " + string(is.State.Phase))
		if is.State.Cause != "" {
			b.WriteString(" (" + is.State.Cause + ")")
		}
	}
	if before.stable.Release.ID != t.stable.Release.ID {
		b.WriteString(" → stable is " + t.stable.Release.ID.String())
	}
	return b.String()
}

// actor is who writes.
type actor struct {
	name     string
	operator bool
	knew     map[string]rollout.Part
	seen     seenGroup     // what an agent's leader knew of the group when it decided
	decided  time.Duration // when
	led      time.Duration // since when it had led then
	process  *process      // nil for an operator
}

func (a actor) String() string { return a.name }
