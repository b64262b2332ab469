package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// Scenario is all that a seed decides before a run begins. A smaller one that still fails is found by leaving things out.
type Scenario struct {
	Seed      uint64 // of the run's own chances
	Instances int
	Policy    rollout.Policy
	FromZero  bool // no release was ever put
	Attached  bool // Auto Scaling registers the instances
	Least     int  // the group's MinSize, where it is attached
	Hook      int  // heartbeat time-out of the launch hook, in seconds
	Trouble   time.Duration
	Noise     Noise
	Events    []Event
}

// Noise is what goes wrong all the time: each once in so many, 0 for never.
type Noise struct {
	Throttled, Lost, Doubled, Delayed int // requests to the table
	Torn                              int // reads of the two records, with a write in between
	Stale                             int // reads of the parameter
	StepFails                         int // steps of a machine
	Frozen                            int // agents that sleep for minutes, each ten seconds
	CutOff                            int // agents that can't reach the table for a while, each ten seconds
	Drift                             bool
}

// Event is something that happens at a time.
type Event struct {
	At      time.Duration
	Kind    Kind
	N       int           // which instance, or how many
	For     time.Duration // how long
	Release Behaviour
}

// Kind is what happens.
type Kind string

// What may happen.
const (
	DeployRelease  Kind = "deploy"
	DeployForce    Kind = "deploy --force"
	DeployNewEpoch Kind = "deploy --new-epoch"
	DeployRollback Kind = "rollback"
	WriteByHand    Kind = "write by hand"
	TwoAtOnce      Kind = "two operators deploy at once"
	CLIDies        Kind = "a CLI dies between lock and put"
	CLISleeps      Kind = "a CLI sleeps between lock and put"
	OperatorPause  Kind = "pause"
	OperatorResume Kind = "resume"
	OperatorAbort  Kind = "abort"
	OperatorOK     Kind = "promote"
	Freeze         Kind = "freeze"
	Unfreeze       Kind = "unfreeze"
	AgentDies      Kind = "kill an agent"
	LeaderDies     Kind = "kill the leader's agent"
	AgentSleeps    Kind = "an agent sleeps"
	LeaderSleeps   Kind = "the leader sleeps"
	MachineDies    Kind = "a machine dies"
	MachineReboots Kind = "a machine reboots"
	ScaleTo        Kind = "scale to"
	ScaleToZero    Kind = "scale to zero and back"
	ParameterAnew  Kind = "the parameter is deleted and made anew"
	StableBreaks   Kind = "what stable depends on is gone"
	Outage         Kind = "the table can't be reached"
)

// Behaviour is what a release does.
type Behaviour struct {
	Broken     bool          // never passes a check
	NoBuild    bool          // can't be prepared
	FailsAfter time.Duration // works for so long; 0 for good
	Flaky      int           // fails first on one instance in so many
	Task       bool
	Reversible bool
	TaskFails  bool
	Revision   string
}

func (b *Behaviour) String() string {
	var words []string
	for _, w := range []struct {
		is   bool
		word string
	}{
		{b.Broken, "broken"}, {b.NoBuild, "can't be built"}, {b.FailsAfter > 0, fmt.Sprintf("fails after %s", b.FailsAfter)}, {b.Flaky > 0, "fails on some instances"},
		{b.Task, "with a task"}, {b.TaskFails, "that fails"}, {b.Reversible, "reversible"},
	} {
		if w.is {
			words = append(words, w.word)
		}
	}
	if len(words) == 0 {
		return "(good)"
	}
	return "(" + strings.Join(words, ", ") + ")"
}

// flaky is how often the release fails on that instance before it works.
func (b *Behaviour) flaky(instance string, calm bool) int {
	if b == nil || b.Flaky == 0 || calm {
		return 0
	}
	sum := int(b.Revision[3])
	for _, c := range instance {
		sum = sum*31 + int(c)
	}
	if sum%b.Flaky == 0 {
		return 1
	}
	return 0
}

func (s *Scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d instances, fromZero=%t, attached=%t (MinSize %d), trouble for %s, policy %+v, noise %+v\n", s.Instances, s.FromZero, s.Attached, s.Least, s.Trouble, s.Policy, s.Noise)
	for _, e := range s.Events {
		fmt.Fprintf(&b, "  at %s: %s, n=%d, for %s, %s\n", e.At, e.Kind, e.N, e.For, &e.Release)
	}
	return b.String()
}

func (s *Scenario) patience() time.Duration {
	return 6*time.Duration(s.Policy.ProgressDeadline) + time.Duration(s.Instances)*5*time.Minute + time.Hour
}

// Generate makes the scenario of a seed. Small fleets are the more likely ones: most of what can go wrong goes wrong there.
func Generate(seed uint64) *Scenario {
	r := rand.New(rand.NewPCG(seed, 7))
	once := func(n int) bool { return r.IntN(n) == 0 }
	seconds := func(low, high int) time.Duration { return time.Duration(low+r.IntN(high-low+1)) * time.Second }
	s := &Scenario{Seed: seed, Instances: 1 + r.IntN(4), FromZero: once(6), Policy: rollout.DefaultPolicy()}
	switch r.IntN(24) {
	case 0:
		s.Instances = 13 + r.IntN(28)
	case 1, 2, 3, 4:
		s.Instances = 5 + r.IntN(8)
	}
	p := &s.Policy
	p.Restart = once(3)
	p.Canary = r.IntN(3)
	p.Bake = rollout.Duration(seconds(10, 60))
	p.MinHealthyTime = rollout.Duration(seconds(1, 10))
	p.ProgressDeadline = rollout.Duration(seconds(200, 500))
	p.Batch = rollout.Percent(10 + r.IntN(90))
	if s.Instances >= 3 && once(2) {
		p.MinHealthy = rollout.Percent(r.IntN(60))
		if !p.Restart && once(2) { // the old process serves until the new one does
			p.MinHealthy = rollout.Percent(60 + r.IntN(41))
		}
	}
	if once(3) {
		p.MaxFailures = 1 + r.IntN(2)
	}
	p.OnFailure = []rollout.OnFailure{rollout.RollBack, rollout.RollBack, rollout.RollBack, rollout.Pause, rollout.Stop}[r.IntN(5)]
	if once(6) {
		p.Promote = rollout.Manual
	}
	rate := func(n int) int {
		if once(3) {
			return 0
		}
		return n + r.IntN(n*3)
	}
	s.Noise = Noise{
		Throttled: rate(12), Lost: rate(12), Doubled: rate(12), Delayed: rate(12), Torn: rate(1), Stale: rate(6), StepFails: rate(30), Frozen: rate(20), CutOff: rate(10), Drift: once(2),
	}
	if once(4) {
		s.Noise = Noise{}
	}
	s.Hook = []int{30, 300, 300}[r.IntN(3)]
	s.Trouble = seconds(300, 900)
	happens := r.IntN(12)
	if s.Hook == 30 && s.Instances < 5 && once(8) { // little happens, for longer than heartbeats keep a launch hook open
		s.Trouble, s.FromZero, happens = time.Hour, once(2), r.IntN(3)
	}
	s.generateEvents(r, happens, once, seconds)
	return s
}

func (s *Scenario) generateEvents(r *rand.Rand, happens int, once func(int) bool, seconds func(int, int) time.Duration) {
	kinds := []Kind{
		DeployRelease, DeployRelease, DeployRelease, DeployForce, DeployForce, DeployRollback, WriteByHand, WriteByHand, TwoAtOnce, CLIDies, CLISleeps,
		OperatorPause, OperatorResume, OperatorAbort, OperatorAbort, OperatorOK, Freeze, Unfreeze, AgentDies, AgentDies, LeaderDies, LeaderDies,
		AgentSleeps, LeaderSleeps, LeaderSleeps, MachineDies, MachineReboots, ScaleTo, ScaleTo, ScaleToZero, ParameterAnew, DeployNewEpoch, Outage, StableBreaks,
	}
	s.Events = append(s.Events, Event{At: seconds(1, 20), Kind: []Kind{DeployRelease, DeployRelease, WriteByHand}[r.IntN(3)], Release: behaviour(r, once, seconds)})
	for range happens {
		e := Event{At: time.Duration(r.Int64N(int64(s.Trouble))), Kind: kinds[r.IntN(len(kinds))], N: r.IntN(50), For: seconds(5, 240), Release: behaviour(r, once, seconds)}
		if once(4) { // somebody tries the same revision again
			e.Release = s.Events[r.IntN(len(s.Events))].Release
		}
		s.Events = append(s.Events, e)
		if once(5) { // and somebody else is in a hurry
			s.Events = append(s.Events, Event{At: e.At + seconds(0, 6), Kind: WriteByHand, N: r.IntN(50), Release: behaviour(r, once, seconds)})
		}
	}
}

func behaviour(r *rand.Rand, once func(int) bool, seconds func(int, int) time.Duration) (b Behaviour) {
	const hex = "0123456789abcdef"
	digits := make([]byte, 40)
	for i := range digits {
		digits[i] = hex[r.IntN(16)]
	}
	b.Revision = string(digits)
	switch r.IntN(10) {
	case 0:
		b.Broken = true
	case 1:
		b.NoBuild = true
	case 2, 3:
		b.FailsAfter = seconds(5, 300)
	case 4:
		b.Flaky = 2 + r.IntN(3)
	}
	if b.Task = once(3); b.Task {
		b.Reversible, b.TaskFails = once(2), once(6)
	}
	return b
}
