package sim

import (
	"slices"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/rollout"
)

// process is the agent's daemon on an instance: the thin driver around Plan and Step.
type process struct {
	in       *instance
	born     time.Duration
	drift    float64       // of its clocks
	wallOff  time.Duration // of its wall clock
	frozen   time.Duration // it does nothing until then
	cutOff   time.Duration // it can't reach the table until then
	busy     bool          // its writes are on their way
	memory   rollout.Memory
	decision rollout.Decision
	read     map[string]bool // records that the last step asked for
	known    bool            // the table was read since the start
	reached  time.Duration   // when the table was read last
	alone    bool            // the last decision was taken without the table, which has been out of reach for long
	at       time.Duration   // by its own clock, when the records of the last decision began to be read
	led      time.Duration   // since when it leads; -1 while it does not
	group    rollout.Group
	seen     seenGroup // what really was when the group was looked at
	highest  int64
	backward int
	epoch    int64
	doing    map[agent.Step]int // steps in flight; the number tells a later try from an earlier one
	tries    int
	passing  time.Duration // since when what serves here passes; -1 while it does not
	down     time.Duration // since when it does not; -1 while it does
	sensed   model.Release // what served then
	task     rollout.TaskRun
	tasking  bool
	resolved rollout.Resolution
	standby  bool          // the plan asks for standby
	quiet    time.Duration // since when there was nothing to do; -1 while there is
	paced    *paced        // drives it where requests are counted; nil where it just ticks
}

// startAgent starts the daemon.
func (in *instance) startAgent() {
	if in.gone || in.process != nil || in.w.now < in.downTo {
		return
	}
	w := in.w
	p := &process{in: in, born: w.now, doing: map[agent.Step]int{}, passing: -1, down: -1, quiet: -1, led: -1}
	n := w.scenario.Noise
	if n.Drift {
		p.drift, p.wallOff = (w.random.Float64()-0.5)/20, w.between(-24*time.Hour, 24*time.Hour)
	}
	in.process = p
	in.observed.Passed = map[agent.Incarnation]bool{}
	w.trace("%s: the agent starts", in.id)
	begin := p.tick
	if w.account != nil {
		p.paced = &paced{process: p, account: w.account}
		begin = p.paced.drive
	}
	w.after(w.between(0, time.Second), begin)
}

// crashAgent is kill -9 of the daemon: what it only knew is gone.
func (in *instance) crashAgent() {
	if in.process == nil {
		return
	}
	in.w.trace("%s: the agent is killed", in.id)
	in.process = nil
	in.w.after(in.w.between(time.Second, 20*time.Second), in.startAgent)
}

func (p *process) dead() bool { return p.in.process != p }

// mono is the process's own monotonic clock, and wall its wall clock.
func (p *process) mono() time.Duration {
	return time.Duration(float64(p.in.w.now-p.born) * (1 + p.drift))
}

// wall counts from an arbitrary date; each agent's wall clock is off by as much as it likes.
func (p *process) wall() time.Time {
	return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(p.wallOff + p.in.w.now)
}

// tick is one round of the daemon: look, decide, write, act.
func (p *process) tick() {
	w := p.in.w
	if p.dead() {
		return
	}
	if w.now < p.frozen {
		w.after(p.frozen-w.now, p.tick)
		return
	}
	pause := w.between(1500*time.Millisecond, 2500*time.Millisecond)
	if n := len(w.instances); n > 12 {
		pause *= 2
	}
	if p.decision.Idle && p.quiet >= 0 {
		pause *= 3
	}
	w.after(pause, p.tick)
	p.in.hookSince = w.now // the heartbeat
	p.sense()
	if !p.busy {
		p.consult()
	}
	p.act()
}

// sense is the daemon's monitor of what serves here.
func (p *process) sense() {
	in, w := p.in, p.in.w
	m := in.memory
	u, ok := in.onPort(m.Port)
	if p.sensed != m.InService {
		p.sensed, p.passing, p.down = m.InService, -1, -1
	}
	passes := m.Serving && m.Port != 0 && ok && u.State == unit.Running && in.appWorks(u)
	in.observed.FailingSince = time.Time{}
	if m.Serving && m.Port != 0 && !passes {
		if p.down < 0 {
			p.down = w.now
		}
		in.observed.FailingSince = p.wall().Add(p.down - w.now)
	}
	if !passes || !in.observed.Targets[m.Port].Healthy {
		p.passing = -1
		if p.down < 0 && m.Serving {
			p.down = w.now
		}
	} else {
		p.down = -1
		if p.passing < 0 {
			p.passing = w.now
		}
	}
}

// consult reads the records and asks Step.
func (p *process) consult() {
	w := p.in.w
	if !p.reaches() || w.chance(w.scenario.Noise.Throttled) || w.mutation.unread(p) {
		if w.now-max(p.reached, p.born) < time.Minute {
			return // the last decision stands, and nothing that needs a fresh one is done
		}
		view := rollout.View{Published: w.published(p), Self: p.self(nil)}
		p.decision, p.memory = w.mutation.step(view, p.memory, p.mono())
		p.known, p.alone = true, true
		return
	}
	p.known, p.alone, p.reached = true, false, w.now
	current := w.table.read()
	view := rollout.View{
		Reached: true, Rollout: current, Stable: w.table.stable, Published: w.published(p), Group: p.group, Self: p.self(current),
		Resolution: p.resolved, Defaults: w.scenario.Policy, Records: map[string]rollout.Record{},
	}
	for key := range p.read {
		view.Records[key] = w.table.get(key)
	}
	at := p.mono()
	if view.Rollout != w.table.rollout {
		at = max(at-torn, p.at)
	}
	p.at = at
	p.decision, p.memory = w.mutation.step(view, p.memory, p.at)
	d := p.decision
	p.leads()
	p.read = map[string]bool{}
	for _, key := range d.Read {
		p.read[key] = true
	}
	by := actor{name: p.in.id, seen: p.seen, decided: w.now, led: p.led, process: p}
	if view.Rollout != nil {
		by.knew = view.Rollout.Parts
	}
	if d.Watch && (!p.group.Known || p.mono()-p.group.At > 4*time.Second) {
		p.group, p.seen = w.mutation.group(w.group(p.mono())), w.truth()
	}
	p.follow(d)
	if len(d.Writes) > 0 {
		p.busy = true
		w.after(w.latency(), func() { p.send(by, d.Writes) })
	}
}

// leads notes since when this process has led.
func (p *process) leads() {
	switch {
	case !p.decision.Leads:
		p.led = -1
	case p.led < 0:
		p.led = p.in.w.now
	}
}

// latency is how long a request takes to come to the table.
func (w *world) latency() time.Duration {
	return w.between(20*time.Millisecond, 1200*time.Millisecond)
}

// send writes what was decided: one after the other until one fails.
func (p *process) send(by actor, writes []rollout.Write) {
	w := p.in.w
	if p.dead() {
		return
	}
	if w.now < p.frozen {
		w.after(p.frozen-w.now, func() { p.send(by, writes) })
		return
	}
	p.busy = false
	for _, write := range writes {
		if w.table.apply(by, write.Why, write.Changes) != nil {
			break
		}
	}
}

// follow does what a decision asks for beside writing.
func (p *process) follow(d rollout.Decision) {
	w, in := p.in.w, p.in
	for _, other := range w.instances {
		if slices.Contains(d.Restore, other.id) {
			w.after(w.latency(), func() { _ = other.exitStandby(in.id) })
		}
	}
	if w.labels(d.Mirror) {
		w.label(in, d.Mirror)
	}
	if d.Resolve && !p.tasking {
		pub := w.published(p)
		id := rollout.ID{Epoch: w.facts.epoch, Number: pub.Number}
		w.after(w.between(time.Second, 10*time.Second), func() {
			if n := int(id.Number); !p.dead() && n > 0 && n <= len(w.parameter.versions) {
				b := w.parameter.versions[n-1].b
				p.resolved = rollout.Resolution{Release: id, Revision: w.branch(in, b)}
			}
		})
	}
	if id := d.Ready.ID; d.RunTask && p.task.Release != id && !p.tasking {
		p.tasking = true
		b := w.behaviour(d.Ready.Model())
		w.checkTask(in, id)
		w.after(w.between(2*time.Second, 50*time.Second), func() {
			if p.dead() {
				return
			}
			p.tasking, p.task = false, rollout.TaskRun{Release: id, Ended: true}
			if b != nil && b.TaskFails {
				p.task.Err = errBroken
			}
			w.trace("%s: the release task of %s has ended: %v", in.id, id, p.task.Err)
		})
	}
}

// self is what Step is told of this instance.
func (p *process) self(r *rollout.Rollout) rollout.Self {
	in, w := p.in, p.in.w
	self := rollout.Self{ID: in.id, Aside: in.memory.Aside || p.standby || w.marked(in) && in.lifecycle() != model.LifecycleInService,
		Standby: in.inStandby() && !in.memory.Aside && !w.marked(in), Hindered: in.memory.Retries["enter standby"].Cause,
		Failed: in.memory.LastFailure(), Task: p.task,
		Leaving: in.memory.Leaving != agent.Stays, Launching: in.lifecycle() == model.LifecyclePendingWait}
	if serves := in.memory.Serves(in.observed, p.desired().Rules); !serves.IsZero() {
		self.Serving = agent.FleetRelease(serves)
		self.Failing = serves == in.memory.InService && p.down >= 0 && w.now-p.down >= grace
		if p.passing >= 0 {
			self.Passing = max(w.now-p.passing, 1)
		}
	}
	if r != nil {
		if _, ok := in.observed.Prepared[agent.LocalRelease(r.Release).Number]; ok {
			self.Candidate = rollout.Candidate{Release: r.Release.ID}
			if b := w.behaviour(r.Release.Model()); b != nil {
				self.Candidate.Task, self.Candidate.Reversible = b.Task, b.Reversible
			}
		}
	}
	return self
}
