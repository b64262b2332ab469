package sim

import (
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/rollout"
)

// found begins the world: with a fleet that serves release 1, or with one that nobody ever gave anything.
func (w *world) found() {
	for range w.scenario.Instances {
		in := w.launch()
		if !w.scenario.FromZero {
			in.serveFirst()
		}
	}
	w.after(10*time.Second, w.troubleSome)
	if w.scenario.FromZero {
		return
	}
	b := &Behaviour{Revision: founded().Revision}
	w.put("founder", rollout.Intent{Schema: 1, Revision: founded().Revision, Ref: "v1"}, b)
	w.parameter.label = 1
	_ = w.table.commit(actor{name: "founder", operator: true}, "found", []rollout.Change{
		{Key: rollout.StableKey, New: true, Set: map[string]string{"schema": "1", "epoch": "0", "number": "1", "revision": `"` + founded().Revision + `"`}},
	})
	w.facts.stables[founded().ID] = true
}

// founded is the release that a fleet begins with.
func founded() rollout.Release {
	return rollout.Release{ID: rollout.ID{Number: 1}, Revision: "1111111111111111111111111111111111111111"}
}

// serveFirst makes an instance that has long been in service.
func (in *instance) serveFirst() {
	rel := agent.LocalRelease(founded())
	in.observed.Membership.Lifecycle = model.LifecycleInService
	in.observed.Prepared[rel.Number] = deploy.Prepared{Release: rel, Recipe: recipe.Recipe{Processes: []recipe.Process{{Name: "web", Port: true, Overlap: true}}}}
	in.pids++
	in.passed[in.pids] = true
	in.observed.Units = []unit.Status{{Spec: unit.Spec{Name: agent.UnitName("shop", rel.Number, "web"), Release: rel, Process: "web", Port: firstPort}, State: unit.Running, PID: in.pids}}
	in.observed.Targets[firstPort] = agent.Target{Registered: true, Everywhere: true, Healthy: true}
	in.memory.InService, in.memory.Serving, in.memory.Port = rel, true, firstPort
	in.memory.Ports = map[int]agent.PortUse{firstPort: {Release: rel}}
}

// troubleSome lets agents sleep now and then, or cuts them off from the table.
func (w *world) troubleSome() {
	if w.calm {
		return
	}
	w.after(10*time.Second, w.troubleSome)
	for _, in := range w.listed() {
		if in.process != nil && w.chance(w.scenario.Noise.Frozen*len(w.instances)) {
			in.process.sleep(w.between(5*time.Second, 3*time.Minute))
		}
		if in.process != nil && w.chance(w.scenario.Noise.CutOff*len(w.instances)) {
			lasts := w.between(5*time.Second, 2*time.Minute)
			w.trace("%s: the table is out of reach for %s", in.id, lasts.Round(time.Second))
			in.process.cutOff = w.now + lasts
		}
	}
}

// reaches says whether the process reaches the table now.
func (p *process) reaches() bool {
	return !p.in.w.outage() && p.in.w.now >= p.cutOff
}

func (p *process) sleep(d time.Duration) {
	w := p.in.w
	w.trace("%s: the agent sleeps for %s", p.in.id, d.Round(time.Second))
	p.frozen = max(p.frozen, w.now+d)
}

// happen lets an event of the scenario happen.
func (w *world) happen(e Event) {
	if w.calm {
		return
	}
	pick := func() *instance {
		all := w.listed()
		if len(all) == 0 {
			return nil
		}
		return all[e.N%len(all)]
	}
	leader := func() *instance {
		for _, in := range w.listed() {
			if r := w.table.rollout; r != nil && r.Lead.By == in.id {
				return in
			}
		}
		return pick()
	}
	switch e.Kind {
	case DeployRelease:
		w.deploy(e.Release, nil)
	case DeployForce:
		w.deploy(e.Release, func(c *cli) { c.force = true })
	case DeployNewEpoch:
		w.deploy(e.Release, func(c *cli) { c.anew = true })
	case DeployRollback:
		w.deploy(e.Release, func(c *cli) { c.undo = true })
	case WriteByHand:
		w.byHand(e)
	case TwoAtOnce:
		w.deploy(e.Release, nil)
		other := e.Release
		other.Revision = "f" + other.Revision[1:]
		w.deploy(other, func(c *cli) { c.force = true })
		if e.N%3 == 0 {
			w.byHand(e)
			w.byHand(Event{Release: other, N: 1})
		}
	case CLIDies:
		w.deploy(e.Release, func(c *cli) { c.dies = true })
	case CLISleeps:
		w.deploy(e.Release, func(c *cli) { c.sleep, c.force = e.For, e.N%2 == 0 })
	case OperatorPause, OperatorResume, OperatorAbort, OperatorOK, Freeze, Unfreeze:
		w.operate(string(e.Kind))
	case AgentDies, LeaderDies, AgentSleeps, LeaderSleeps, MachineDies, MachineReboots:
		in := pick()
		if e.Kind == LeaderDies || e.Kind == LeaderSleeps {
			in = leader()
		}
		w.befall(in, e)
	case ScaleTo:
		w.desired = 1 + e.N%(w.scenario.Instances+3)
		w.trace("the group is scaled to %d", w.desired)
	case ScaleToZero:
		w.desired = 0
		w.trace("the group is scaled to zero")
		w.after(e.For, func() { w.desired = max(w.desired, w.scenario.Instances) })
	case ParameterAnew:
		w.trace("the parameter is deleted, and made anew")
		w.parameter.versions, w.parameter.label = nil, 0
		w.byHand(e)
	case StableBreaks:
		w.trace("stable does not work any more: what it depends on is gone")
		if r := w.table.stable.Release; !r.IsZero() {
			w.puts[r.Revision[:38]].Broken = true
		}
	case PersonStandby, Strike:
		w.happenAttached(e)
	case Outage:
		w.trace("the table can't be reached for %s", e.For)
		w.outageTo = w.now + e.For
	}
}

func (w *world) befall(in *instance, e Event) {
	switch {
	case in == nil:
	case e.Kind == MachineDies:
		in.die()
	case e.Kind == MachineReboots:
		in.reboot()
	case in.process == nil:
	case e.Kind == AgentSleeps || e.Kind == LeaderSleeps:
		in.process.sleep(e.For)
	default:
		in.crashAgent()
	}
}

// byHand is `aws ssm put-parameter --value`: a SHA, or a branch that must be resolved first.
func (w *world) byHand(e Event) {
	intent := rollout.Intent{Schema: 1, Ref: "main"}
	if e.N%2 == 0 {
		intent.Revision, intent.Ref = e.Release.Revision, e.Release.Revision
	}
	b := e.Release
	w.put("a hand", intent, &b)
}

// branch resolves a ref. Branches move: each who asks gets another commit.
func (w *world) branch(in *instance, b *Behaviour) string {
	return b.Revision[:38] + in.id[2:4]
}

// behaviour is what a release does on any machine.
func (w *world) behaviour(rel model.Release) *Behaviour { return w.puts[rel.Revision[:38]] }

// candidate is the release of the rollout record.
func (w *world) candidate() rollout.ID {
	if w.table.rollout == nil {
		return rollout.ID{}
	}
	return w.table.rollout.Release.ID
}

func (p *parameter) has(number int64) bool { return number > 0 && number <= int64(len(p.versions)) }

// labels says whether an agent goes on to set the label stable, as production does when it has looked at what the version says.
func (w *world) labels(to rollout.Release) bool {
	return !to.IsZero() && w.parameter.has(to.Number) && (w.mutation.Blind || w.parameter.versions[to.Number-1].intent.Names(to))
}

// label sets the label stable, and holds S3 and S6: only what was stable has it, and who boots from it boots the revision that was.
func (w *world) label(in *instance, to rollout.Release) {
	if !w.facts.stables[to.ID] {
		w.violated("S3", "%s sets the label stable to %s, which never was", in.id, to)
	}
	if says := w.parameter.versions[to.Number-1].intent.Revision; says != "" && says != to.Revision {
		w.violated("S6", "%s sets the label stable to %s, and that version says %.6s", in.id, to, says)
	}
	w.parameter.label = to.Number
}

// calmDown ends the trouble: agents that were killed run, machines that died are replaced, requests arrive.
func (w *world) calmDown() {
	w.trace("--- calm ---")
	w.calm = true
	s := *w.scenario
	s.Noise = Noise{Drift: s.Noise.Drift}
	w.scenario = &s
	w.outageTo = 0
	for _, in := range w.instances {
		if in.process != nil {
			in.process.cutOff = 0
		}
	}
	w.desired = max(w.desired, min(w.scenario.Instances, 3))
	w.operate("unfreeze")
	for _, in := range w.listed() {
		in.downTo = 0
		in.startAgent()
		in.personReturns()
	}
}

// lastDeploy puts a release that works. Where the parameter was made anew it takes a new epoch.
func (w *world) lastDeploy() {
	b := Behaviour{Revision: "9999999999999999999999999999999999999999"}
	anew := false
	next := rollout.ID{Epoch: w.facts.epoch, Number: int64(len(w.parameter.versions)) + 1}
	for key := range w.table.records { // as the CLI finds out: by the newest release that there is a record of
		anew = anew || strings.HasPrefix(key, "release/") && key >= rollout.ReleaseKey(next)
	}
	anew = anew || next.Number <= w.table.stable.Release.Number
	w.lastPut = &b
	w.deploy(b, func(c *cli) {
		c.force, c.anew, c.until = true, anew, w.now+time.Hour
		c.b, w.lastPut = &b, &b
	})
}
