package sim

import (
	"maps"
	"slices"
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
	granted   map[string]bool       // "instance release" that ever had a slot
	revisions map[rollout.ID]string // of each release that was opened
	started   map[rollout.ID]bool   // a process of it has run
	tasks     map[rollout.ID]int    // how often its task was started
	leased    time.Duration         // when the lease was changed last
	final     time.Duration         // when the last bake began
	firsts    map[rollout.ID]bool   // releases that were opened as the very first
}

type seenGroup struct {
	at      time.Duration
	members int
	booting []string
	standby map[string]bool
	healthy map[string]bool
}

func newFacts() facts {
	return facts{
		stables: map[rollout.ID]bool{}, granted: map[string]bool{}, revisions: map[rollout.ID]string{}, started: map[rollout.ID]bool{},
		tasks: map[rollout.ID]int{}, firsts: map[rollout.ID]bool{},
	}
}

// truth is what really was when an agent looked at its group.
func (w *world) truth() seenGroup {
	seen := seenGroup{at: w.now, healthy: map[string]bool{}, standby: map[string]bool{}}
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
func (w *world) wrote(by actor, why string, was *rollout.Rollout, stable rollout.Stable) {
	is := w.table.rollout
	if is == nil {
		return
	}
	opened := was == nil || was.Release != is.Release
	if opened {
		w.checkOpen(by, was, is)
	}
	w.checkStable(by, was, stable, opened)
	if was != nil && !opened {
		w.checkLead(by, why, was, is)
		w.checkState(by, was, is)
	}
	granted := w.newSlots(was, is)
	if len(granted) > 0 && !opened {
		w.checkGrant(by, was, is, granted)
	}
	for _, in := range w.instances {
		in.contested = in.contested || in.persons && is.Parts[in.id].Aside
	}
	for id, p := range is.Parts {
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
	force := false
	if v := w.parameter.versions; id.Epoch == w.facts.epoch && id.Number <= int64(len(v)) && id.Number > 0 {
		force = v[id.Number-1].intent.Force
	}
	if w.table.get(rollout.FailedKey(is.Release.Revision)).Attributes != nil && !force {
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
	w.facts.stables[now.ID] = true
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
	case !w.served(by, now.ID):
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
	if is.State.Status == rollout.RollingBack && is.State.Ends == rollout.RolledBack && is.Origin.RollbackOf != 0 {
		w.violated("S10", "%s reverts %s, which is a rollback", by, is.Release.ID)
	}
}

func (w *world) newSlots(was, is *rollout.Rollout) (out []string) {
	for _, id := range slices.Sorted(maps.Keys(is.Parts)) {
		if p := is.Parts[id]; p.Open() && (was == nil || !was.Parts[id].Open()) {
			out = append(out, id)
		}
	}
	return out
}

// checkGrant holds S1 and S2 at the grant of slots.
func (w *world) checkGrant(by actor, was, is *rollout.Rollout, granted []string) {
	p, seen := was.Policy, by.seen
	members := seen.members
	for id, part := range by.knew { // those that boot take part where they can't boot stable
		if seen.standby[id] && (!part.Aside || was.Origin.First) {
			continue // a person's doing
		}
		if slices.Contains(seen.booting, id) && part.State != rollout.Lost && part.State != rollout.Returned {
			members++
		}
	}
	forward := is.Parts[granted[0]].State == rollout.Granted
	if forward && was.Failures-was.State.Forgiven > p.MaxFailures {
		w.violated("S1", "%s grants a slot to %v after %d failures", by, granted, was.Failures)
	}
	if forward && was.State.Status != rollout.Running && (was.State.Status != rollout.Baking || !was.Origin.First) {
		w.violated("S1", "%s grants a slot to the candidate to %v while the rollout is %s", by, granted, was.State.Status)
	}
	open, disrupted := 0, 0
	for id, part := range is.Parts {
		if part.Open() {
			open++
			if p.Restart && seen.healthy[id] {
				disrupted++
			}
		}
	}
	bound := max(p.Batch.N, 1)
	if p.Batch.Percent {
		bound = max(members*p.Batch.N/100, 1)
	}
	if was.State.Phase == rollout.CanaryPhase && forward {
		bound = p.Canary
	}
	well := 0
	for _, id := range granted {
		if seen.healthy[id] {
			well++
		}
	}
	if (forward || well > 0) && open > bound && (forward || open-len(granted)+well > bound) {
		w.violated("S2", "%s grants slots to %v: %d are open, and the bound is %d", by, granted, open, bound)
	}
	floor := p.MinHealthy.N
	if p.MinHealthy.Percent {
		floor = (members*p.MinHealthy.N + 99) / 100
	}
	if left := len(seen.healthy) - disrupted; well > 0 && left < floor {
		w.violated("S2", "%s grants slots to %v: %d of %d are healthy and undisturbed, and min_healthy is %s", by, granted, left, members, p.MinHealthy)
	}
}

// checkTask holds S9: at most once a rollout, before any switch.
func (w *world) checkTask(in *instance, id rollout.ID) {
	w.facts.tasks[id]++
	w.trace("%s: the release task of %s begins", in.id, id)
	switch {
	case w.facts.tasks[id] > 1:
		w.violated("S9", "%s starts the release task of %s, for the second time", in.id, id)
	case w.facts.started[id]:
		w.violated("S9", "%s starts the release task of %s after an instance had started it", in.id, id)
	case w.table.rollout.Origin.RollbackOf != 0:
		w.violated("S9", "%s runs the release task of a rollback", in.id)
	}
}

// checkRegister holds S3: an instance registers what is stable, or was; the candidate only with a slot, or where it is the very first.
func (w *world) checkRegister(in *instance, s agent.Register) {
	id := agent.FleetRelease(s.Release).ID
	if w.facts.stables[id] || w.facts.granted[in.id+" "+id.String()] || w.facts.firsts[id] {
		return
	}
	w.violated("S3", "%s registers %s, which is not stable, and had no slot for it", in.id, id)
}

// checkPromote holds S6.
func (w *world) checkPromote(in *instance, rel model.Release) {
	id := agent.FleetRelease(rel).ID
	if want := w.facts.revisions[id]; want != "" && want != rel.Revision {
		w.violated("S6", "%s serves %s with %s, and it was opened with %s", in.id, id, rel.Revision, want)
	}
}

// checkDeregister holds S2: where two can't run at the same time nobody goes out of service to switch without a slot.
func (w *world) checkDeregister(in *instance, s agent.Deregister) {
	r := w.table.rollout
	if !w.scenario.Policy.Restart || in.memory.Leaving != agent.Stays || !in.observed.Targets[s.Port].Healthy || r == nil || s.Cause == agent.Unhealthy {
		return
	}
	if len(s.Cause) < 15 || s.Cause[len(s.Cause)-15:] != "takes its place" {
		return
	}
	if p := r.Parts[in.id]; !p.Open() && p.State != rollout.Done && p.State != rollout.Lost {
		w.violated("S2", "%s goes out of service to switch, and has no slot (its part is %q)", in.id, p.State)
	}
}

// served says whether an instance that serves a release was healthy when the leader looked.
func (w *world) served(by actor, id rollout.ID) bool {
	return slices.ContainsFunc(w.instances, func(in *instance) bool {
		return agent.FleetRelease(in.memory.InService).ID == id && by.seen.healthy[in.id]
	})
}
