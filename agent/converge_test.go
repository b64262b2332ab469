package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// machine is an instance in which effects happen at once: what Plan asks for
// is done, fails, or is cut off, as the property test draws it.
type machine struct {
	*rapid.T
	o      Observed
	d      Desired
	m      Memory
	now    time.Time
	calm   bool           // no more trouble
	broken map[int64]bool // releases that never pass their check
	pids   int
	served bool // something was healthy in the balancer on this boot
}

// trouble draws whether something goes wrong now.
func (w *machine) trouble(what string) bool {
	return !w.calm && rapid.IntRange(0, 24).Draw(w.T, what) == 24
}

// take does what a step asks for: the world's part, then the memory's. A crash
// of the agent may come between them.
func (w *machine) take(step Step) {
	w.m = w.m.Before(step)
	if w.trouble("the agent dies before " + step.Phase()) {
		w.crash()
		return
	}
	outcome := w.effect(step)
	if w.trouble("the agent dies after " + step.Phase()) {
		w.crash()
		return
	}
	w.m = w.m.After(step, outcome, w.now)
}

// crash is kill -9 of the agent: what it only knew is gone, units and memory stay.
func (w *machine) crash() {
	w.o.Passed, w.d.Known, w.o.TargetsKnown = map[Incarnation]bool{}, false, false
	w.o.FailingSince = time.Time{}
}

func (w *machine) effect(step Step) Outcome {
	world := Outcome{Err: errors.New("the network is down")}
	if w.trouble(step.Phase() + " fails") {
		if _, isCheck := step.(Check); !isCheck {
			return world
		}
	}
	switch s := step.(type) {
	case Prepare:
		prepared(s.Release)(&w.o, &w.d, &w.m)
	case Start:
		w.o.Units = slices.DeleteFunc(w.o.Units, func(u unit.Status) bool { return u.Release.Number == s.Release.Number && u.Process == s.Process })
		for _, u := range w.o.Units {
			if s.Port != 0 && u.Port == s.Port {
				w.Fatalf("%s and %s share port %d", u.Name, step, s.Port)
			}
		}
		for _, u := range w.o.Units {
			if w.d.Rules.Restart && s.Port != 0 && u.Port != 0 && u.State == unit.Running {
				w.Fatalf("%s, while %s runs", step, u.Name)
			}
		}
		w.pids++
		running(s.Release, s.Process, s.Port, w.pids)(&w.o, &w.d, &w.m)
	case Check:
		u, _ := w.o.unit(s.Release, web)
		if u.State != unit.Running || u.PID != s.PID || w.broken[s.Release.Number] {
			return Outcome{Err: &deploy.RevisionError{Phase: "check", Err: errors.New("broken")}}
		}
		w.o.Passed[incarnation(u)] = true
	case Register:
		if u, ok := w.o.unit(s.Release, web); !ok || u.Port != s.Port || !w.o.Passed[incarnation(u)] {
			w.Fatalf("%s, but no process of it has passed there", step)
		}
		w.o.Targets[s.Port] = initialTarget
	case AwaitBalancer:
		w.o.Targets[s.Port] = initialTarget.healthy()
	case Promote:
		w.served = true
	case CompleteHook:
		if w.m.Leaving == Stays {
			w.o.Membership.Lifecycle = model.LifecycleInService
		}
	case CompleteTermination:
		if !gone(w.o, w.d, w.m) {
			w.Fatalf("%s, with %+v running and %+v registered", step, w.o.Units, w.o.Targets)
		}
		w.o.Membership.Lifecycle = model.LifecycleTerminatingProceed
	case Deregister:
		w.o.Targets[s.Port] = Target{Draining: true}
	case Stop:
		for _, u := range w.o.Units {
			if u.Name == s.Unit && u.Port != 0 && w.o.Targets[u.Port].Registered {
				w.Fatalf("%s, which the balancer still sends requests to", step)
			}
			if u.Name == s.Unit && u.State == unit.Running && s.Port != 0 && !w.m.Ports[s.Port].Drained && w.o.Targets[s.Port].Draining && !w.m.Ports[s.Port].Deregistered.IsZero() {
				w.Fatalf("%s, which was not drained", step)
			}
		}
		w.o.Units = slices.DeleteFunc(w.o.Units, func(u unit.Status) bool { return u.Name == s.Unit })
	}
	return Outcome{}
}

// round lets everybody move once: the watchers look, the world has its trouble, one planned step is taken.
func (w *machine) round() {
	w.now = w.now.Add(time.Second)
	w.d.Known, w.o.TargetsKnown = true, true
	if w.trouble("a process dies") && len(w.o.Units) > 0 {
		i := rapid.IntRange(0, len(w.o.Units)-1).Draw(w.T, "which")
		w.o.Units[i].State, w.o.Units[i].PID = unit.Exited, 0
	}
	if w.trouble("the machine reboots") {
		w.crash()
		w.o.Units, w.served = nil, false
		w.m.BootID = fmt.Sprint(w.now.Unix())
		w.m = w.m.On(model.Identity{InstanceID: w.m.InstanceID, BootID: w.m.BootID + "'"}, "")
	}
	if w.trouble("a new release is put") {
		w.d.Goal = rel(w.d.Goal.Number + 1)
		if _, known := w.broken[w.d.Goal.Number]; !known {
			w.broken[w.d.Goal.Number] = rapid.Bool().Draw(w.T, "broken")
		}
	}
	if w.trouble("the fleet goes back") && w.d.Goal.Number > 1 {
		w.d.Goal = rel(w.d.Goal.Number - 1)
	}
	if w.trouble("somebody deregisters by hand") {
		clear(w.o.Targets)
	}
	if w.trouble("an operator drains the instance") {
		w.m.DrainSince = w.now
	}
	if w.trouble("an operator undrains the instance") {
		w.m.DrainSince = time.Time{}
	}
	w.m = w.m.Seen(w.d, w.o, w.now)
	steps := Plan(w.o, w.d, w.m, w.now)
	w.oneServes(steps)
	w.nothingNew(steps)
	if len(steps) > 0 {
		w.take(steps[rapid.IntRange(0, len(steps)-1).Draw(w.T, "step")])
	}
}

// nothingNew holds that an instance that leaves only lets go.
func (w *machine) nothingNew(steps []Step) {
	if w.m.Leaving == Stays {
		return
	}
	for _, step := range steps {
		switch step.(type) {
		case Deregister, Drain, Stop, CompleteHook, CompleteTermination:
		default:
			w.Fatalf("%s, although the instance leaves (%s)", step, w.m.Leaving)
		}
	}
}

// oneServes holds that a plan never takes the last healthy target away while its process is fine.
func (w *machine) oneServes(steps []Step) {
	if w.m.Leaving != Stays || w.d.Rules.Restart {
		return
	}
	for _, step := range steps {
		s, ok := step.(Deregister)
		if !ok || !w.o.Targets[s.Port].Healthy {
			continue
		}
		u, alive := w.o.unit(s.Release, web)
		if !alive || u.State != unit.Running || w.m.Ports[s.Port].Condemned != "" || s.Cause == Unhealthy {
			continue
		}
		others := 0
		for port, t := range w.o.Targets {
			if port != s.Port && t.Healthy {
				others++
			}
		}
		if others == 0 && s.Release.Number == w.m.InService.Number {
			w.Fatalf("%s of the release in service, with no other healthy target", step)
		}
	}
}

// The heart of it: whatever happened, once the trouble is over the instance
// ends with the best release that works in service, and with nothing else.
func TestWhateverHappenedItConverges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o, d, m := scenery(newest(one))
		m.InstanceID, m.BootID = "i-1", "0"
		if rapid.Bool().Draw(t, "in a group") {
			o.Membership = model.Membership{Group: "g", Lifecycle: model.LifecyclePendingWait, LaunchHook: "h", HookTimeout: 300}
		}
		d.Rules.LastPort = d.Rules.FirstPort + rapid.IntRange(1, 3).Draw(t, "more ports")
		if d.Rules.Restart = rapid.Bool().Draw(t, "by restart"); d.Rules.Restart {
			d.Rules.LastPort = d.Rules.FirstPort + rapid.IntRange(0, 1).Draw(t, "more ports")
		}
		w := &machine{T: t, o: o, d: d, m: m, now: noon, broken: map[int64]bool{}}
		for range rapid.IntRange(0, 150).Draw(t, "rounds of trouble") {
			w.round()
		}
		w.calm = true
		w.m.DrainSince = time.Time{}
		// A last good release, so that there is something to converge to.
		w.d.Goal = rel(1000)
		for range 600 {
			w.round()
		}
		if left := Plan(w.o, w.d, w.m, w.now); len(left) != 0 {
			t.Fatalf("it does not come to rest: %s", say(left))
		}
		want := w.d.Goal
		if w.m.InService.Number != want.Number || !w.m.Serving {
			t.Fatalf("in service is %s, want %s\nunits %+v\nmemory %+v", w.m.InService, want, w.o.Units, w.m)
		}
		names := map[string]bool{}
		for _, u := range w.o.Units {
			names[u.Name] = u.State == unit.Running
		}
		if !maps.Equal(names, map[string]bool{UnitName("shop", want.Number, web): true, UnitName("shop", want.Number, "worker"): true}) {
			t.Fatalf("units left: %v", names)
		}
		for port, target := range w.o.Targets {
			if target.Registered != (port == w.m.Port) {
				t.Fatalf("targets left: %v, want %d alone", w.o.Targets, w.m.Port)
			}
		}
		if w.o.hookOpen() {
			t.Fatal("the launch hook is still open")
		}
	})
}

// And whatever happened, an instance that leaves ends with nothing registered and nothing running, and its group is told.
func TestWhateverHappenedItLeaves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o, d, m := scenery(newest(one))
		m.InstanceID, m.BootID = "i-1", "0"
		d.Rules.Restart = rapid.Bool().Draw(t, "by restart")
		o.Membership = model.Membership{Group: "g", Lifecycle: model.LifecycleInService, LaunchHook: "h", HookTimeout: 300, TerminateHook: "t", TerminateTimeout: 300}
		w := &machine{T: t, o: o, d: d, m: m, now: noon, broken: map[int64]bool{}}
		for range rapid.IntRange(0, 150).Draw(t, "rounds of trouble") {
			w.round()
		}
		ends := rapid.Bool().Draw(t, "for good")
		if ends {
			w.o.TargetLifecycle = model.LifecycleTerminated
		} else {
			w.m.DrainSince = w.now
		}
		for range rapid.IntRange(0, 50).Draw(t, "rounds of trouble on the way out") {
			w.round()
			if ends {
				w.o.Membership.Lifecycle = model.LifecycleTerminatingWait // Auto Scaling comes to it
			}
		}
		w.calm = true
		if ends {
			w.o.Membership.Lifecycle = model.LifecycleTerminatingWait
			w.m.Departed = false
		} else {
			w.m.DrainSince = w.now
		}
		for range 100 {
			w.round()
		}
		if !gone(w.o, w.d, w.m) || w.m.Serving {
			t.Fatalf("left are %+v, targets %+v, memory %+v", w.o.Units, w.o.Targets, w.m)
		}
		if ends && w.o.Membership.Lifecycle != model.LifecycleTerminatingProceed {
			t.Fatalf("the group was not told: %s", w.o.Membership.Lifecycle)
		}
	})
}
