package sim

import (
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// facts is what the checks remember: nothing that an agent could know.
type facts struct {
	nonces    int
	epoch     int64
	stables   map[rollout.ID]bool
	granted   map[string]bool          // "instance release" that ever had a slot
	revisions map[rollout.ID]string    // of each release that was opened
	started   map[rollout.ID]bool      // a process of it has run
	tasks     map[rollout.ID]int       // how often its task was started
	leased    time.Duration            // when the lease was changed last
	final     time.Duration            // when the last bake began
	promoted  time.Duration            // when stable moved last
	moved     map[string]time.Duration // when the entry of an instance in the record changed last
	bad       map[string]bool          // revisions that a rollout has found to be bad
	forced    map[string]bool          // deploys, by nonce, that were told to do it whatever there is
	firsts    map[rollout.ID]bool      // releases that were opened as the very first
}

type seenGroup struct {
	at      time.Duration
	members int
	desired int
	booting []string
	standby map[string]bool
	healthy map[string]bool
}

func newFacts() facts {
	return facts{
		stables: map[rollout.ID]bool{}, granted: map[string]bool{}, revisions: map[rollout.ID]string{}, started: map[rollout.ID]bool{},
		tasks: map[rollout.ID]int{}, firsts: map[rollout.ID]bool{}, moved: map[string]time.Duration{}, bad: map[string]bool{}, forced: map[string]bool{},
	}
}

// truth is what really was when an agent looked at its group.
func (w *world) truth() seenGroup {
	seen := seenGroup{at: w.now, desired: w.desired, healthy: map[string]bool{}, standby: map[string]bool{}}
	for _, m := range w.group(0).Members {
		if m.InService {
			seen.members++
		}
		if m.Standby {
			seen.standby[m.ID] = true
		}
		if m.Healthy {
			seen.healthy[m.ID] = true
		}
	}
	for _, in := range w.listed() {
		if in.lifecycle() != model.LifecycleInService {
			seen.booting = append(seen.booting, in.id)
		}
	}
	return seen
}

// wrote holds a write against the invariants.
func (w *world) wrote(by actor, why string, was *rollout.Rollout, stable rollout.Stable, lock rollout.Record) {
	is := w.table.rollout
	if is == nil {
		return
	}
	opened := was == nil || was.Release != is.Release
	if opened {
		w.checkOpen(by, was, is)
		w.checkLock(by, was, is, lock)
	}
	w.checkStable(by, was, stable, opened)
	if was != nil && !opened {
		w.checkLead(by, why, was, is)
		w.checkState(by, was, is)
		w.checkParts(by, why, was, is)
	}
	granted := w.newSlots(was, is)
	if len(granted) > 0 && !opened {
		w.checkGrant(by, was, is, granted)
	}
	for _, in := range w.instances {
		in.contested = in.contested || in.persons && is.Parts[in.id].Aside
	}
	for id, p := range is.Parts {
		if was == nil || was.Parts[id] != p {
			w.facts.moved[id] = w.now
		}
		if p.State == rollout.Granted {
			w.facts.granted[id+" "+is.Release.ID.String()] = true
		}
	}
	if was == nil || was.Lead != is.Lead {
		w.facts.leased = w.now
	}
	if is.State.Phase == rollout.FinalPhase && is.State.Status == rollout.Baking && (opened || was.State.Status != rollout.Baking || was.State.Phase != rollout.FinalPhase) {
		w.facts.final = w.now
	}
}

// checkOpen holds S5, S6 and S10 at the opening of a record.
func (w *world) checkOpen(by actor, was, is *rollout.Rollout) {
	id := is.Release.ID
	if was != nil && id.Compare(was.Release.ID) <= 0 {
		w.violated("S5", "%s opens %s over %s", by, id, was.Release.ID)
	}
	if old, ok := w.facts.revisions[id]; ok && old != is.Release.Revision {
		w.violated("S6", "%s was opened with %.6s, and is with %.6s", id, old, is.Release.Revision)
	}
	w.facts.revisions[id] = is.Release.Revision
	force := w.facts.forced[is.Origin.Nonce]
	if (w.facts.bad[is.Release.Revision] || w.table.get(rollout.FailedKey(is.Release.Revision)).Attributes != nil) && !force {
		w.violated("S10", "%s opens %s, and its revision failed before", by, id)
	}
	if w.table.get(rollout.FreezeKey).Attributes != nil && is.Origin.RollbackOf == 0 {
		w.violated("S5", "%s opens %s, and nobody may deploy", by, id)
	}
	if is.Origin.First {
		w.facts.firsts[id] = true
	}
	if was != nil {
		for i, p := range was.Parts {
			if p.Open() && !is.Parts[i].Open() {
				w.violated("S2", "%s opens %s and forgets the open slot of %s", by, id, i)
			}
		}
	}
}

// checkStable holds S3: stable moves only after the last bake, and never back.
func (w *world) checkStable(by actor, was *rollout.Rollout, stable rollout.Stable, opened bool) {
	now := w.table.stable.Release
	if now == stable.Release {
		return
	}
	w.facts.stables[now.ID], w.facts.promoted = true, w.now
	if was == nil {
		return // the founder's
	}
	p := was.Policy
	switch {
	case now.Compare(stable.Release.ID) < 0:
		w.violated("S3", "%s moves stable back from %s to %s", by, stable.Release.ID, now.ID)
	case opened || now.ID != was.Release.ID || was.State.Status != rollout.Baking || was.State.Phase != rollout.FinalPhase:
		w.violated("S3", "%s moves stable to %s while %s is %s", by, now.ID, was.Release.ID, was.State.Status)
	case !was.State.Baked && w.now-w.facts.final < time.Duration(float64(p.Bake)*0.95):
		w.violated("S3", "%s moves stable to %s after %s of the last bake, which takes %s", by, now.ID, w.now-w.facts.final, p.Bake)
	case was.Origin.First && w.serving(by, now.ID) < by.seen.desired:
		w.violated("S3", "%s moves stable to the very first release %s, and %d of %d instances serve it", by, now.ID, w.serving(by, now.ID), by.seen.desired)
	case w.serving(by, now.ID) == 0:
		w.violated("S3", "%s moves stable to %s, and no healthy instance serves it", by, now.ID)
	case p.Promote == rollout.Manual && !was.State.Approved:
		w.violated("S3", "%s moves stable to %s, and no operator promoted it", by, now.ID)
	}
}

// checkLead holds S5: nobody but the leader moves a rollout on, and no lease is taken from a leader that lives.
func (w *world) checkLead(by actor, why string, was, is *rollout.Rollout) {
	took := is.Lead.By == by.name && was.Lead.By != by.name
	if took && was.Lead.By != "" && w.now-w.facts.leased < rollout.Lease*95/100 {
		w.violated("S5", "%s takes the lead from %s, who wrote %s ago", by, was.Lead.By, w.now-w.facts.leased)
	}
	if was.Lead != is.Lead && is.Lead.Counter <= was.Lead.Counter {
		w.violated("S5", "%s (%s) turns the lease back from %d to %d", by, why, was.Lead.Counter, is.Lead.Counter)
	}
	if by.operator || took || was.Lead.By == by.name {
		return
	}
	if was.State != is.State || was.Lead != is.Lead {
		w.violated("S5", "%s (%s) changes the state, and %s leads", by, why, was.Lead.By)
	}
	for id, p := range is.Parts {
		if id != by.name && was.Parts[id] != p {
			w.violated("S5", "%s (%s) changes the part of %s, and %s leads", by, why, id, was.Lead.By)
		}
	}
}

// checkState holds what a state may become.
func (w *world) checkState(by actor, was, is *rollout.Rollout) {
	if was.State == is.State {
		return
	}
	if !was.State.Live() {
		w.violated("S5", "%s moves %s, which had ended %s, to %s", by, is.Release.ID, was.State.Status, is.State.Status)
	}
	if is.State.Bad && !is.State.Live() && !is.Origin.First && is.State.Status != rollout.Aborted {
		w.facts.bad[is.Release.Revision] = true
	}
	if is.State.Status == rollout.RollingBack && is.State.Ends == rollout.RolledBack && is.Origin.RollbackOf != 0 {
		w.violated("S10", "%s reverts %s, which is a rollback", by, is.Release.ID)
	}
}

// checkLock holds S5: a deploy that has lost its lock opens nothing, nor does one without --force replace a rollout that lives.
func (w *world) checkLock(by actor, was, is *rollout.Rollout, lock rollout.Record) {
	nonce := is.Origin.Nonce
	if nonce == "" {
		return
	}
	if held, _ := rollout.DecodeLock(lock); held.Nonce != nonce {
		w.violated("S5", "%s opens %s for a deploy that has lost the lock to %q", by, is.Release.ID, held.Nonce)
	}
	if left, _ := rollout.DecodeLock(w.table.get(rollout.LockKey)); left.Nonce == nonce {
		w.violated("S5", "%s opens %s, and its deploy still has the lock", by, is.Release.ID)
	}
	if was != nil && was.State.Live() && !w.facts.forced[nonce] {
		w.violated("S5", "%s opens %s over %s, which is %s, without --force", by, is.Release.ID, was.Release.ID, was.State.Status)
	}
}

// serving counts the instances that serve a release and were healthy when the leader looked.
func (w *world) serving(by actor, id rollout.ID) (n int) {
	for _, in := range w.instances {
		if agent.FleetRelease(in.memory.InService).ID == id && by.seen.healthy[in.id] {
			n++
		}
	}
	return n
}
