package sim

import (
	"maps"
	"slices"

	"github.com/bootagent/bootagent/rollout"
)

func (w *world) newSlots(was, is *rollout.Rollout) (out []string) {
	for _, id := range slices.Sorted(maps.Keys(is.Parts)) {
		if p := is.Parts[id]; p.Open() && (was == nil || !was.Parts[id].Open()) {
			out = append(out, id)
		}
	}
	return out
}

// silent says whether the holder of a slot has been silent for so long that the leader must know. It has to have seen it for a
// lease itself, and a lease more is for its pauses.
func (w *world) silent(by actor, id string) bool {
	return by.led >= 0 && by.decided-max(w.facts.moved[id], by.led) > 3*rollout.Lease && by.process.frozen < by.decided-3*rollout.Lease
}

// checkParts holds S5, that an entry is its instance's own, but for the slots that the leader grants; and S1, that each failure counts.
func (w *world) checkParts(by actor, why string, was, is *rollout.Rollout) {
	for id, old := range was.Parts {
		now, here := is.Parts[id]
		switch {
		case !here:
			w.violated("S5", "%s (%s) loses the part of %s, which was %q", by, why, id, old.State)
		case id != by.name || old == now || by.name == was.Lead.By || by.name == is.Lead.By:
		case now.Open() && !old.Open():
			w.violated("S5", "%s (%s) takes a slot that nobody granted", by, why)
		case now.Open() && old.Counter > now.Counter:
			w.violated("S5", "%s (%s) turns its slot's counter back from %d to %d", by, why, old.Counter, now.Counter)
		}
	}
	forward := was.State.Live() && was.State.Status != rollout.RollingBack
	for id, now := range is.Parts {
		failed := now.State == rollout.Sick || now.State == rollout.Reverted
		if old := was.Parts[id]; failed && forward && old.State != now.State && is.Failures <= was.Failures {
			w.violated("S1", "%s (%s) failed, and %d failures were counted before and after", id, why, is.Failures)
		}
	}
}

// checkGrant holds S1 and S2 at the grant of slots.
func (w *world) checkGrant(by actor, was, is *rollout.Rollout, granted []string) {
	p, seen := was.Policy, by.seen
	members := seen.members
	for id, part := range by.knew { // those that boot take part where they can't boot stable
		if seen.standby[id] && !part.Aside {
			continue // a person's doing
		}
		if seen.standby[id] && part.Aside || !was.Origin.First && slices.Contains(seen.booting, id) && part.State != rollout.Lost && part.State != rollout.Returned {
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
	if age := by.decided - seen.at; age > rollout.Lease*11/10 {
		w.violated("S2", "%s grants slots to %v on a look at the group that is %s old", by, granted, age)
	}
	open, disrupted := 0, 0
	for id, part := range is.Parts {
		if part.Open() {
			open++
			if seen.healthy[id] && (p.Restart || was.Parts[id].Open() && w.silent(by, id)) {
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
