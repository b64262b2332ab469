package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/health"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// fleet is what this agent knows of its fleet, and what was decided on it last. Times are by the agent's own monotonic clock: since
// its start.
type fleet struct {
	published rollout.Published
	seen      bool // the parameter was read since the agent started
	history   lookback
	seeded    rollout.Seeded // where the store of a fleet of one was empty
	group     rollout.Group
	stable    rollout.Release
	rollout   *rollout.Rollout
	opened    rollout.ID // the newest release that has, or had, a record

	memory   rollout.Memory
	decision rollout.Decision
	known    bool          // something was decided since the agent started
	at       time.Duration // when the records of the last decision began to be read; of an earlier one where they could not be
	alone    bool          // the last decision was taken without the records, which have been out of reach for long

	standby    bool          // the plan asks for standby
	chores     time.Duration // when the mirror, or another's standby, may be tried again
	resolution rollout.Resolution
	resolving  rollout.ID // whose ref is being resolved; zero for none
	resolves   Retry      // of the resolution, while it fails for a reason of the world's
	task       rollout.TaskRun
	tasking    bool

	passing *time.Duration // since when what serves passes, by its own checks and the balancer's; nil while it does not
	down    *time.Duration // since when it does not
	sensed  model.Release  // what served then
}

// mono is the agent's monotonic clock.
func (a *Agent) mono() time.Duration { return a.Now().Sub(a.started) }

// follow takes the fleet's word into what is desired.
func (w *world) follow() {
	d := w.fleet.decision
	w.desired.Known = w.fleet.known
	w.desired.Goal, w.desired.Ready, w.desired.Attempt, w.desired.Marked = LocalRelease(d.Goal), LocalRelease(d.Ready), d.Attempt, d.Aside
}

// Fresh says how long after the records were read a decision is good for a step that changes what serves; unreached after how
// long without the records the last word, or the mirror's, has to do.
const (
	Fresh     = 5 * time.Second
	unreached = time.Minute
)

// stalled says whether a step has to wait for the records to be read again.
func (a *Agent) stalled(w *world, step Step) bool {
	if !NeedsFresh(step, w.memory) {
		return false
	}
	f := &w.fleet
	_, standby := step.(EnterStandby)
	if f.known && (f.alone || a.mono()-f.at <= Fresh) && (!standby || f.decision.Aside) { // which is written down first
		return false
	}
	a.nudge("records")
	return true
}

// sense notes how long what serves has been passing, or not.
func (a *Agent) sense(w *world) {
	f, m, now := &w.fleet, w.memory, a.mono()
	balanced := w.desired.Rules.Balanced || w.desired.Rules.Attached
	passes := m.Serving && m.Port != 0 && w.monitor != nil && w.monitor.health.State().Status == health.Passing &&
		(!balanced || w.observed.Targets[m.Port].Healthy)
	if f.sensed != m.InService { // how long another release was down is not held against this one
		f.sensed, f.passing, f.down = m.InService, nil, nil
	}
	switch {
	case !m.Serving:
		f.passing, f.down = nil, nil
	case passes:
		f.down = nil
		if f.passing == nil {
			f.passing = &now
		}
	case w.monitor != nil && w.monitor.health.State().Status == health.Unknown: // it passed on its way into service, and was not asked since
		f.passing = nil
	default:
		f.passing = nil
		if f.down == nil {
			f.down = &now
		}
	}
}

// self is what the fleet is told of this instance. Marked says that its part of the record tells that it is aside.
func (a *Agent) self(w *world, candidate rollout.Release, marked bool) rollout.Self {
	f, m, now := &w.fleet, w.memory, a.mono()
	s := rollout.Self{ID: w.id.InstanceID, Failed: m.LastFailure(), Task: f.task, Aside: m.Aside || f.standby,
		Leaving: m.Leaving != Stays, Launching: w.observed.hookOpen()}
	if marked && w.desired.Rules.Attached && w.observed.Membership.Lifecycle != model.LifecycleInService {
		s.Aside = true // it is taken out only where the instance is seen to be back
	}
	s.Standby = stranger(w.id, w.observed, w.desired, m) != nil
	s.Hindered = m.hindered(w.desired.Rules)
	if serves := m.Serves(w.observed, w.desired.Rules); !serves.IsZero() {
		s.Serving = FleetRelease(serves)
		s.Failing = serves == m.InService && f.down != nil && now-*f.down >= w.desired.Rules.UnhealthyGrace
		if w.monitor != nil {
			if last := w.monitor.health.State().Last; last != nil {
				s.Cause = last.Error()
			}
		}
		if f.passing != nil {
			s.Passing = max(now-*f.passing, 1)
		}
	}
	local := LocalRelease(candidate)
	if p, ok := w.observed.Prepared[local.Number]; ok && !candidate.IsZero() && p.Release.Revision == candidate.Revision {
		s.Candidate = rollout.Candidate{Release: candidate.ID}
		if task := p.Recipe.Task; task != nil {
			s.Candidate.Task, s.Candidate.Reversible = true, task.Reversible
		}
	}
	return s
}

// decide takes a step of the fleet's rollout on what was just read. It is the loop's.
func (a *Agent) decide(ctx context.Context, w *world, view rollout.View, at time.Duration) rollout.Decision {
	f := &w.fleet
	view.Published, view.Group, view.Resolution, view.Defaults = f.published, f.group, f.resolution, a.Policy
	view.Published.Seeded = view.Reached && view.Stable.Release.ID == f.seeded.Release && f.published.Number <= f.seeded.Newest
	var candidate rollout.Release
	var marked bool
	if view.Rollout != nil {
		candidate, marked = view.Rollout.Release, view.Rollout.Parts[w.id.InstanceID].Aside
	}
	view.Self = a.self(w, candidate, marked)
	was := f.decision
	f.decision, f.memory = rollout.Step(view, f.memory, at)
	f.known, f.alone = true, !view.Reached
	if view.Reached {
		a.tellState(f.rollout, view.Rollout)
		f.at, f.rollout, f.stable = at, view.Rollout, view.Stable.Release
		f.opened = rollout.Opened(view.Rollout, view.Stable)
	}
	d := f.decision
	if d.Goal.ID != was.Goal.ID {
		a.Log.Info("the fleet wants a release here", zap.Stringer("release", d.Goal))
	}
	if d.Leads != was.Leads {
		a.Log.Info("leading the rollout", zap.Bool("leads", d.Leads), zap.Stringer("release", candidate))
	}
	var told error
	if d.Tell != "" && (f.published.Number != 0 || w.problems["intent"] == "") { // that there is no release is told already
		told = errors.New(d.Tell)
	}
	a.problem(w, "rollout", told)
	if d.Watch && !was.Watch {
		a.nudge("fleet")
	}
	if d.Resolve {
		a.resolve(ctx, w)
	}
	if d.RunTask {
		a.beginTask(ctx, w, d.Ready)
	}
	return d
}

// tellState logs how far a rollout has come, whenever that changes: who looks at one instance's log at night wants to know why it switches.
func (a *Agent) tellState(was, is *rollout.Rollout) {
	if is == nil || was != nil && was.Release.ID == is.Release.ID && was.State == is.State {
		return
	}
	fields := []zap.Field{zap.Stringer("release", is.Release), zap.String("state", string(is.State.Status)), zap.String("phase", string(is.State.Phase))}
	if is.State.Cause != "" {
		fields = append(fields, zap.String("cause", is.State.Cause))
	}
	a.Log.Info("rollout", fields...)
}

// resolvePatience bounds one try at resolving a ref.
const resolvePatience = time.Minute

// resolve finds the full SHA of the newest version's ref, in a goroutine of its own: one at a time, and later each time while the world
// stands in the way.
func (a *Agent) resolve(ctx context.Context, w *world) {
	f := &w.fleet
	// A claim on resolving is for a value that was written by hand, which is of the present epoch.
	id, ref := rollout.ID{Epoch: f.opened.Epoch, Number: f.published.Number}, f.published.Intent.Ref
	if f.resolution.Release != id {
		f.resolves = Retry{}
	}
	if !f.resolving.IsZero() || f.resolves.waits(a.Now()) {
		return
	}
	f.resolving = id
	a.goes(func() {
		limited, cancel := context.WithTimeout(ctx, resolvePatience)
		defer cancel()
		end := a.phase("resolve", id, zap.String("ref", ref))
		revision, err := a.Preparer.Resolve(limited, ref)
		end(err)
		a.post(ctx, func(w *world) {
			f := &w.fleet
			f.resolving, f.resolution = rollout.ID{}, rollout.Resolution{Release: id, Revision: revision, Err: err, Final: isRevision(err)}
			if err != nil && !f.resolution.Final {
				f.resolves = f.resolves.again(err.Error(), a.Now())
				return // the next poll of the records asks again
			}
			a.nudge("records")
		})
	})
}

// phase logs the start and the end of what is done for the fleet, and keeps its span, as those of steps are.
func (a *Agent) phase(name string, id rollout.ID, fields ...zap.Field) func(error) {
	number := LocalRelease(rollout.Release{ID: id}).Number
	log := a.Log.With(append([]zap.Field{zap.String("phase", name), zap.Int64("release", number)}, fields...)...)
	log.Info("start")
	began, end := a.Now(), a.Spans.Begin(name, number)
	return func(err error) {
		end(err)
		if took := zap.Duration("duration", a.Now().Sub(began).Round(time.Millisecond)); err == nil {
			log.Info("done", took)
		} else {
			log.Error("failed", took, zap.Error(err))
		}
	}
}

// beginTask runs the release task of a prepared release, once for this agent, in a goroutine of its own.
func (a *Agent) beginTask(ctx context.Context, w *world, rel rollout.Release) {
	f := &w.fleet
	prepared, ok := w.observed.Prepared[LocalRelease(rel).Number]
	if f.tasking || f.task.Release == rel.ID || !ok {
		return
	}
	f.tasking = true
	id := w.id
	a.goes(func() {
		end := a.phase("task", rel.ID, zap.String("revision", prepared.Release.Short()))
		begun, err := a.runTask(ctx, id, prepared)
		end(err)
		a.post(ctx, func(w *world) {
			if w.fleet.tasking = false; begun { // else the next decision asks for it again
				w.fleet.task = rollout.TaskRun{Release: rel.ID, Ended: true, Err: err}
				a.nudge("records")
			}
		})
	})
}

// ungrown says that without a table a group may not have more than one instance: each would decide for itself.
func (a *Agent) ungrown(m model.Membership) error {
	if a.Shared || m.Most <= 1 {
		return nil
	}
	return fmt.Errorf("the Auto Scaling group %s may have %d instances, and fleet.table names no table in which they could agree: make one (%s), and set fleet.table: bootagent; or set the group's MaxSize to 1",
		m.Group, m.Most, a.MakeTable)
}

// standing is the group of an instance that is in none: itself.
func (a *Agent) standing(w *world, targets []model.TargetHealth, groups int, at time.Duration) rollout.Group {
	passing := w.fleet.passing != nil
	return rollout.Look(model.ScalingGroup{Desired: 1, Instances: []model.ScalingInstance{
		{ID: w.id.InstanceID, Lifecycle: model.LifecycleInService, Healthy: passing},
	}}, slices.DeleteFunc(targets, func(t model.TargetHealth) bool { return t.InstanceID != w.id.InstanceID }), groups, at)
}

// newest is what the parameter asks for, with the revision where that is known.
func (f *fleet) newest() model.Release {
	p := f.published
	if p.Number == 0 || p.Err != nil {
		return model.Release{}
	}
	id := rollout.ID{Epoch: max(p.Intent.Epoch, f.opened.Epoch), Number: p.Number}
	for _, known := range []rollout.Release{f.candidate(), f.stable} {
		if known.ID == id {
			return LocalRelease(known)
		}
	}
	return LocalRelease(rollout.Release{ID: id, Ref: p.Intent.Ref, Revision: p.Intent.Revision})
}

func (f *fleet) candidate() rollout.Release {
	if f.rollout == nil {
		return rollout.Release{}
	}
	return f.rollout.Release
}
