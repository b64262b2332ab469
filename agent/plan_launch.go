package agent

import (
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// beyondHelp is how many starts in a row the app in service may need before
// the group is asked for another instance: with the back-off, some five minutes of trying.
const beyondHelp = 10

// finishLaunch completes the launch hook: CONTINUE once a release is in
// service, ABANDON when nothing is left to try and nothing better came.
func (p *plan) finishLaunch() {
	down := p.Port == 0 || !p.FailingSince.IsZero()
	helpless := down && p.Crashes[web].Count >= beyondHelp && (p.goal.IsZero() || isThe(p.goal, p.InService)) // another release may help
	if helpless && p.Membership.Lifecycle == model.LifecycleInService && !p.Replaced {
		p.do(Replace{Release: p.InService})
	}
	if !p.hookOpen() {
		return
	}
	if p.Serving && (!p.Rules.Balanced || p.Targets[p.Port].Healthy) {
		p.do(CompleteHook{Result: model.HookContinue})
		return
	}
	if p.abandoned() || helpless {
		p.do(CompleteHook{Result: model.HookAbandon})
	}
}

// abandoned says whether the launch is to be given up: each release that
// could serve has failed and none better came in time, or the hook's own limit is near.
func (p *plan) abandoned() bool {
	if !p.HookSince.IsZero() && p.now.Sub(p.HookSince) > hookLimit(p.Membership.HookTimeout) {
		return true
	}
	if !p.Known || !p.goal.IsZero() {
		return false
	}
	var last time.Time
	for _, f := range p.Failed {
		if f.At.After(last) {
			last = f.At
		}
	}
	return !last.IsZero() && p.now.Sub(last) >= p.Rules.HoldOnFailure
}

// hookLimit is how long heartbeats can keep a hook open, less two of its
// periods so that the agent's answer comes first: 48 hours or 100 times the
// heartbeat time-out, whichever is smaller.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
func hookLimit(timeout int) time.Duration {
	period := hookPeriod(timeout)
	return min(48*time.Hour, 100*period) - 2*period
}

// hookPeriod is a hook's heartbeat time-out, given in seconds; one that says none has AWS's default, an hour.
func hookPeriod(timeout int) time.Duration {
	if timeout <= 0 {
		return time.Hour
	}
	return time.Duration(timeout) * time.Second
}
