package sim

import (
	"fmt"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// checkEnd holds L2: after success everybody serves it.
func (w *world) checkEnd() {
	r := w.table.rollout
	if r == nil || r.State.Status != rollout.Succeeded || r.Release.Revision != w.lastPut.Revision {
		w.violated("L2", "the last release did not succeed: %s", w.restless())
		return
	}
	for _, in := range w.listed() {
		if got := in.memory.InService.Revision; got != w.lastPut.Revision || !in.healthy() {
			w.violated("L2", "%s serves %.6s at the end, healthy=%t", in.id, got, in.healthy())
		}
	}
	if w.parameter.label != r.Release.Number {
		w.violated("L2", "the mirror says %d, and stable is %d", w.parameter.label, r.Release.Number)
	}
}

// atRest says whether the last release has been put and nobody has anything to do any more.
func (w *world) atRest() bool {
	r := w.table.rollout
	if w.cliBusy > 0 || r == nil || r.State.Live() || r.Release.Revision != w.lastPut.Revision {
		return false
	}
	all := w.listed()
	if len(all) != w.desired || w.scenario.Attached && w.asideLeft() != "" {
		return false
	}
	for _, in := range all {
		if in.gone || in.process == nil || in.process.quiet < 0 || w.now-in.process.quiet < 10*time.Second || in.lifecycle() != model.LifecycleInService {
			return false
		}
	}
	return true
}

// restless says what is not at rest, for the trace.
func (w *world) restless() string {
	out := "no record"
	if r := w.table.rollout; r != nil {
		out = fmt.Sprintf("%s is %s %s (%s), led by %q, parts %v", r.Release.ID, r.State.Status, r.State.Phase, r.State.Cause, r.Lead.By, r.Parts)
	}
	for _, in := range w.listed() {
		out += fmt.Sprintf("; %s %s serves %s", in.id, in.lifecycle(), in.memory.InService)
		if p := in.process; p != nil {
			out += fmt.Sprintf(", goal %s, told %q", p.decision.Goal, p.decision.Tell)
		} else {
			out += ", without an agent"
		}
	}
	return out
}
