package sim

import (
	"errors"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/rollout"
)

// paced drives a process request by request, from an account that its whole fleet shares. Each of the daemon's watchers looks
// when production's would (agent.Pace), and each step asks what production's asks.
type paced struct {
	*process
	account   *account
	polls     map[string]*poll
	published rollout.Published
	seen      bool             // the parameter was read
	record    *rollout.Rollout // as it was read last
	read      []string         // what the last decision wants to read
	grouped   bool             // the target groups were asked for
	turns     int
}

// poll is a watcher: it looks again after the pause that it asked for, or at once when it is nudged.
type poll struct {
	look            func(done func(time.Duration, error))
	looking, nudged bool
	failures, turn  int
}

// What production's watchers have for constants of their own.
const (
	idlePause = 24 * time.Hour
	unseen    = 10 * time.Second
	unreached = time.Minute
	contended = 500 * time.Millisecond
)

// drive starts the watchers.
func (p *paced) drive() {
	p.polls = map[string]*poll{}
	for _, watch := range []struct {
		name string
		look func(func(time.Duration, error))
	}{
		{"release", p.watchRelease}, {"records", p.watchRecords}, {"fleet", p.watchFleet}, {"membership", p.watchMembership}, {"targets", p.watchTargets},
	} {
		p.polls[watch.name] = &poll{look: watch.look}
		p.again(p.polls[watch.name])
	}
	p.in.observed.TargetsKnown = false
	p.heartbeat()
	p.turn()
}

func (p *paced) again(q *poll) {
	if p.dead() {
		return
	}
	w := p.in.w
	q.looking, q.nudged = true, false
	q.turn++
	turn := q.turn
	q.look(func(pause time.Duration, err error) {
		if q.looking = false; err != nil {
			q.failures++
			pause = max(pause, min(time.Second<<min(q.failures, 6), time.Minute))
		} else {
			q.failures = 0
		}
		if pause = pause*4/5 + w.between(0, pause*2/5); q.nudged {
			pause = 0
		}
		w.after(pause, func() {
			if q.turn == turn {
				p.again(q)
			}
		})
	})
}

func (p *paced) nudge(name string) {
	q := p.polls[name]
	if q.looking || q.nudged {
		q.nudged = true
		return
	}
	q.turn++
	q.nudged = true
	p.in.w.after(0, func() { p.again(q) })
}

// turn is a round of the daemon's loop. Production takes one each second; here who rests sleeps.
func (p *paced) turn() {
	if p.dead() {
		return
	}
	p.sense()
	p.act()
	pause := time.Second
	if p.quiet >= 0 {
		pause = time.Minute
	}
	p.turns++
	turn := p.turns
	p.in.w.after(pause, func() {
		if p.turns == turn {
			p.turn()
		}
	})
}

func (p *paced) pace() agent.Pace {
	slot := false
	if p.record != nil {
		part, ok := p.record.Parts[p.in.id]
		slot = ok && part.Open()
	}
	return agent.Pace{Group: p.in.observed.Membership.Desired, Slot: slot || p.decision.RunTask, Leads: p.decision.Leads}
}

// fresh is production's rule: what was read less than agent.Fresh ago will do, or the records are asked for.
func (p *paced) fresh(step agent.Step) bool {
	if !agent.NeedsFresh(step, p.in.memory) || p.known && (p.alone || p.in.w.now-p.reached <= agent.Fresh) {
		return true
	}
	p.nudge("records")
	return false
}

func (p *paced) watchRelease(done func(time.Duration, error)) {
	p.account.call("ssm:GetParameters", func(err error) {
		if err != nil {
			done(0, err)
			return
		}
		was := p.published
		p.published = p.in.w.published(p.process)
		if !p.seen || was.Number != p.published.Number || was.Mirror.ID != p.published.Mirror.ID {
			p.nudge("records")
		}
		p.seen = true
		done(p.pace().Release(), nil)
	})
}

// watchRecords reads the records one after the other, decides, and writes.
func (p *paced) watchRecords(done func(time.Duration, error)) {
	w := p.in.w
	at, mono := w.now, p.mono()
	view := rollout.View{Records: map[string]rollout.Record{}}
	keys := append([]string{rollout.RolloutKey, rollout.StableKey}, p.read...)
	var next func(int)
	next = func(i int) {
		if i == len(keys) {
			view.Reached = true
			p.decided(view, at, mono, nil, done)
			return
		}
		p.account.get(keys[i], func(err error) {
			switch key := keys[i]; {
			case err != nil:
				p.decided(rollout.View{}, at, mono, err, done)
				return
			case key == rollout.RolloutKey:
				view.Rollout = w.table.rollout
			case key == rollout.StableKey:
				view.Stable = w.table.stable
			default:
				view.Records[key] = w.table.get(key)
			}
			next(i + 1)
		})
	}
	next(0)
}

func (p *paced) decided(view rollout.View, at, mono time.Duration, failed error, done func(time.Duration, error)) {
	w := p.in.w
	var d rollout.Decision
	switch {
	case p.dead():
		return
	case !p.seen && at-p.born < unseen:
	case view.Reached, at-max(p.reached, p.born) >= unreached:
		view.Published, view.Group, view.Resolution, view.Defaults, view.Self = p.published, p.group, p.resolved, w.scenario.Policy, p.self(view.Rollout)
		watched := p.decision.Watch
		p.decision, p.memory = w.mutation.step(view, p.memory, mono)
		p.known, p.alone = true, !view.Reached
		p.leads()
		if view.Reached {
			p.reached, p.record = at, view.Rollout
		}
		if d = p.decision; d.Watch && !watched {
			p.nudge("fleet")
		}
	}
	p.read = d.Read
	pause := p.pace().Records()
	switch {
	case !p.seen:
		pause = min(pause, unseen/4)
	case d.Idle:
		pause = idlePause
	}
	p.turn()
	if failed != nil {
		done(min(pause, rollout.Renew/2), nil)
		return
	}
	by := actor{name: p.in.id, seen: p.in.process.seen, decided: w.now, led: p.led, process: p.process}
	if view.Rollout != nil {
		by.knew = view.Rollout.Parts
	}
	p.mirror(d.Mirror, func(err error) {
		if err != nil {
			done(0, err)
			return
		}
		d.Mirror = rollout.Release{}
		p.follow(d)
		p.apply(by, d, 0, pause, done)
	})
}

// apply writes what was decided, one after the other until one fails.
func (p *paced) apply(by actor, d rollout.Decision, i int, pause time.Duration, done func(time.Duration, error)) {
	w := p.in.w
	if i == len(d.Writes) {
		if i > 0 || len(d.Read) > 0 {
			pause = 0
		}
		done(pause, nil)
		return
	}
	write := d.Writes[i]
	p.account.write(write.Changes, func(err error) {
		switch {
		case p.dead():
		case err != nil:
			done(0, err)
		default:
			if err := w.table.apply(by, write.Why, write.Changes); errors.Is(err, rollout.ErrConflict) {
				done(w.between(0, contended), nil)
				return
			}
			p.apply(by, d, i+1, pause, done)
		}
	})
}

func (p *paced) mirror(to rollout.Release, then func(error)) {
	w := p.in.w
	if !w.labels(to) {
		then(nil)
		return
	}
	p.account.call("ssm:GetParameterHistory", func(err error) {
		if err != nil {
			then(err)
			return
		}
		p.account.call("ssm:LabelParameterVersion", func(err error) {
			if err == nil {
				w.label(p.in, to)
				p.published.Mirror = rollout.Release{ID: to.ID}
			}
			then(err)
		})
	})
}
