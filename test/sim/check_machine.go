package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/rollout"
)

// lately is how old what a step is taken on may be.
const lately = agent.Fresh + torn

// sends holds a step against the invariants as it is sent off: what comes of it later is the world's doing.
func (w *world) sends(in *instance, step agent.Step) {
	switch s := step.(type) {
	case agent.Register:
		w.checkPassed(in, s)
		w.checkServes(in, s.Release)
	case agent.Start: // Auto Scaling has registered the port, or will
		if w.scenario.Attached {
			w.checkServes(in, s.Release)
		}
	case agent.Deregister:
		w.checkDeregister(in, s)
	case agent.Stop:
		w.checkStop(in, s)
	case agent.Promote:
		w.checkPromote(in, s.Release)
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
	case w.table.rollout.Release.ID == id && w.table.rollout.Origin.RollbackOf != 0:
		w.violated("S9", "%s runs the release task of a rollback", in.id)
	}
}

// checkPassed holds S4: what is registered passed its checks in this very process.
func (w *world) checkPassed(in *instance, s agent.Register) {
	if u, ok := in.onPort(s.Port); !ok || u.State != unit.Running || u.Release.Number != s.Release.Number || !in.passed[u.PID] {
		w.violated("S4", "%s registers port %d, on which no process of %s has passed its check", in.id, s.Port, s.Release)
	}
}

// checkServes holds S3: an instance registers what it serves already, what is stable, what it has a slot for, or the very first release.
func (w *world) checkServes(in *instance, rel model.Release) {
	id := agent.FleetRelease(rel).ID
	if in.memory.Serving && agent.FleetRelease(in.memory.InService).ID == id || w.facts.firsts[id] {
		return
	}
	alone := in.process != nil && in.process.alone // then what was stable has to do
	if id == w.table.stable.Release.ID || w.facts.stables[id] && (alone || w.now-w.facts.promoted <= lately) {
		return
	}
	if r := w.table.rollout; r != nil && r.Release.ID == id {
		switch p := r.Parts[in.id]; p.State {
		case rollout.Granted, rollout.Done, rollout.Sick:
			return
		}
	}
	if alone && w.facts.granted[in.id+" "+id.String()] || w.now-w.table.changed <= lately {
		return
	}
	w.violated("S3", "%s registers %s, which is not stable, and has no slot for it", in.id, id)
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
	if !w.scenario.Policy.Restart || w.scenario.Attached || in.memory.Leaving != agent.Stays || !in.observed.Targets[s.Port].Healthy || r == nil || s.Cause == agent.Unhealthy {
		return
	}
	if !strings.HasSuffix(s.Cause, "takes its place") {
		return
	}
	if p := r.Parts[in.id]; !p.Open() && p.State != rollout.Done && p.State != rollout.Lost && w.now-w.table.changed > lately {
		w.violated("S2", "%s goes out of service to switch, and has no slot (its part is %q)", in.id, p.State)
	}
}

// checkStop holds S4: what took traffic is stopped only after it was taken out and drained.
func (w *world) checkStop(in *instance, s agent.Stop) {
	i := slices.IndexFunc(in.observed.Units, func(u unit.Status) bool { return u.Name == s.Unit })
	if i < 0 || in.observed.Units[i].State != unit.Running {
		return
	}
	u := in.observed.Units[i]
	switch {
	case w.scenario.Attached && !in.appWorks(u): // its group is not told, and only the balancer's own checks keep requests from it
	case in.observed.Targets[u.Port].Registered && in.took[u.PID]:
		w.violated("S4", "%s stops %s, which is registered", in.id, s.Unit)
	case in.took[u.PID] && !in.drained[u.PID]:
		w.violated("S4", "%s stops %s, which took traffic and was not drained", in.id, s.Unit)
	}
}

// checkHook is Auto Scaling's look at a launch hook, and holds L3: one that times out had no agent to complete it.
func (in *instance) checkHook() {
	w, period := in.w, time.Duration(in.w.scenario.Hook)*time.Second
	if in.lifecycle() != model.LifecyclePendingWait || in.gone {
		return
	}
	silent := w.now-in.hookSince > period
	spent := w.now-in.hookOpened > 100*period // heartbeats keep it open no longer
	if !silent && !spent {
		return
	}
	w.trace("the launch hook of %s times out", in.id)
	lately := w.now - 2*period
	p := in.process
	if p != nil && p.frozen < lately && p.born < lately && (silent || !w.scenario.Noise.Drift) { // a clock that is wrong knows no 48 hours
		w.violated("L3", "the launch hook of %s timed out although its agent ran", in.id)
	}
	in.terminate()
}
