package autoscaling

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bootagent/bootagent/internal/model"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// member makes an instance of a test group that was launched an hour ago and is at rest in that state.
func member(id string, state model.Lifecycle, change ...func(*instance)) *instance {
	i := &instance{Instance: Instance{ID: id, Zone: "a"}, state: state, launched: noon.Add(-time.Hour), targets: map[string]bool{}}
	if state == model.LifecycleInService || state == model.LifecycleStandby {
		i.inService = noon.Add(-time.Hour)
	}
	for _, c := range change {
		c(i)
	}
	return i
}

func TestWhatAGroupDoesNext(t *testing.T) {
	t.Parallel()
	const tg = "arn:tg"
	hook := Hook{Name: "boot", Transition: Launching}.withDefaults()
	last := Hook{Name: "drain", Transition: Terminating}.withDefaults()
	waiting := func(deadline time.Time) func(*instance) {
		return func(i *instance) { i.actions = []action{{token: "T", hook: hook, deadline: deadline}} }
	}
	registered := func(i *instance) { i.targets[tg] = true }
	gone := func(i *instance) { i.gone = true }
	busy := func(i *instance) { i.busy = true }
	attached := func(g *group) { g.attachments = []*attachment{{arn: tg}} }
	suspend := func(p string) func(*group) { return func(g *group) { g.suspended[p] = "test" } }
	elb := func(g *group) { g.HealthCheckType = healthELB; g.GracePeriod = 10 * time.Minute }

	for _, c := range []struct {
		name      string
		desired   int
		group     []func(*group)
		instances []*instance
		want      []string // "verb instance detail"
		wake      time.Duration
	}{
		// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
		{name: "an empty group launches what it lacks, spread over its zones", desired: 3, want: []string{"launch a", "launch b", "launch a"}},
		{name: "a new instance goes to the zone with the fewest", desired: 2, instances: []*instance{member("i1", model.LifecycleInService)},
			want: []string{"launch b"}},
		{name: "a launch under way counts, so nothing is launched twice", desired: 1,
			instances: []*instance{member("i1", model.LifecyclePending, busy)}},
		{name: "launches wait for the back-off", desired: 1, group: []func(*group){func(g *group) { g.launchAfter = noon.Add(4 * time.Second) }},
			wake: 4 * time.Second},
		{name: "Launch is suspended", desired: 1, group: []func(*group){suspend(processLaunch)}},

		{name: "no hook: a launched instance enters service", desired: 1, instances: []*instance{member("i1", model.LifecyclePending)},
			want: []string{"enter i1"}},
		{name: "a launch hook holds it in Pending:Wait", desired: 1, group: []func(*group){func(g *group) { g.Hooks = []Hook{hook, last} }},
			instances: []*instance{member("i1", model.LifecyclePending)}, want: []string{"hold i1"}},
		{name: "an open hook waits for its deadline", desired: 1,
			instances: []*instance{member("i1", model.LifecyclePendingWait, waiting(noon.Add(time.Minute)))}, wake: time.Minute},
		{name: "a hook whose time is over expires", desired: 1,
			instances: []*instance{member("i1", model.LifecyclePendingWait, waiting(noon))}, want: []string{"expire i1 T"}},
		{name: "all hooks completed: Pending:Proceed", desired: 1, instances: []*instance{member("i1", model.LifecyclePendingWait)},
			want: []string{"proceed i1"}},
		{name: "Pending:Proceed enters service", desired: 1, instances: []*instance{member("i1", model.LifecyclePendingProceed)},
			want: []string{"enter i1"}},
		{name: "an abandoned launch is terminated", desired: 1,
			instances: []*instance{member("i1", model.LifecyclePendingWait, func(i *instance) { i.abandoned = "why" })},
			want:      []string{"terminate i1 replace"}},
		{name: "a machine that dies in Pending:Wait is terminated at once", desired: 1,
			instances: []*instance{member("i1", model.LifecyclePendingWait, waiting(noon.Add(time.Hour)), gone)}, want: []string{"terminate i1 replace"}},

		// https://docs.aws.amazon.com/autoscaling/ec2/userguide/attach-load-balancer-asg.html
		{name: "an attached target group gets the instance at the end of Pending", desired: 1, group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecyclePendingProceed)}, want: []string{"register i1"}},
		{name: "and then it enters service", desired: 1, group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecyclePendingProceed, registered)}, want: []string{"enter i1"}},
		{name: "AddToLoadBalancer is suspended: left out", desired: 1, group: []func(*group){attached, suspend(processAddToBalancer)},
			instances: []*instance{member("i1", model.LifecyclePendingProceed)}, want: []string{"register i1 skip"}},
		{name: "resuming does not add the one left out", desired: 1, group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecycleInService, func(i *instance) { i.targets[tg] = false })}},
		{name: "a target group attached later gets those in service", desired: 1, group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecycleInService)}, want: []string{"register i1"}},
		{name: "a target group being detached loses its instances", desired: 1,
			group:     []func(*group){attached, func(g *group) { g.attachments[0].removing = true }},
			instances: []*instance{member("i1", model.LifecycleInService, registered)}, want: []string{"deregister i1"}},
		{name: "and is detached when it has none", desired: 1, group: []func(*group){attached, func(g *group) { g.attachments[0].removing = true }},
			instances: []*instance{member("i1", model.LifecycleInService)}, want: []string{"detach"}},

		{name: "in service and healthy: nothing to do", desired: 1, instances: []*instance{member("i1", model.LifecycleInService)}},
		{name: "a dead machine is replaced, grace period or not", desired: 1, group: []func(*group){elb},
			instances: []*instance{member("i1", model.LifecycleInService, gone, func(i *instance) { i.inService = noon })},
			want:      []string{"terminate i1 replace"}},
		{name: "while HealthCheck is suspended it is not", desired: 1, group: []func(*group){suspend(processHealthCheck)},
			instances: []*instance{member("i1", model.LifecycleInService, gone)}},
		{name: "nor while ReplaceUnhealthy is", desired: 1, group: []func(*group){suspend(processReplaceUnhealthy)},
			instances: []*instance{member("i1", model.LifecycleInService, gone)}},
		{name: "marked unhealthy", desired: 1, instances: []*instance{member("i1", model.LifecycleInService, func(i *instance) { i.marked = true })},
			want: []string{"terminate i1 replace"}},
		{name: "failed ELB checks count after the grace period", desired: 1, group: []func(*group){elb},
			instances: []*instance{member("i1", model.LifecycleInService, func(i *instance) { i.failed = true })}, want: []string{"terminate i1 replace"}},
		{name: "and not before", desired: 1, group: []func(*group){elb},
			instances: []*instance{member("i1", model.LifecycleInService, func(i *instance) { i.failed, i.inService = true, noon })}, wake: 10 * time.Minute},
		{name: "failed ELB checks mean nothing to a group of type EC2", desired: 1,
			instances: []*instance{member("i1", model.LifecycleInService, func(i *instance) { i.failed = true })}},
		{name: "a terminating instance does not count: its replacement is launched meanwhile", desired: 1,
			group:     []func(*group){func(g *group) { g.replacing = 1 }},
			instances: []*instance{member("i1", model.LifecycleTerminating, busy)}, want: []string{"launch a replace"}},
		{name: "back at full size nothing is left to be replaced", desired: 1, group: []func(*group){func(g *group) { g.replacing = 1 }},
			instances: []*instance{member("i1", model.LifecycleInService)}, want: []string{"full health"}},

		{name: "scale in takes the oldest", desired: 1,
			instances: []*instance{member("old", model.LifecycleInService), member("new", model.LifecycleInService)}, want: []string{"terminate old"}},
		{name: "NewestInstance takes the newest", desired: 1, group: []func(*group){func(g *group) { g.TerminationPolicies = []string{"NewestInstance"} }},
			instances: []*instance{member("old", model.LifecycleInService), member("new", model.LifecycleInService)}, want: []string{"terminate new"}},
		{name: "but never a protected one", desired: 0,
			instances: []*instance{member("old", model.LifecycleInService, func(i *instance) { i.protected = true }), member("new", model.LifecycleInService)},
			want:      []string{"terminate new"}},
		{name: "Terminate is suspended", desired: 0, group: []func(*group){suspend(processTerminate)},
			instances: []*instance{member("i1", model.LifecycleInService)}},

		// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html: deregistered first, drained, then the hook.
		{name: "on its way out an instance is deregistered first", group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecycleTerminating, registered)}, want: []string{"deregister i1"}},
		{name: "then it drains", group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecycleTerminating, func(i *instance) { i.drainUntil = noon.Add(30 * time.Second) })}, wake: 30 * time.Second},
		{name: "a dead one need not", group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecycleTerminating, gone, func(i *instance) { i.drainUntil = noon.Add(30 * time.Second) })},
			want:      []string{"switch off i1"}},
		{name: "then its hooks are opened", group: []func(*group){func(g *group) { g.Hooks = []Hook{hook, last} }},
			instances: []*instance{member("i1", model.LifecycleTerminating)}, want: []string{"hold i1"}},
		{name: "once they are completed it proceeds", instances: []*instance{member("i1", model.LifecycleTerminatingWait)}, want: []string{"proceed i1"}},
		{name: "and is switched off", instances: []*instance{member("i1", model.LifecycleTerminatingProceed)}, want: []string{"switch off i1"}},
		{name: "an effect that failed is not tried again at once",
			instances: []*instance{member("i1", model.LifecycleTerminatingProceed, func(i *instance) { i.retryAt = noon.Add(time.Second) })}, wake: time.Second},

		// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
		{name: "into standby: deregistered first", desired: 0, group: []func(*group){attached},
			instances: []*instance{member("i1", model.LifecycleEnteringStandby, registered)}, want: []string{"deregister i1"}},
		{name: "then standby", instances: []*instance{member("i1", model.LifecycleEnteringStandby)}, want: []string{"standby i1"}},
		{name: "standby does not count", desired: 1, instances: []*instance{member("i1", model.LifecycleStandby)}, want: []string{"launch a"}},
		{name: "nobody checks the health of a standby", instances: []*instance{member("i1", model.LifecycleStandby, gone)}},
		{name: "no launch hook on the way back", desired: 1, group: []func(*group){func(g *group) { g.Hooks = []Hook{hook} }},
			instances: []*instance{member("i1", model.LifecyclePending, func(i *instance) { i.returning = true })}, want: []string{"enter i1"}},

		{name: "a deleted group ends everything, protected and standby too", group: []func(*group){func(g *group) { g.deleting = true; g.Hooks = []Hook{last} }},
			instances: []*instance{member("i1", model.LifecycleInService, func(i *instance) { i.protected = true }), member("i2", model.LifecycleStandby)},
			want:      []string{"terminate i1", "terminate i2"}},
		{name: "without hooks", group: []func(*group){func(g *group) { g.deleting = true; g.Hooks = []Hook{last} }},
			instances: []*instance{member("i1", model.LifecycleTerminating)}, want: []string{"switch off i1"}},
		{name: "and is forgotten at last", group: []func(*group){func(g *group) { g.deleting = true }}, want: []string{"forget"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := &group{GroupConfig: GroupConfig{Name: "g", Desired: c.desired, Max: 10, Zones: []string{"a", "b"}, HealthCheckType: healthEC2},
				suspended: map[string]string{}, instances: c.instances}
			for _, change := range c.group {
				change(g)
			}
			steps, wake := next(g, noon)
			var got []string
			for _, s := range steps {
				got = append(got, describe(s))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			var want time.Time
			if c.wake > 0 {
				want = noon.Add(c.wake)
			}
			if !wake.Equal(want) {
				t.Errorf("wake at %v, want %v", wake, want)
			}
		})
	}
}

func describe(s step) string {
	words := []string{string(s.do)}
	for _, w := range []string{s.instance, s.zone, s.token} {
		if w != "" {
			words = append(words, w)
		}
	}
	if s.skip {
		words = append(words, "skip")
	}
	if s.replace {
		words = append(words, "replace")
	}
	return strings.Join(words, " ")
}

// Whatever state a group is in, if every effect works and every hook is continued, it comes to rest at its desired
// capacity in a bounded number of steps.
func TestAGroupAlwaysComesToRest(t *testing.T) {
	t.Parallel()
	states := []model.Lifecycle{model.LifecyclePending, model.LifecyclePendingWait, model.LifecyclePendingProceed, model.LifecycleInService,
		model.LifecycleTerminating, model.LifecycleTerminatingWait, model.LifecycleTerminatingProceed, model.LifecycleEnteringStandby, model.LifecycleStandby}
	rapid.Check(t, func(t *rapid.T) {
		s := &Service{opts: Options{Launcher: nowhere{}, Traffic: &fakeTraffic{groups: map[string]bool{"tg": true}}, BackoffBase: time.Second, BackoffLimit: time.Minute,
			Address: func(string) string { return "127.0.0.1" }, Log: silent}, groups: map[string]*group{}}
		s.ctx, s.cancel = context.WithCancel(context.Background())
		defer s.work.Wait()
		defer s.cancel()
		g := &group{GroupConfig: GroupConfig{Name: "g", Zones: []string{"a"}, HealthCheckType: healthEC2}, suspended: map[string]string{}}
		g.Desired = rapid.IntRange(0, 4).Draw(t, "desired")
		if rapid.Bool().Draw(t, "hooks") {
			g.Hooks = []Hook{Hook{Name: "l", Transition: Launching}.withDefaults(), Hook{Name: "t", Transition: Terminating}.withDefaults()}
		}
		if rapid.Bool().Draw(t, "attached") {
			g.attachments = []*attachment{{arn: "tg", removing: rapid.Bool().Draw(t, "removing")}}
		}
		s.groups["g"] = g
		for n := range rapid.IntRange(0, 5).Draw(t, "instances") {
			i := member(fmt.Sprint("i", n), rapid.SampledFrom(states).Draw(t, "state"))
			i.machine = &fakeMachine{done: make(chan struct{})}
			i.gone, i.marked = rapid.Bool().Draw(t, "gone"), rapid.Bool().Draw(t, "marked")
			if rapid.Bool().Draw(t, "registered") && i.state != model.LifecycleStandby { // which it only enters deregistered
				i.targets["tg"] = true
			}
			g.instances = append(g.instances, i)
		}
		now := noon
		for n := 0; ; n++ {
			if n > 200 {
				t.Fatalf("no rest after %d rounds: %+v", n, g.instances)
			}
			for _, i := range g.instances {
				i.actions = nil // CONTINUE
			}
			steps, wake := next(g, now)
			if len(steps) == 0 && wake.IsZero() {
				break
			}
			if !wake.IsZero() {
				now = wake
			}
			for _, st := range steps {
				if e := s.apply(g, st, now); e != nil {
					e(t.Context())
				}
			}
		}
		for _, i := range g.instances {
			if i.state != model.LifecycleInService && i.state != model.LifecycleStandby {
				t.Fatalf("%s rests in %s", i.ID, i.state)
			}
		}
		if got := g.capacity(); got != g.Desired {
			t.Fatalf("at rest with %d of %d instances", got, g.Desired)
		}
		for _, a := range g.attachments {
			if a.removing {
				t.Fatal("at rest, but a target group is still being removed")
			}
		}
	})
}
