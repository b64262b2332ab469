package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

const (
	firstPort = 8080
	grace     = 30 * time.Second // unhealthy_grace
	ending    = 300              // seconds that the termination hook waits
)

// instance is a machine of the group: what is on it outlives the agent's process.
type instance struct {
	w        *world
	id       string
	observed agent.Observed
	memory   agent.Memory
	process  *process // nil while the agent does not run
	pids     int
	started  map[int]time.Duration // when the process with that pid was started
	strikes  map[int]int           // checks that a target failed in a row, by port

	gone       bool // the machine died without notice
	goneAt     time.Duration
	buried     bool // nothing of it is left
	beyondHelp bool
	ending     time.Duration // when its termination began
	hookSince  time.Duration // last heartbeat of the launch hook
	hookOpened time.Duration // when it was opened, or since when the machine has known
	passed     map[int]bool  // processes that passed their check, by pid
	took       map[int]bool  // processes that were registered
	drained    map[int]bool  // processes that were drained after that
	boots      int
	flakes     map[string]int // how often a release failed here
	persons    bool           // a person has put it in standby
	contested  bool           // and the product had written down that it would
	back       time.Duration  // when it came into service by Auto Scaling's doing
	downTo     time.Duration  // its agent does not start before
}

// launch gives the group one more instance.
func (w *world) launch() *instance {
	in := &instance{w: w, id: fmt.Sprintf("i-%02d", len(w.instances)), started: map[int]time.Duration{}, strikes: map[int]int{}, flakes: map[string]int{}}
	in.observed = agent.Observed{
		Prepared: map[int64]deploy.Prepared{}, UnitsKnown: true, Targets: map[int]agent.Target{}, TargetsKnown: true,
		Listening: map[int]bool{}, Passed: map[agent.Incarnation]bool{},
		Membership: model.Membership{Group: "g", Lifecycle: model.LifecyclePendingWait, LaunchHook: "l", HookTimeout: w.scenario.Hook, TerminateHook: "t", TerminateTimeout: ending},
	}
	in.memory = agent.Memory{Schema: agent.MemorySchema, InstanceID: in.id, BootID: "0"}
	if w.scenario.Attached {
		in.observed.GroupPort = firstPort
	}
	in.hookSince, in.hookOpened = w.now, w.now
	in.passed, in.took, in.drained = map[int]bool{}, map[int]bool{}, map[int]bool{}
	w.instances = append(w.instances, in)
	w.trace("Auto Scaling launches %s", in.id)
	w.after(w.between(5*time.Second, 20*time.Second), in.startAgent)
	return in
}

func (in *instance) lifecycle() model.Lifecycle { return in.observed.Membership.Lifecycle }

// listed says whether the group has it and does not end it.
func (in *instance) listed() bool {
	return !in.buried && in.lifecycle() != model.LifecycleTerminatingWait && in.lifecycle() != model.LifecycleTerminated
}

// healthy says whether the balancer sends it requests.
func (in *instance) healthy() bool {
	for _, t := range in.observed.Targets {
		if t.Healthy {
			return true
		}
	}
	return false
}

// terminate is what Auto Scaling does with an instance that it wants no more.
func (in *instance) terminate() {
	in.observed.Membership.Lifecycle, in.observed.TargetLifecycle = model.LifecycleTerminatingWait, model.LifecycleTerminated
	in.ending = in.w.now
	if in.w.scenario.Attached {
		in.observed.Targets[firstPort] = agent.Target{Draining: true}
	}
	in.w.after(5*time.Minute, in.bury)
}

// bury ends the machine.
func (in *instance) bury() {
	if in.buried {
		return
	}
	in.w.trace("%s is gone", in.id)
	in.buried, in.gone, in.process = true, true, nil
	in.observed.Membership.Lifecycle = model.LifecycleTerminated
	clear(in.observed.Targets)
}

// die is a machine that stops without notice.
func (in *instance) die() {
	if in.gone {
		return
	}
	in.w.trace("%s dies without notice", in.id)
	in.gone, in.goneAt, in.process = true, in.w.now, nil
}

// reboot starts the machine anew: its disk stays.
func (in *instance) reboot() {
	if in.gone {
		return
	}
	in.w.trace("%s reboots", in.id)
	in.boots++
	in.hookOpened = in.w.now // the memory of a boot is its own
	in.process, in.observed.Units, in.observed.Passed = nil, nil, map[agent.Incarnation]bool{}
	in.memory = in.memory.On(model.Identity{InstanceID: in.id, BootID: fmt.Sprint(in.boots)}, "")
	in.w.after(in.w.between(10*time.Second, 30*time.Second), in.startAgent)
}

// checkTargets is the balancer's look at this instance, and Auto Scaling's at its launch hook.
func (in *instance) checkTargets() {
	for port, t := range in.observed.Targets {
		if !t.Registered {
			continue
		}
		u, ok := in.onPort(port)
		switch {
		case !in.gone && ok && u.State == unit.Running && in.appWorks(u):
			in.strikes[port], t.Healthy = 0, true
		case in.strikes[port] == 0:
			in.strikes[port] = 1
		default:
			t.Healthy = false
		}
		in.observed.Targets[port] = t
	}
	in.checkHook()
}

func (in *instance) onPort(port int) (unit.Status, bool) {
	i := slices.IndexFunc(in.observed.Units, func(u unit.Status) bool { return u.Port == port })
	if i < 0 {
		return unit.Status{}, false
	}
	return in.observed.Units[i], true
}

// appWorks says whether a process answers as it should now.
func (in *instance) appWorks(u unit.Status) bool {
	b := in.w.behaviour(u.Release)
	if b == nil {
		return true
	}
	return !b.Broken && (b.FailsAfter == 0 || in.w.now-in.started[u.PID] < b.FailsAfter)
}

var errBroken = errors.New("GET /up: 500")

// effect is what a step does to the world; its result comes back to whoever took it.
func (in *instance) effect(step agent.Step) agent.Outcome {
	w, o := in.w, &in.observed
	if _, isCheck := step.(agent.Check); !isCheck && w.chance(w.scenario.Noise.StepFails) {
		return agent.Outcome{Err: errNetwork}
	}
	broken := func(phase string) agent.Outcome {
		return agent.Outcome{Err: &deploy.RevisionError{Phase: phase, Err: errBroken}}
	}
	if outcome, done := in.effectAttached(step); done {
		return outcome
	}
	switch s := step.(type) {
	case agent.Prepare:
		if b := w.behaviour(s.Release); b != nil && b.NoBuild {
			return broken("build")
		}
		o.Prepared[s.Release.Number] = deploy.Prepared{Release: s.Release, Recipe: recipe.Recipe{Processes: []recipe.Process{{Name: "web", Port: true, Overlap: true}}}}
	case agent.Start:
		in.start(s)
	case agent.Check:
		u, ok := in.onPort(s.Port)
		if !ok || u.PID != s.PID || !in.appWorks(u) || in.flakes[s.Unit] < w.behaviour(u.Release).flaky(in.id, w.calm) {
			in.flakes[s.Unit]++
			return broken("check")
		}
		o.Passed[agent.Incarnation{Unit: u.Name, PID: u.PID}] = true
		in.passed[u.PID] = true
	case agent.Register:
		if u, ok := in.onPort(s.Port); ok {
			in.took[u.PID], in.drained[u.PID] = true, false
		}
		o.Targets[s.Port] = agent.Target{Registered: true, Everywhere: true}
		in.strikes[s.Port] = 0
	case agent.AwaitBalancer:
		if !o.Targets[s.Port].Healthy {
			return broken("balancer")
		}
	case agent.CompleteHook:
		if s.Result == model.HookAbandon {
			in.terminate()
		} else if in.lifecycle() == model.LifecyclePendingWait {
			o.Membership.Lifecycle = model.LifecycleInService
		}
	case agent.CompleteTermination:
		in.bury()
	case agent.Deregister:
		o.Targets[s.Port] = agent.Target{Draining: true}
	case agent.Drain:
		if u, ok := in.onPort(s.Port); ok {
			in.drained[u.PID] = true
		}
	case agent.Stop:
		o.Units = slices.DeleteFunc(o.Units, func(u unit.Status) bool { return u.Name == s.Unit })
	case agent.Replace:
		in.beyondHelp = true
	}
	return agent.Outcome{}
}

// start starts a process.
func (in *instance) start(s agent.Start) {
	in.w.facts.started[agent.FleetRelease(s.Release).ID] = true
	name := agent.UnitName("shop", s.Release.Number, s.Process)
	in.observed.Units = slices.DeleteFunc(in.observed.Units, func(u unit.Status) bool { return u.Name == name })
	in.pids++
	in.started[in.pids] = in.w.now
	in.observed.Units = append(in.observed.Units, unit.Status{
		Spec: unit.Spec{Name: name, Release: s.Release, Process: s.Process, Port: s.Port}, State: unit.Running, PID: in.pids,
	})
}
