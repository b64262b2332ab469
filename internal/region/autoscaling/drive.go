package autoscaling

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// effect is work outside of the lock that a step asked for. It ends by changing the records under the lock.
type effect func(ctx context.Context)

// retryDelay is the time until an effect that failed is tried again.
const retryDelay = time.Second

// drive carries out what next decides until the service ends.
func (s *Service) drive() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.poke:
		case <-timer.C:
		}
		effects, wake := s.round()
		for _, e := range effects {
			s.work.Go(func() {
				ctx, cancel := context.WithTimeout(s.ctx, s.opts.EffectTimeout)
				defer cancel()
				e(ctx)
				s.wake()
			})
		}
		timer.Stop()
		if !wake.IsZero() {
			timer.Reset(time.Until(wake))
		}
	}
}

// round lets every group take its steps until none has any, and tells the transitions that they made.
func (s *Service) round() (effects []effect, wake time.Time) {
	s.mu.Lock()
	for _, name := range s.names() {
		g := s.groups[name]
		for {
			now := time.Now()
			steps, at := next(g, now)
			if len(steps) == 0 {
				wake = sooner(wake, at)
				break
			}
			for _, st := range steps {
				if e := s.apply(g, st, now); e != nil {
					effects = append(effects, e)
				}
			}
			if s.groups[name] == nil {
				break
			}
		}
	}
	notices := s.notices
	s.notices = nil
	s.mu.Unlock()
	for _, n := range notices {
		s.opts.OnTransition(n.instance, n.current, TargetState(n.current))
	}
	return effects, wake
}

// apply takes one step in the records and gives the effect that it needs, if any. The caller holds the lock.
func (s *Service) apply(g *group, st step, now time.Time) effect {
	i := g.instance(st.instance)
	switch st.do {
	case doLaunch:
		return s.launch(g, st, now)
	case doFullHealth:
		g.replacing = 0
	case doDetach:
		g.detach(st.arn)
	case doForget:
		s.forget(g)
	case doHold:
		s.hold(g, i, now)
	case doExpire:
		i.expire(st.token)
	case doProceed:
		s.proceed(i)
	case doRegister:
		if st.skip {
			i.targets[st.arn] = false
			return nil
		}
		return s.register(i, st.arn)
	case doDeregister:
		return s.deregister(i, st.arn)
	case doEnter:
		i.returning = false
		if i.inService.IsZero() {
			i.inService = now
		}
		i.activity.finish(statusSuccessful, "", now)
		s.move(i, model.LifecycleInService)
	case doStandby:
		i.activity.finish(statusSuccessful, "", now)
		s.move(i, model.LifecycleStandby)
	case doTerminate:
		s.terminate(g, i, st, now)
	case doSwitchOff:
		return s.switchOff(g, i)
	}
	return nil
}

// terminate begins the end of an instance.
func (s *Service) terminate(g *group, i *instance, st step, now time.Time) {
	why := i.abandoned
	if why == "" {
		why = "The instance was terminated before it was in service."
	}
	i.activity.finish(statusCancelled, why, now) // its launch, if that goes on
	if st.replace {
		g.replacing++
		g.lost(i, now, s.opts)
	}
	i.activity = g.begin(i, "Terminating EC2 instance", st.cause, now)
	i.actions, i.hooked, i.returning, i.retryAt = nil, false, false, time.Time{}
	s.move(i, model.LifecycleTerminating)
}

// lost counts a launch that came to nothing, or to nothing for long, and puts off the next one. Several losses within
// one delay count once.
func (g *group) lost(i *instance, now time.Time, opts Options) {
	if !i.inService.IsZero() && now.Sub(i.inService) >= steady {
		g.failures = 0
		return
	}
	if now.Before(g.launchAfter) {
		return
	}
	g.failures++
	delay := time.Duration(0)
	if g.failures > 1 {
		delay = opts.BackoffLimit
		if shift := g.failures - 2; shift < 30 {
			delay = min(delay, opts.BackoffBase<<shift)
		}
	}
	g.launchAfter = now.Add(delay)
}

// proceed moves an instance on whose hooks are all done.
func (s *Service) proceed(i *instance) {
	i.activity.note(statusInProgress)
	if i.state == model.LifecyclePendingWait {
		s.move(i, model.LifecyclePendingProceed)
		return
	}
	s.move(i, model.LifecycleTerminatingProceed)
}

// forget drops a group; its history is kept.
func (s *Service) forget(g *group) {
	for _, a := range g.activities {
		a.deleted = true
	}
	s.deleted = append(s.deleted, g.activities...)
	if extra := len(s.deleted) - maxActivities; extra > 0 {
		s.deleted = append([]*activity(nil), s.deleted[extra:]...)
	}
	delete(s.groups, g.Name)
}

// change runs f under the lock.
func (s *Service) change(f func(now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(time.Now())
}

// retry ends an effect that failed: it is tried again later.
func (s *Service) retry(i *instance, what string, err error) {
	s.opts.Log.Warn("will be tried again", zap.String("group", i.Group), zap.String("instance", i.ID),
		zap.String("what", what), zap.Error(err))
	s.change(func(now time.Time) {
		i.busy, i.retryAt = false, now.Add(retryDelay)
		if i.activity != nil && i.activity.end.IsZero() {
			i.activity.message = fmt.Sprintf("%s: %v", what, err)
		}
	})
}
