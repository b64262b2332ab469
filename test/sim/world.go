package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// world is everything there is.
type world struct {
	loop
	scenario  *Scenario
	mutation  Mutation
	table     *table
	parameter parameter
	instances []*instance // also those that are gone, by age
	desired   int
	calm      bool          // no more trouble
	outageTo  time.Duration // the table can't be reached until then
	facts     facts
	violation *Violation
	lines     []string // the trace, where one is wanted
	tracing   bool
	puts      map[string]*Behaviour // what each revision does, by its first 38 digits: those of a branch differ in the last two
	cliBusy   int                   // deploys and other commands in flight
	lastPut   *Behaviour
	account   *account // where requests are counted; nil where they are not
	blows     []blow   // that have not fallen yet
}

// parameter is the release parameter.
type parameter struct {
	versions []version // of this life
	label    int64
	lives    int // how often it was made
}

type version struct {
	number int64
	intent rollout.Intent
	at     time.Duration
	b      *Behaviour
}

func newWorld(s *Scenario, m Mutation, tracing bool) *world {
	w := &world{scenario: s, mutation: m, tracing: tracing, desired: s.Instances, puts: map[string]*Behaviour{}}
	w.random = rand.New(rand.NewPCG(s.Seed, 1))
	w.table = &table{w: w, records: map[string]rollout.Record{}}
	w.facts = newFacts()
	return w
}

func (w *world) trace(format string, args ...any) {
	if w.tracing {
		w.lines = append(w.lines, fmt.Sprintf("%9.3f  ", w.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

// violated notes the first invariant that does not hold.
func (w *world) violated(invariant, format string, args ...any) {
	if w.violation == nil {
		w.violation = &Violation{invariant, w.now, fmt.Sprintf(format, args...)}
		w.trace("VIOLATED: %v", w.violation)
	}
}

func (w *world) outage() bool { return w.now < w.outageTo }

// put writes a new version of the parameter.
func (w *world) put(by string, intent rollout.Intent, b *Behaviour) {
	p := &w.parameter
	if len(p.versions) == 0 {
		p.lives++
	}
	number := int64(len(p.versions) + 1)
	p.versions = append(p.versions, version{number, intent, w.now, b})
	if intent.Lock != "" {
		w.facts.forced[intent.Lock] = intent.Force
	}
	epoch := intent.Epoch
	if intent.Lock == "" {
		epoch = w.facts.epoch
	}
	w.facts.epoch = max(epoch, w.facts.epoch)
	w.puts[b.Revision[:38]] = b
	w.trace("%s puts version %d of the parameter: %s %.6s %s", by, number, intent.Ref, intent.Revision, b)
}

// published is the parameter as somebody reads it now; the read may be stale by some seconds.
func (w *world) published(in *process) rollout.Published {
	at := w.now
	if w.chance(w.scenario.Noise.Stale) {
		at -= w.between(0, 10*time.Second)
	}
	var pub rollout.Published
	for _, v := range w.parameter.versions {
		if v.at <= at || v.number == 1 {
			pub.Number, pub.Intent = v.number, v.intent
		}
		if v.number == w.parameter.label {
			pub.Mirror = rollout.Release{ID: rollout.ID{Epoch: w.table.stable.Release.Epoch, Number: v.number}, Revision: v.intent.Revision}
		}
	}
	// As the driver does: a third read in a row that is lower than one seen before has the history looked up.
	if epoch := w.candidate().Epoch; epoch > in.epoch {
		in.epoch, in.highest = epoch, 0
	}
	if pub.Number != 0 && pub.Number < in.highest {
		in.backward++
	} else {
		in.backward, in.highest = 0, max(in.highest, pub.Number)
	}
	pub.Anew = in.backward >= 3 && w.parameter.lives > 1
	return pub
}

// group is what the leader sees of the group and the balancer.
func (w *world) group(now time.Duration) rollout.Group {
	g := rollout.Group{Known: true, At: now, Desired: w.desired}
	for _, in := range w.instances {
		if in.listed() {
			g.Members = append(g.Members, rollout.Member{ID: in.id, InService: in.lifecycle() == model.LifecycleInService, Standby: in.inStandby(), Healthy: in.healthy()})
		}
	}
	return g
}

// listed are the instances that the group has and does not end.
func (w *world) listed() (out []*instance) {
	for _, in := range w.instances {
		if in.listed() {
			out = append(out, in)
		}
	}
	return out
}

// scale is Auto Scaling: every few seconds it launches what is missing, ends what is too much, and replaces what is dead or
// said to be beyond help.
func (w *world) scale() {
	w.after(5*time.Second, w.scale)
	for _, in := range w.listed() {
		if !in.inStandby() && (in.gone && w.now-in.goneAt > time.Minute || in.beyondHelp) {
			w.trace("Auto Scaling replaces %s", in.id)
			in.terminate()
		}
	}
	have := slices.DeleteFunc(w.listed(), (*instance).inStandby)
	for n := len(have); n < w.desired; n++ {
		w.launch()
	}
	for n := len(have); n > w.desired; n-- {
		i := w.random.IntN(len(have))
		w.trace("Auto Scaling ends %s", have[i].id)
		have[i].terminate()
		have = slices.Delete(have, i, i+1)
	}
}

// balance is the balancer: every five seconds it checks every target. One pass makes a target healthy, two failures unhealthy.
func (w *world) balance() {
	w.after(5*time.Second, w.balance)
	for _, in := range w.instances {
		if !in.buried {
			in.checkTargets()
		}
	}
}

// run runs the scenario: trouble for a while, then calm until the rollout has ended or waits for an operator, then a last
// good release, which everybody must come to serve.
func (w *world) run() *Violation {
	w.found()
	w.after(0, w.scale)
	w.after(time.Second, w.balance)
	for _, e := range w.scenario.Events {
		w.after(e.At, func() { w.happen(e) })
	}
	ends := w.scenario.Trouble
	stage := "trouble"
	for w.violation == nil && w.next() {
		r := w.table.rollout
		switch {
		case stage == "trouble" && w.now >= ends:
			w.calmDown()
			stage, ends = "calm", w.now+w.scenario.patience()
		case stage == "calm" && w.cliBusy == 0 && w.awake() && (r == nil || !r.State.Live() || r.State.Status == rollout.Paused):
			w.lastDeploy()
			stage, ends = "last", w.now+w.scenario.patience()
		case stage == "last" && r != nil && r.State.Status == rollout.Paused && r.State.Baked && r.Release.Revision == w.lastPut.Revision:
			_ = w.table.commit(actor{name: "operator", operator: true}, "promote", must(rollout.PromoteRollout(r, "operator")))
		case stage == "last" && w.atRest():
			w.checkEnd()
			return w.violation
		case stage != "trouble" && w.now > ends && w.scenario.Attached && w.asideLeft() != "":
			w.violated("S12", "%s after the trouble %s", w.scenario.patience(), w.asideLeft())
		case stage == "calm" && w.table.get(rollout.FreezeKey).Attributes != nil: // put in the last moment before the calm
			_ = w.table.commit(actor{name: "operator", operator: true}, "unfreeze", rollout.UnfreezeDeploys(w.table.get(rollout.FreezeKey)))
		case stage == "calm" && w.now > ends:
			w.violated("L1", "the rollout has not ended %s after the trouble", w.scenario.patience())
		case stage == "last" && w.now > ends:
			w.violated("L2", "not every instance serves the last release %s after it was put: %s", w.scenario.patience(), w.restless())
		}
	}
	return w.violation
}

// awake says whether nobody sleeps any more and nothing is frozen.
func (w *world) awake() bool {
	return w.table.get(rollout.FreezeKey).Attributes == nil && !slices.ContainsFunc(w.listed(), func(in *instance) bool {
		return in.process == nil || in.process.frozen > w.now
	})
}

func must(changes []rollout.Change, err error) []rollout.Change {
	if err != nil {
		panic(err)
	}
	return changes
}
