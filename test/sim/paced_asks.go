package sim

import (
	"slices"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
)

// watchFleet looks at the group and the balancer while this agent leads.
func (p *paced) watchFleet(done func(time.Duration, error)) {
	w := p.in.w
	if !p.decision.Watch {
		done(idlePause, nil)
		return
	}
	at := p.mono()
	p.all(func(err error) {
		if err == nil {
			p.group, p.process.seen = w.mutation.group(w.group(at)), w.truth()
			p.nudge("records")
		}
		done(p.pace().Look(), err)
	}, "autoscaling:DescribeAutoScalingGroups", "elasticloadbalancing:DescribeTargetHealth")
}

func (p *paced) watchMembership(done func(time.Duration, error)) {
	p.all(func(err error) {
		if err == nil && p.in.observed.Membership.Desired == 0 {
			p.nudge("fleet")
		}
		p.in.observed.Membership.Desired = p.in.w.desired
		done(time.Hour, err)
	}, "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeLifecycleHooks")
}

// watchTargets asks for the target group first, and then for this instance's own targets.
func (p *paced) watchTargets(done func(time.Duration, error)) {
	health := func(err error) {
		if err != nil {
			done(p.pace().Again(), err)
			return
		}
		p.grouped = p.grouped || p.in.observed.TargetsKnown
		p.all(func(err error) {
			switch {
			case err != nil:
				done(p.pace().Again(), err)
			case p.grouped:
				done(p.pace().Targets(false), nil)
			default:
				p.in.observed.TargetsKnown = true
				p.turn()
				done(p.pace().Later(), nil)
			}
		}, "elasticloadbalancing:DescribeTargetHealth")
	}
	if p.grouped || !p.in.observed.TargetsKnown {
		health(nil)
		return
	}
	p.all(health, "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetGroupAttributes")
}

// all makes calls one after the other until one fails.
func (p *paced) all(then func(error), actions ...string) {
	if len(actions) == 0 {
		then(nil)
		return
	}
	p.account.call(actions[0], func(err error) {
		switch {
		case p.dead():
		case err != nil:
			then(err)
		default:
			p.all(then, actions[1:]...)
		}
	})
}

// heartbeat keeps the launch hook open: three beats a time-out.
func (p *paced) heartbeat() {
	if p.dead() || p.in.lifecycle() != model.LifecyclePendingWait {
		return
	}
	p.account.call("autoscaling:RecordLifecycleActionHeartbeat", func(error) { p.in.hookSince = p.in.w.now })
	p.in.w.after(time.Duration(p.in.w.scenario.Hook)*time.Second/3, p.heartbeat)
}

// requests are what a step asks of AWS.
func (p *paced) requests(step agent.Step, answer func(error)) {
	switch s := step.(type) {
	case agent.Start:
		p.account.call("ssm:GetParametersByPath", answer)
	case agent.Register:
		p.account.call("elasticloadbalancing:RegisterTargets", answer)
	case agent.Deregister:
		p.account.call("elasticloadbalancing:DeregisterTargets", answer)
	case agent.CompleteHook:
		p.account.call("autoscaling:CompleteLifecycleAction", answer)
	case agent.AwaitBalancer:
		first, longest := p.pace().Await(0)
		p.await(s, p.in.w.now+2*time.Minute, first, longest, answer)
	default:
		answer(nil)
	}
}

// await asks the balancer again and again, as production does: after a pause that grows, further in a large group.
func (p *paced) await(s agent.AwaitBalancer, until, pause, longest time.Duration, answer func(error)) {
	w := p.in.w
	p.account.call("elasticloadbalancing:DescribeTargetHealth", func(err error) {
		switch {
		case p.dead():
		case err == nil && p.in.observed.Targets[s.Port].Healthy:
			answer(nil)
		case w.now >= until:
			answer(errNetwork)
		default:
			w.after(pause, func() { p.await(s, until, min(pause*5/4, longest), longest, answer) })
		}
	})
}

// ended is what production's loop does after a step.
func (p *paced) ended(step agent.Step) {
	switch step.(type) {
	case agent.Prepare, agent.Promote, agent.Check, agent.AwaitBalancer:
		p.nudge("records")
	case agent.CompleteHook:
		p.nudge("membership")
	case agent.Deregister:
		p.nudge("targets")
	}
	p.in.w.after(0, p.turn)
}

// allServe says whether every instance is in service, and serves a revision.
func (w *world) allServe(revision string) bool {
	all := w.listed()
	return len(all) == w.desired && !slices.ContainsFunc(all, func(in *instance) bool {
		return in.memory.InService.Revision != revision || !in.healthy() || in.lifecycle() != model.LifecycleInService
	})
}
