package autoscaling

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// launch enters a new instance into the records; the effect makes its machine.
func (s *Service) launch(g *group, st step, now time.Time) effect {
	if st.replace {
		g.replacing--
	}
	tags := map[string]string{"aws:autoscaling:groupName": g.Name}
	for _, t := range g.Tags {
		if t.Propagate {
			tags[t.Key] = t.Value
		}
	}
	id := newInstanceID()
	i := &instance{
		Instance: Instance{ID: id, Group: g.Name, Zone: st.zone, Address: s.opts.Address(id), Tags: tags},
		launched: now, protected: g.Protected, template: g.LaunchTemplate, config: g.LaunchConfiguration,
		busy: true, targets: map[string]bool{},
	}
	i.activity = g.begin(i, "Launching a new EC2 instance", st.cause, now)
	i.activity.note(statusPreInService)
	g.instances = append(g.instances, i)
	s.move(i, model.LifecyclePending)
	given := i.Instance
	given.Tags = maps.Clone(tags)
	return func(ctx context.Context) {
		machine, err := s.opts.Launcher.Launch(ctx, given)
		if err != nil {
			s.opts.Log.Warn("launch failed", zap.String("group", g.Name), zap.String("instance", id), zap.Error(err))
		}
		s.change(func(now time.Time) {
			i.busy = false
			switch {
			case err == nil:
			case i.leaving(): // terminated meanwhile: there is nothing to terminate
				i.activity.finish(statusSuccessful, "", now)
				s.drop(g, i)
				return
			default:
				i.activity.finish(statusFailed, fmt.Sprintf("%v. Launching EC2 instance failed.", err), now)
				g.lost(i, now, s.opts)
				s.drop(g, i)
				return
			}
			i.machine = machine
			s.work.Go(func() { s.watch(i, machine) })
		})
	}
}

// watch notices the end of a machine.
func (s *Service) watch(i *instance, machine Machine) {
	select {
	case <-s.ctx.Done():
		return
	case <-machine.Done():
	}
	s.change(func(time.Time) { i.gone = true })
	s.wake()
}

// drop takes an instance that has no machine out of its group.
func (s *Service) drop(g *group, i *instance) {
	s.move(i, model.LifecycleTerminated)
	g.instances = slices.DeleteFunc(g.instances, func(other *instance) bool { return other == i })
}

// register is the effect that registers an instance with a target group.
func (s *Service) register(i *instance, arn string) effect {
	i.busy = true
	return func(context.Context) {
		if err := s.opts.Traffic.RegisterInstance(arn, i.ID); err != nil {
			s.retry(i, "register the instance with "+arn, err)
			return
		}
		s.change(func(time.Time) { i.busy, i.targets[arn] = false, true })
	}
}

// deregister is the effect that takes an instance out of a target group, and learns how long it still drains.
func (s *Service) deregister(i *instance, arn string) effect {
	i.busy = true
	return func(context.Context) {
		delay, err := s.opts.Traffic.DeregisterInstance(arn, i.ID)
		if err != nil {
			s.retry(i, "deregister the instance from "+arn, err)
			return
		}
		s.change(func(now time.Time) {
			i.busy, i.failed = false, false
			delete(i.targets, arn)
			if until := now.Add(delay); until.After(i.drainUntil) {
				i.drainUntil = until
			}
			if i.state != model.LifecycleInService {
				i.activity.note(statusDraining)
			}
		})
	}
}

// switchOff is the effect that ends an instance's machine, and with it the instance.
func (s *Service) switchOff(g *group, i *instance) effect {
	i.busy = true
	i.activity.note(statusInProgress)
	machine := i.machine
	return func(ctx context.Context) {
		if err := machine.Terminate(ctx); err != nil {
			s.retry(i, "end the machine", err)
			return
		}
		s.change(func(now time.Time) {
			i.busy, i.gone = false, true
			i.activity.finish(statusSuccessful, "", now)
			s.drop(g, i)
		})
	}
}

// watchHealth reads the target health of the instances of groups that want it.
func (s *Service) watchHealth() {
	ticker := time.NewTicker(s.opts.HealthInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.readHealth()
		}
	}
}

func (s *Service) readHealth() {
	type pair struct {
		g *group
		a *attachment
		i *instance
	}
	var pairs []pair
	s.change(func(time.Time) {
		for _, g := range s.groups {
			if g.HealthCheckType != healthELB {
				continue
			}
			for _, i := range g.instances {
				for _, a := range g.attachments {
					if i.state == model.LifecycleInService && i.targets[a.arn] && !a.removing {
						pairs = append(pairs, pair{g, a, i})
					}
				}
			}
		}
	})
	type answer struct{ known, healthy bool }
	answers := make([]answer, len(pairs))
	for n, p := range pairs {
		answers[n].known, answers[n].healthy = s.opts.Traffic.Healthy(p.a.arn, p.i.ID)
	}
	s.change(func(time.Time) {
		failed := map[*instance]bool{}
		for n, p := range pairs {
			if answers[n].known && answers[n].healthy {
				p.a.passed = true
			}
			// A target group in which no instance ever passed replaces none.
			// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeLoadBalancerTargetGroups.html
			failed[p.i] = failed[p.i] || (p.a.passed && answers[n].known && !answers[n].healthy)
		}
		for i, bad := range failed {
			i.failed = bad
		}
	})
	s.wake()
}
