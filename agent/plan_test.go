package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	rules = Rules{
		App: "shop", Balanced: true, FirstPort: 8080, LastPort: 8082,
		UnhealthyGrace: 30 * time.Second, HoldOnFailure: 5 * time.Minute,
	}
	one, two, three = rel(1), rel(2), rel(3)
)

func rel(n int64) model.Release {
	return model.Release{Number: n, Ref: fmt.Sprintf("v%d", n), Revision: fmt.Sprintf("%040d", n)}
}

// The little language in which the cases are written: a scene starts as a
// fresh instance and each option adds something that is, should be, or is remembered.
type is func(*Observed, *Desired, *Memory)

func scenery(options ...is) (Observed, Desired, Memory) {
	o := Observed{Prepared: map[int64]deploy.Prepared{}, Targets: map[int]Target{}, TargetsKnown: true, UnitsKnown: true, Listening: map[int]bool{}, Passed: map[Incarnation]bool{}}
	d := Desired{Known: true, Rules: rules}
	m := Memory{Schema: MemorySchema, Ports: map[int]PortUse{}, Failed: map[string]Failure{}, Retries: map[string]Retry{}, Crashes: map[string]Retry{}}
	for _, option := range options {
		option(&o, &d, &m)
	}
	return o, d, m
}

func newest(r model.Release) is { return func(_ *Observed, d *Desired, _ *Memory) { d.Goal = r } }
func ready(r model.Release) is  { return func(_ *Observed, d *Desired, _ *Memory) { d.Ready = r } }
func unread() is                { return func(_ *Observed, d *Desired, _ *Memory) { d.Known = false } }
func balancerUnread() is {
	return func(o *Observed, _ *Desired, _ *Memory) { o.TargetsKnown = false }
}
func unbalanced() is {
	return func(_ *Observed, d *Desired, _ *Memory) { d.Rules.Balanced = false }
}
func restarts() is {
	return func(_ *Observed, d *Desired, _ *Memory) { d.Rules.Restart = true }
}
func attached() is { // put it first
	return func(o *Observed, d *Desired, _ *Memory) {
		d.Rules.Balanced, d.Rules.Attached, d.Rules.Restart, d.Rules.FirstPort, d.Rules.LastPort = false, true, true, 0, 0
		o.GroupPort = 8080
	}
}
func prepared(rs ...model.Release) is {
	return func(o *Observed, _ *Desired, _ *Memory) {
		for _, r := range rs {
			o.Prepared[r.Number] = deploy.Prepared{Release: r, Recipe: recipe.Recipe{Processes: []recipe.Process{
				{Name: web, Port: true, Overlap: true}, {Name: "worker"},
			}}}
		}
	}
}
func runs(r model.Release, port int) is { return running(r, web, port, 100+port) }
func worker(r model.Release) is         { return running(r, "worker", 0, int(r.Number)) }
func running(r model.Release, process string, port, pid int) is {
	return func(o *Observed, _ *Desired, _ *Memory) {
		o.Units = append(o.Units, unit.Status{
			Spec:  unit.Spec{Name: UnitName("shop", r.Number, process), Release: r, Process: process, Port: port},
			State: unit.Running, PID: pid,
		})
	}
}
func exited(r model.Release, port int) is {
	return func(o *Observed, _ *Desired, _ *Memory) {
		o.Units = append(o.Units, unit.Status{
			Spec:  unit.Spec{Name: UnitName("shop", r.Number, web), Release: r, Process: web, Port: port},
			State: unit.Exited, ExitCode: 1,
		})
	}
}
func passed(r model.Release, port int) is {
	return func(o *Observed, _ *Desired, _ *Memory) {
		o.Passed[Incarnation{UnitName("shop", r.Number, web), 100 + port}] = true
	}
}
func target(port int, t Target) is {
	return func(o *Observed, _ *Desired, _ *Memory) { o.Targets[port] = t }
}
func used(r model.Release, port int, use PortUse) is {
	return func(_ *Observed, _ *Desired, m *Memory) { use.Release = r; m.Ports[port] = use }
}
func inService(r model.Release, port int) is {
	return func(o *Observed, d *Desired, m *Memory) {
		m.InService, m.Port, m.Serving = r, port, true
		prepared(r)(o, d, m)
		if port != 0 {
			m.Ports[port] = PortUse{Release: r}
			o.Targets[port] = initialTarget.healthy()
		}
	}
}
func leftOver(ports ...int) is  { return func(_ *Observed, _ *Desired, m *Memory) { m.Left = ports } }
func served(r model.Release) is { return func(_ *Observed, _ *Desired, m *Memory) { m.InService = r } }
func bad(r model.Release, at time.Time) is {
	return func(_ *Observed, _ *Desired, m *Memory) {
		m.Failed[r.Revision] = Failure{Release: r, Reason: "bad", At: at}
	}
}
func listening(port int) is {
	return func(o *Observed, _ *Desired, _ *Memory) { o.Listening[port] = true }
}
func hook(timeout int) is {
	return func(o *Observed, _ *Desired, m *Memory) {
		o.Membership = model.Membership{Group: "g", Lifecycle: model.LifecyclePendingWait, LaunchHook: "h", HookTimeout: timeout}
		m.HookSince = noon.Add(-time.Minute)
	}
}
func grouped() is {
	return func(o *Observed, _ *Desired, _ *Memory) {
		o.Membership = model.Membership{Group: "g", Lifecycle: model.LifecycleInService}
	}
}
func aside() is { return func(_ *Observed, _ *Desired, m *Memory) { m.Aside = true } }
func failing(since time.Duration) is {
	return func(o *Observed, _ *Desired, _ *Memory) { o.FailingSince = noon.Add(-since) }
}
func crashed(times int, wait time.Duration) is {
	return func(_ *Observed, _ *Desired, m *Memory) {
		m.Crashes[web] = Retry{Count: times, At: noon, NotBefore: noon.Add(wait)}
	}
}
func retry(step Step, wait time.Duration) is {
	return func(_ *Observed, _ *Desired, m *Memory) {
		m.Retries[step.String()] = Retry{Count: 2, NotBefore: noon.Add(wait)}
	}
}

func leaves(why Leaving, since time.Duration) is {
	return func(_ *Observed, d *Desired, m *Memory) {
		m.Leaving, m.LeavingSince, d.ShutDown = why, noon.Add(-since), why == ShuttingDown
	}
}
func lifecycle(state model.Lifecycle) is {
	return func(o *Observed, _ *Desired, _ *Memory) {
		o.Membership = model.Membership{Group: "g", Lifecycle: state, LaunchHook: "h", HookTimeout: 300, TerminateHook: "t", TerminateTimeout: 300}
	}
}
func unhooked() is {
	return func(o *Observed, _ *Desired, _ *Memory) { o.Membership.TerminateHook = "" }
}

var initialTarget = Target{Registered: true, Everywhere: true}

func (t Target) healthy() Target { t.Healthy = true; return t }

// settled is an instance with release 1 in service on 8080 and nothing to do.
func settled(more ...is) []is {
	return append([]is{newest(one), inService(one, 8080), runs(one, 8080), passed(one, 8080), worker(one)}, more...)
}

func TestPlanTakesTheNextStep(t *testing.T) {
	t.Parallel()
	w1, w2 := UnitName("shop", 1, web), UnitName("shop", 2, web)
	cases := []struct {
		name  string
		scene []is
		want  []Step
	}{
		// Which release.
		{"nothing is wanted yet", []is{}, nil},
		{"a fresh instance, the parameter not read yet", []is{unread()}, nil},
		{"a fresh instance boots what the fleet wants", []is{newest(two)}, []Step{Prepare{two}}},
		{"and nothing where that failed here", []is{newest(one), bad(one, noon)}, nil},
		{"a candidate is prepared before the turn comes", settled(ready(two)), []Step{Prepare{two}}},
		{"and not started", settled(ready(two), prepared(two)), nil},
		{"nor tried again where it failed", settled(ready(two), bad(two, noon)), nil},
		{"an older release is gone back to", []is{newest(one), inService(two, 8080), runs(two, 8080), passed(two, 8080), worker(two)}, []Step{Prepare{one}}},
		{"a newer release is prepared while the old one serves", settled(newest(two)), []Step{Prepare{two}}},
		{"a revision that failed here is not tried again", settled(newest(two), bad(two, noon)), nil},
		{"the same bad revision under a new number is not tried either", settled(newest(model.Release{Number: 9, Ref: "again", Revision: two.Revision}), bad(two, noon)), nil},
		{"a fetch that failed a moment ago waits", []is{newest(one), retry(Prepare{one}, time.Second)}, nil},
		{"and is tried again when its time has come", []is{newest(one), retry(Prepare{one}, 0)}, []Step{Prepare{one}}},
		{"a clock that was set back since delays nothing", []is{newest(one), retry(Prepare{one}, time.Hour)}, []Step{Prepare{one}}},

		// The way into service.
		{"what is prepared is started on the first port", []is{newest(one), prepared(one)}, []Step{Start{one, web, 8080}}},
		{"not on a port on which somebody listens", []is{newest(one), prepared(one), listening(8080)}, []Step{Start{one, web, 8081}}},
		{"not on the port of the one in service", settled(newest(two), prepared(two)), []Step{Start{two, web, 8081}}},
		{"rather not on a port that the balancer still drains", settled(newest(two), prepared(two), target(8081, Target{Draining: true})), []Step{Start{two, web, 8082}}},
		{"but there where no other is free", settled(newest(two), prepared(two), target(8081, Target{Draining: true}), listening(8082)), []Step{Start{two, web, 8081}}},
		{"with no port free it waits", settled(newest(two), prepared(two), listening(8081), listening(8082)), nil},
		{"what runs is checked", []is{newest(one), prepared(one), runs(one, 8080)}, []Step{Check{one, w1, 8180, 8080}}},
		{"what ended is checked as well, to say how", []is{newest(one), prepared(one), exited(one, 8080)}, []Step{Check{one, w1, 0, 8080}}},
		{"another incarnation's pass does not count", []is{newest(one), prepared(one), running(one, web, 8080, 7), passed(one, 8080)}, []Step{Check{one, w1, 7, 8080}}},
		{"what passed is registered", []is{newest(one), prepared(one), runs(one, 8080), passed(one, 8080)}, []Step{Register{one, 8080}}},
		{"but not before the balancer was looked at", []is{newest(one), prepared(one), runs(one, 8080), passed(one, 8080), balancerUnread()}, nil},
		{"in every group", []is{newest(one), prepared(one), runs(one, 8080), passed(one, 8080), target(8080, Target{Registered: true}), used(one, 8080, PortUse{})}, []Step{Register{one, 8080}}},
		{"what is registered waits for the balancer", []is{newest(one), prepared(one), runs(one, 8080), passed(one, 8080), target(8080, initialTarget), used(one, 8080, PortUse{})}, []Step{AwaitBalancer{one, 8080}}},
		{"what the balancer finds healthy is promoted", []is{newest(one), prepared(one), runs(one, 8080), passed(one, 8080), target(8080, initialTarget.healthy()), used(one, 8080, PortUse{})}, []Step{Promote{one, 8080}}},
		{"without a balancer, what passed is promoted", []is{unbalanced(), newest(one), prepared(one), runs(one, 8080), passed(one, 8080)}, []Step{Promote{one, 8080}}},
		{"workers start once their web is in service", []is{newest(one), inService(one, 8080), runs(one, 8080), passed(one, 8080)}, []Step{Start{one, "worker", 0}}},
		{"then there is nothing to do", settled(), nil},

		// Handover.
		{"the old one serves until the new one is healthy", settled(newest(two), prepared(two), runs(two, 8081), passed(two, 8081), target(8081, initialTarget), used(two, 8081, PortUse{})), []Step{AwaitBalancer{two, 8081}}},
		{"then the old one is deregistered and its workers stopped", []is{newest(two), inService(two, 8081), runs(two, 8081), passed(two, 8081), runs(one, 8080), worker(one), target(8080, initialTarget.healthy()), used(one, 8080, PortUse{})},
			[]Step{Deregister{one, 8080, "release 2 (000000000000) is in service"}, Stop{one, UnitName("shop", 1, "worker"), 0}}},
		{"a deregistration that was cut off is asked for again", []is{newest(two), inService(two, 8081), runs(two, 8081), passed(two, 8081), worker(two), runs(one, 8080), target(8080, Target{Draining: true}), used(one, 8080, PortUse{})},
			[]Step{Deregister{one, 8080, "release 2 (000000000000) is in service"}}},
		{"the deregistered one is drained", []is{newest(two), inService(two, 8081), runs(two, 8081), passed(two, 8081), worker(two), runs(one, 8080), used(one, 8080, PortUse{Deregistered: noon})}, []Step{Drain{one, 8080}}},
		{"also while the parameter can't be read", []is{unread(), inService(two, 8081), runs(two, 8081), passed(two, 8081), worker(two), runs(one, 8080), used(one, 8080, PortUse{Deregistered: noon})}, []Step{Drain{one, 8080}}},
		{"the drained one is stopped", []is{newest(two), inService(two, 8081), runs(two, 8081), passed(two, 8081), worker(two), runs(one, 8080), used(one, 8080, PortUse{Deregistered: noon, Drained: true})}, []Step{Stop{one, w1, 8080}}},
		{"one that ended needs no draining", []is{newest(two), inService(two, 8081), runs(two, 8081), passed(two, 8081), worker(two), exited(one, 8080), used(one, 8080, PortUse{Deregistered: noon})}, []Step{Stop{one, w1, 8080}}},

		// By restart: the old one makes way once the new one is prepared.
		{"by restart: the new one is prepared while the old one serves", settled(restarts(), newest(two)), []Step{Prepare{two}}},
		{"by restart: then the old one is deregistered", settled(restarts(), newest(two), prepared(two)), []Step{Deregister{one, 8080, "release 2 (000000000000) takes its place"}}},
		{"by restart: drained, with its workers running", settled(restarts(), newest(two), prepared(two), target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Drain{one, 8080}}},
		{"by restart: stopped", settled(restarts(), newest(two), prepared(two), target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon, Drained: true})), []Step{Stop{one, w1, 8080}}},
		{"by restart: the new one starts once no web of the old one is there", []is{restarts(), newest(two), inService(one, 0), prepared(two), worker(one)}, []Step{Start{two, web, 8080}, Stop{one, UnitName("shop", 1, "worker"), 0}}},
		{"by restart: not beside one that has ended and is not taken away yet", []is{restarts(), newest(two), inService(one, 0), prepared(two), exited(one, 8080)}, []Step{Stop{one, w1, 8080}}},
		{"by restart: what has started is checked", []is{restarts(), newest(two), inService(one, 0), prepared(two), runs(two, 8080)}, []Step{Check{two, w2, 8180, 8080}}},
		{"by restart: it is registered", []is{restarts(), newest(two), inService(one, 0), prepared(two), runs(two, 8080), passed(two, 8080), target(8080, Target{Draining: true})}, []Step{Register{two, 8080}}},
		{"by restart: one that failed is stopped", []is{restarts(), newest(two), inService(one, 0), prepared(two), bad(two, noon), runs(two, 8080)}, []Step{Stop{two, w2, 8080}}},
		{"by restart: then the old one is started again", []is{restarts(), newest(two), inService(one, 0), prepared(two), bad(two, noon)}, []Step{Start{one, web, 8080}}},
		{"by restart: also while another one is prepared", []is{restarts(), newest(three), inService(one, 0), prepared(two), bad(two, noon)}, []Step{Start{one, web, 8080}, Prepare{three}}},
		{"by restart: while the parameter can't be read nothing starts beside what runs", []is{restarts(), unread(), inService(one, 0), prepared(two), runs(two, 8080)}, nil},
		{"by restart: a boot goes to what is prepared and wanted at once", []is{restarts(), newest(two), served(one), prepared(one, two)}, []Step{Start{two, web, 8080}}},
		{"by restart: but what a boot has registered already is in service first", []is{restarts(), newest(two), served(one), prepared(one, two), runs(one, 8080), passed(one, 8080), target(8080, initialTarget.healthy()), used(one, 8080, PortUse{})},
			[]Step{Promote{one, 8080}}},
		{"by restart: in every group", []is{restarts(), newest(two), served(one), prepared(one, two), runs(one, 8080), passed(one, 8080), target(8080, Target{Registered: true}), used(one, 8080, PortUse{})}, []Step{Register{one, 8080}}},
		{"by restart: unless it fails", []is{restarts(), newest(two), served(one), prepared(one, two), bad(one, noon), runs(one, 8080), target(8080, initialTarget), used(one, 8080, PortUse{})},
			[]Step{Deregister{one, 8080, "release 2 (000000000000) takes its place"}}},
		{"by restart: workers never overlap", []is{restarts(), newest(two), inService(two, 8080), runs(two, 8080), passed(two, 8080), worker(one), func(o *Observed, _ *Desired, _ *Memory) {
			o.Prepared[2].Recipe.Processes[1].Overlap = true
		}}, []Step{Stop{one, UnitName("shop", 1, "worker"), 0}}},
		{"by restart: what is in service is not condemned twice over", settled(restarts(), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon, Condemned: Unhealthy, Drained: true})), []Step{Stop{one, w1, 8080}}},

		// Attached: Auto Scaling registers and deregisters, the launch hook is the gate.
		{"attached: a fresh instance boots what the fleet wants", []is{attached(), newest(two)}, []Step{Prepare{two}}},
		{"attached: it starts on the group's own port", []is{attached(), newest(one), prepared(one)}, []Step{Start{one, web, 8080}}},
		{"attached: once that is known", []is{attached(), newest(one), prepared(one), func(o *Observed, _ *Desired, _ *Memory) { o.GroupPort = 0 }}, nil},
		{"attached: and nobody is on it", []is{attached(), newest(one), prepared(one), listening(8080)}, nil},
		{"attached: what passed is promoted, and not registered", []is{attached(), newest(one), prepared(one), runs(one, 8080), passed(one, 8080), hook(300)}, []Step{Promote{one, 8080}}},
		{"attached: then the hook is completed", settled(attached(), target(8080, Target{}), hook(300)), []Step{CompleteHook{model.HookContinue}}},
		{"attached: a newer release is prepared while the old one serves", settled(attached(), grouped(), newest(two)), []Step{Prepare{two}}},
		{"attached: then the instance enters standby", settled(attached(), grouped(), newest(two), prepared(two)), []Step{EnterStandby{one}}},
		{"attached: and waits until it is there", settled(attached(), newest(two), prepared(two), lifecycle(model.LifecycleEnteringStandby), aside()), nil},
		{"attached: and until its target is gone", settled(attached(), newest(two), prepared(two), lifecycle(model.LifecycleStandby), aside()), nil},
		{"attached: then it lets go of the old release", settled(attached(), newest(two), prepared(two), lifecycle(model.LifecycleStandby), aside(), target(8080, Target{})),
			[]Step{Deregister{one, 8080, "release 2 (000000000000) takes its place"}}},
		{"attached: drains", settled(attached(), newest(two), prepared(two), lifecycle(model.LifecycleStandby), aside(), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Drain{one, 8080}}},
		{"attached: starts the new one", []is{attached(), newest(two), inService(one, 0), prepared(two), lifecycle(model.LifecycleStandby), aside()}, []Step{Start{two, web, 8080}}},
		{"attached: checks it", []is{attached(), newest(two), inService(one, 0), prepared(two), lifecycle(model.LifecycleStandby), aside(), runs(two, 8080)}, []Step{Check{two, w2, 8180, 8080}}},
		{"attached: and leaves standby with it", []is{attached(), newest(two), inService(one, 0), prepared(two), lifecycle(model.LifecycleStandby), aside(), runs(two, 8080), passed(two, 8080)}, []Step{ExitStandby{two}}},
		{"attached: or with the old one, where the new one failed", []is{attached(), newest(two), inService(one, 0), prepared(two), bad(two, noon), lifecycle(model.LifecycleStandby), aside(), runs(one, 8080), passed(one, 8080)}, []Step{ExitStandby{one}}},
		{"attached: also where nobody wants the new one any more", settled(attached(), prepared(two), lifecycle(model.LifecycleStandby), aside(), target(8080, Target{})), []Step{ExitStandby{one}}},
		{"attached: on its way back it waits", []is{attached(), newest(two), inService(one, 0), prepared(two), lifecycle(model.LifecyclePending), aside(), runs(two, 8080), passed(two, 8080)}, nil},
		{"attached: then for the balancer", []is{attached(), newest(two), inService(one, 0), prepared(two), grouped(), aside(), runs(two, 8080), passed(two, 8080), target(8080, initialTarget)}, []Step{AwaitBalancer{two, 8080}}},
		{"attached: then the release is in service", []is{attached(), newest(two), inService(one, 0), prepared(two), grouped(), aside(), runs(two, 8080), passed(two, 8080), target(8080, initialTarget.healthy())}, []Step{Promote{two, 8080}}},
		{"attached: one that the balancer finds unhealthy goes to standby again", []is{attached(), newest(two), inService(one, 0), prepared(two), bad(two, noon), grouped(), aside(), runs(two, 8080), passed(two, 8080), target(8080, initialTarget)}, []Step{EnterStandby{two}}},
		{"attached: a reboot in standby ends in service", []is{attached(), newest(one), served(one), prepared(one), lifecycle(model.LifecycleStandby), aside(), runs(one, 8080), passed(one, 8080)}, []Step{ExitStandby{one}}},
		{"attached: standby that a person asked for is left alone", settled(attached(), lifecycle(model.LifecycleStandby), target(8080, Target{})), nil},
		{"attached: a target that it did not register is left alone", settled(attached(), target(8080, initialTarget), target(9090, initialTarget)), nil},
		{"attached: what failed for long is condemned", settled(attached(), failing(time.Minute)), []Step{Deregister{one, 8080, Unhealthy}}},
		{"attached: and stopped at once", settled(attached(), failing(time.Minute), used(one, 8080, PortUse{Deregistered: noon, Condemned: Unhealthy})), []Step{Stop{one, w1, 8080}}},
		{"attached: a boot starts nothing before it knows what is wanted", []is{attached(), unread(), served(one), prepared(one), target(8080, initialTarget.healthy())}, nil},
		{"attached: then it does, although the target is still there", []is{attached(), newest(one), served(one), prepared(one), target(8080, initialTarget), leftOver(8080)}, []Step{Start{one, web, 8080}}},
		{"attached: and with the newest, where nobody wants it any more", []is{attached(), newest(three), served(one), prepared(one, three), target(8080, initialTarget)}, []Step{Start{three, web, 8080}}},
		{"attached: what crashed is started again at once", []is{attached(), unread(), inService(one, 8080), exited(one, 8080), worker(one)}, []Step{Start{one, web, 8080}}},
		{"attached: at its end it waits until Auto Scaling has taken it out", settled(attached(), leaves(Terminating, 0), lifecycle(model.LifecycleTerminating)), nil},
		{"attached: then it drains", settled(attached(), leaves(Terminating, 0), target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Drain{one, 8080}}},
		{"attached: and completes the hook", []is{attached(), newest(one), leaves(Terminating, 0), lifecycle(model.LifecycleTerminatingWait), target(8080, Target{Draining: true})}, []Step{CompleteTermination{}}},

		// Failure of a candidate.
		{"a failed candidate that never had traffic is stopped", settled(newest(two), prepared(two), bad(two, noon), runs(two, 8081)), []Step{Stop{two, w2, 8081}}},
		{"one that was registered is taken out first", settled(newest(two), prepared(two), bad(two, noon), runs(two, 8081), target(8081, initialTarget), used(two, 8081, PortUse{})),
			[]Step{Deregister{two, 8081, "release 2 (000000000000) failed"}}},
		{"a candidate that nobody wants any more is stopped while the next is prepared", settled(newest(three), prepared(two), runs(two, 8081)), []Step{Prepare{three}, Stop{two, w2, 8081}}},
		{"while the parameter can't be read a candidate is left as it is", []is{unread(), inService(one, 8080), runs(one, 8080), passed(one, 8080), worker(one), prepared(two), runs(two, 8081)}, nil},

		// The health of what serves.
		{"what serves and crashed is started again where it was", []is{newest(one), inService(one, 8080), exited(one, 8080), worker(one)}, []Step{Start{one, web, 8080}}},
		{"not at once if it crashed before", []is{newest(one), inService(one, 8080), exited(one, 8080), worker(one), crashed(2, time.Second)}, nil},
		{"failing for a moment changes nothing", settled(failing(29 * time.Second)), nil},
		{"failing for long is taken out", settled(failing(30 * time.Second)), []Step{Deregister{one, 8080, Unhealthy}}},
		{"the condemned process is drained", settled(failing(time.Minute), target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon, Condemned: Unhealthy})), []Step{Drain{one, 8080}}},
		{"stopped", settled(failing(time.Minute), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon, Condemned: Unhealthy, Drained: true})), []Step{Stop{one, w1, 8080}}},
		{"and started anew on another port", []is{newest(one), inService(one, 0), worker(one), target(8080, Target{Draining: true})}, []Step{Start{one, web, 8081}}},
		{"after its back-off", []is{newest(one), inService(one, 0), worker(one), crashed(3, time.Second)}, nil},
		{"what was deregistered by hand is registered again", settled(target(8080, Target{})), []Step{Register{one, 8080}}},
		{"what is in service stays so while the balancer doubts it", settled(target(8080, initialTarget)), nil},
		{"beyond help, the group is asked for another instance", settled(grouped(), failing(time.Second), crashed(beyondHelp, time.Minute)), []Step{Replace{one}}},
		{"not while another release is wanted", settled(grouped(), failing(time.Second), newest(two), crashed(beyondHelp, time.Minute)), []Step{Prepare{two}}},
		{"not while it is well", settled(grouped(), crashed(beyondHelp, time.Minute)), nil},
		{"once", settled(grouped(), failing(time.Second), crashed(beyondHelp, time.Minute), func(_ *Observed, _ *Desired, m *Memory) { m.Replaced = true }), nil},

		// After a restart of the agent, and after a reboot.
		{"a restarted agent checks what it adopts", []is{unread(), inService(one, 8080), runs(one, 8080), worker(one)}, []Step{Check{one, w1, 8180, 8080}}},
		{"a worker is started again although the balancer can't be asked", []is{newest(one), inService(one, 8080), runs(one, 8080), passed(one, 8080), balancerUnread()}, []Step{Start{one, "worker", 0}}},
		{"a boot starts the release on disk before anything is read", []is{unread(), served(one), prepared(one)}, []Step{Start{one, web, 8080}}},
		{"but does not register it yet", []is{unread(), served(one), prepared(one), runs(one, 8080), passed(one, 8080)}, nil},
		{"it is registered once it is known to be wanted", []is{newest(one), served(one), prepared(one), runs(one, 8080), passed(one, 8080)}, []Step{Register{one, 8080}}},
		{"yesterday's release is not registered", []is{newest(three), served(one), prepared(one), runs(one, 8080), passed(one, 8080)}, []Step{Prepare{three}}},
		{"a target left from before the boot is deregistered", []is{unread(), served(one), prepared(one), target(8080, initialTarget.healthy())},
			[]Step{Start{one, web, 8081}, Deregister{model.Release{}, 8080, "no process of this boot stands behind it"}}},
		{"a boot starts nothing where a target may be left", []is{unread(), served(one), prepared(one), leftOver(8080)}, []Step{Start{one, web, 8081}}},
		{"unless there is no other port", []is{unread(), served(one), prepared(one), leftOver(8080, 8081, 8082, 8083)}, []Step{Start{one, web, 8080}}},
		{"and what runs there does not inherit the target", []is{newest(one), served(one), prepared(one), runs(one, 8080), passed(one, 8080), leftOver(8080), target(8080, initialTarget.healthy())},
			[]Step{Deregister{model.Release{}, 8080, "no process of this boot stands behind it"}}},

		// The launch hook.
		{"the hook is completed once in service", settled(hook(300)), []Step{CompleteHook{model.HookContinue}}},
		{"not before the balancer says so", settled(hook(300), target(8080, initialTarget)), nil},
		{"the hook waits for a first release", []is{hook(300)}, nil},
		{"a failed boot holds its ABANDON back", []is{hook(300), newest(one), bad(one, noon.Add(-time.Minute))}, nil},
		{"then gives the instance up", []is{hook(300), newest(one), bad(one, noon.Add(-5*time.Minute))}, []Step{CompleteHook{model.HookAbandon}}},
		{"one whose app came up, and does not stay up, is given up as well", settled(hook(300), target(8080, initialTarget), failing(time.Second), crashed(beyondHelp, time.Minute)), []Step{CompleteHook{model.HookAbandon}}},
		{"unless another release is wanted", settled(hook(300), target(8080, initialTarget), newest(two), failing(time.Second), crashed(beyondHelp, time.Minute)), []Step{Prepare{two}}},
		{"unless a better release came", []is{hook(300), newest(two), bad(one, noon.Add(-5*time.Minute))}, []Step{Prepare{two}}},

		// The way out: an operator's drain, the end of the instance, the machine's shutdown.
		{"what serves is deregistered", settled(leaves(Drained, 0)), []Step{Deregister{one, 8080, "this instance leaves service"}}},
		{"also while the parameter can't be read", settled(leaves(Drained, 0), unread()), []Step{Deregister{one, 8080, "this instance leaves service"}}},
		{"not before it is known what is registered", settled(leaves(Drained, 0), balancerUnread()), nil},
		{"then drained", settled(leaves(Drained, 0), target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Drain{one, 8080}}},
		{"then stopped", settled(leaves(Drained, 0), target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon, Drained: true})), []Step{Stop{one, w1, 8080}}},
		{"and its workers after it", []is{newest(one), served(one), worker(one), leaves(Drained, 0)}, []Step{Stop{one, UnitName("shop", 1, "worker"), 0}}},
		{"then nothing is left to do", []is{newest(one), served(one), prepared(one), leaves(Drained, 0)}, nil},
		{"a machine that goes down drains", settled(leaves(ShuttingDown, 0), target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Drain{one, 8080}}},
		{"and leaves the end of processes to systemd, whose queue they are in", settled(leaves(ShuttingDown, 0), worker(one), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon, Drained: true})), nil},
		{"a release on its way is stopped at once", settled(leaves(Drained, 0), newest(two), prepared(two), runs(two, 8081)), []Step{Deregister{one, 8080, "this instance leaves service"}, Stop{two, w2, 8081}}},
		{"without a balancer it is drained as well", []is{unbalanced(), newest(one), inService(one, 8080), runs(one, 8080), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon}), leaves(Drained, 0)}, []Step{Drain{one, 8080}}},
		{"nothing new is fetched", settled(leaves(Drained, 0), newest(two), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Drain{one, 8080}}},
		{"what crashes is not started again", []is{newest(one), inService(one, 8080), exited(one, 8080), leaves(Terminating, 0)}, []Step{Deregister{one, 8080, "this instance leaves service"}}},
		{"but taken away", []is{newest(one), inService(one, 8080), exited(one, 8080), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon}), leaves(Terminating, 0)}, []Step{Stop{one, w1, 8080}}},
		{"no replacement is asked for", []is{newest(one), served(one), grouped(), crashed(beyondHelp, 0), leaves(Drained, 0)}, nil},
		{"undrained, what still runs is registered again", settled(target(8080, Target{Draining: true}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Register{one, 8080}}},
		{"undrained, what is wanted by now is started", []is{newest(two), served(one), prepared(one, two)}, []Step{Start{one, web, 8080}, Start{two, web, 8081}}},

		// The termination hook.
		{"it stays open while there is something to drain", settled(leaves(Terminating, 0), lifecycle(model.LifecycleTerminatingWait), target(8080, Target{}), used(one, 8080, PortUse{Deregistered: noon})), []Step{Drain{one, 8080}}},
		{"it is completed when nothing is left", []is{newest(one), served(one), leaves(Terminating, 0), lifecycle(model.LifecycleTerminatingWait)}, []Step{CompleteTermination{}}},
		{"not before that is known", []is{newest(one), served(one), leaves(Terminating, 0), lifecycle(model.LifecycleTerminatingWait), balancerUnread()}, nil},
		{"not while a target is left", []is{newest(one), served(one), leaves(Terminating, 0), lifecycle(model.LifecycleTerminatingWait), target(8081, initialTarget)}, []Step{Deregister{model.Release{}, 8081, "no process of this boot stands behind it"}}},
		{"once", []is{newest(one), leaves(Terminating, 0), lifecycle(model.LifecycleTerminatingWait), func(_ *Observed, _ *Desired, m *Memory) { m.Departed = true }}, nil},
		{"not before it is open", []is{newest(one), leaves(Terminating, 0), lifecycle(model.LifecycleTerminating)}, nil},
		{"where there is none there is nothing to complete", []is{newest(one), leaves(Terminating, 0), lifecycle(model.LifecycleTerminatingWait), unhooked()}, nil},
		{"what can't be drained does not hold the instance for days", []is{newest(one), leaves(Terminating, 2*time.Hour), lifecycle(model.LifecycleTerminatingWait), balancerUnread()}, []Step{CompleteTermination{}}},
		{"a drain does not complete it", []is{newest(one), leaves(Drained, 0), lifecycle(model.LifecycleTerminatingWait)}, nil},
		{"an instance that is terminated while it launches gives the launch up", []is{newest(one), leaves(Terminating, 0), lifecycle(model.LifecyclePendingWait)}, []Step{CompleteHook{model.HookAbandon}}},
		{"one that is drained while it launches holds the launch", []is{newest(one), leaves(Drained, 0), lifecycle(model.LifecyclePendingWait)}, nil},
		{"for as long as it can", []is{newest(one), leaves(Drained, 0), hook(1), func(_ *Observed, _ *Desired, m *Memory) { m.HookSince = noon.Add(-99 * time.Second) }}, []Step{CompleteHook{model.HookAbandon}}},

		{"near the hook's own limit it is given up", []is{hook(1), func(_ *Observed, _ *Desired, m *Memory) { m.HookSince = noon.Add(-99 * time.Second) }}, []Step{CompleteHook{model.HookAbandon}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, d, m := scenery(c.scene...)
			got := Plan(o, d, m, noon)
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %s\nwant %s", say(got), say(c.want))
			}
		})
	}
}

func say(steps []Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, fmt.Sprintf("%T%+v", s, s))
	}
	return "[" + strings.Join(out, " | ") + "]"
}

func TestMemoryAfterAStep(t *testing.T) {
	t.Parallel()
	revision := &deploy.RevisionError{Phase: "check", Err: errors.New("answered 500")}
	t.Run("a failure of the world is tried again, later each time", func(t *testing.T) {
		_, _, m := scenery()
		var waits []time.Duration
		for range 9 {
			m = m.After(Prepare{one}, Outcome{Err: errors.New("no network")}, noon)
			waits = append(waits, m.Retries[Prepare{one}.String()].NotBefore.Sub(noon)/time.Second)
		}
		if want := []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60}; !slices.Equal(waits, want) {
			t.Errorf("got %v, want %v", waits, want)
		}
		if len(m.Failed) != 0 {
			t.Error("it marked the revision")
		}
		if m = m.After(Prepare{one}, Outcome{}, noon); len(m.Retries) != 0 {
			t.Error("a success did not end the count")
		}
	})
	t.Run("a failure of the revision marks it", func(t *testing.T) {
		_, _, m := scenery(settled()...)
		m = m.After(Check{Release: two, Port: 8081}, Outcome{Err: revision}, noon)
		if f := m.Failed[two.Revision]; f.Release != two || !strings.Contains(f.Reason, "answered 500") {
			t.Errorf("got %+v", m.Failed)
		}
	})
	t.Run("but never the one in service: its process is condemned", func(t *testing.T) {
		_, _, m := scenery(settled()...)
		m = m.After(Check{Release: one, Port: 8080}, Outcome{Err: revision}, noon)
		if len(m.Failed) != 0 || m.Ports[8080].Condemned == "" || m.Crashes[web].Count != 1 {
			t.Errorf("got %+v", m)
		}
	})
	t.Run("a promotion remembers what to go back to", func(t *testing.T) {
		_, _, m := scenery(settled()...)
		m = m.After(Promote{two, 8081}, Outcome{}, noon)
		if m.InService != two || m.Previous != one || m.Port != 8081 || !m.Serving {
			t.Errorf("got %+v", m)
		}
	})
	t.Run("another boot remembers which targets may be left, until they are gone", func(t *testing.T) {
		_, _, m := scenery(settled()...)
		m = m.On(model.Identity{InstanceID: m.InstanceID, BootID: "another"}, "")
		if !slices.Equal(m.Left, []int{8080}) {
			t.Fatalf("got %v", m.Left)
		}
		unknown := m.Seen(Desired{}, Observed{}, noon)
		there := m.Seen(Desired{}, Observed{TargetsKnown: true, Targets: map[int]Target{8080: initialTarget}}, noon)
		gone := m.Seen(Desired{}, Observed{TargetsKnown: true}, noon)
		if len(unknown.Left) != 1 || len(there.Left) != 1 || len(gone.Left) != 0 {
			t.Errorf("got %v, %v and %v", unknown.Left, there.Left, gone.Left)
		}
		if out := m.After(Deregister{Port: 8080}, Outcome{}, noon); len(out.Left) != 0 {
			t.Errorf("deregistered, but still %v", out.Left)
		}
	})
	t.Run("another boot forgets processes, not failures", func(t *testing.T) {
		_, _, m := scenery(settled(bad(two, noon))...)
		m.InstanceID, m.BootID = "i-1", "a"
		m = m.On(model.Identity{InstanceID: "i-1", BootID: "b"}, "")
		if m.Serving || m.Port != 0 || m.Ports != nil || m.InService != one || len(m.Failed) != 1 {
			t.Errorf("got %+v", m)
		}
	})
	t.Run("another instance forgets everything", func(t *testing.T) {
		_, _, m := scenery(settled(bad(two, noon))...)
		m.InstanceID, m.BootID = "i-1", "a"
		m = m.On(model.Identity{InstanceID: "i-2", BootID: "a"}, "")
		if !m.InService.IsZero() || len(m.Failed) != 0 {
			t.Errorf("got %+v", m)
		}
	})
	t.Run("what was handed out never changes", func(t *testing.T) {
		_, _, m := scenery(settled()...)
		_ = m.After(Deregister{Release: one, Port: 8080}, Outcome{}, noon)
		_ = m.Before(Register{Release: two, Port: 8081})
		if use := m.Ports[8080]; !use.Deregistered.IsZero() || len(m.Ports) != 1 {
			t.Errorf("got %+v", m.Ports)
		}
	})
}

func TestADrainLastsUntilNobodyIsThereAndNeverForEver(t *testing.T) {
	t.Parallel()
	const second = time.Second
	busyUntil := func(end time.Duration) func(time.Duration) int {
		return func(at time.Duration) int {
			if at < end {
				return 3
			}
			return 0
		}
	}
	cases := []struct {
		name            string
		atLeast, atMost time.Duration
		busy            func(time.Duration) int
		want            time.Duration
	}{
		{"quiet from the start: the minimum all the same", 30 * second, 300 * second, busyUntil(0), 30 * second},
		{"busy for a while: five quiet samples after that", 30 * second, 300 * second, busyUntil(60 * second), 64 * second},
		{"busy for ever: the maximum", 30 * second, 300 * second, busyUntil(1000 * second), 300 * second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			state := drainState{atLeast: c.atLeast, atMost: c.atMost}
			at := time.Duration(0)
			for !state.sample(at, c.busy(at)) {
				at += second
			}
			if at != c.want {
				t.Errorf("drained after %v, want %v", at, c.want)
			}
		})
	}
}

func TestThatNoPortIsFreeIsSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		scene []is
		said  bool
	}{
		{"every other port is taken", settled(newest(two), prepared(two), listening(8081), listening(8082)), true},
		{"one is free", settled(newest(two), prepared(two), listening(8081)), false},
		{"it runs already", settled(newest(two), prepared(two), runs(two, 8081), listening(8082)), false},
		{"it waits for the one before it to end", settled(restarts(), newest(two), prepared(two), listening(8081), listening(8082)), false},
		{"it is not prepared", settled(newest(two), listening(8081), listening(8082)), false},
	} {
		o, d, m := scenery(c.scene...)
		if err := portless(o, d, m); (err != nil) != c.said {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}
