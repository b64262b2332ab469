package rollout_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// fleet is a small world for stories: agents that step in turn, one second apart, on a table without misfortunes. Machines
// do what they are told within a step, unless the story says otherwise.
type fleet struct {
	*testing.T
	records   map[string]rollout.Record
	agents    []*node
	published rollout.Published
	policy    rollout.Policy
	now       time.Duration
	log       []string
	down      bool // the table can't be reached
}

// node is one instance and its agent.
type node struct {
	id        string
	memory    rollout.Memory
	serving   rollout.Release
	since     time.Duration
	inService bool
	sick      bool
	aside     bool   // it has its instance in standby, or wants to
	standby   bool   // it is in standby
	hindered  string // what keeps it from entering standby: it switches nothing
	dead      bool   // its agent does nothing
	gone      bool   // it has left the group
	failed    rollout.LocalFailure
	task      rollout.Candidate // what the recipe of the candidate says
	run       rollout.TaskRun
	runs      int
	taskErr   error
	taskTakes time.Duration
	taskBegan time.Duration
	breaks    func(rollout.Release) bool // releases that fail here
	read      []string
	last      rollout.Decision
	offset    time.Duration // of its clock
	resolves  string
	resolved  rollout.Resolution
	group     rollout.Group
}

var stableOne = release(1)

func release(n int64) rollout.Release {
	return rollout.Release{ID: rollout.ID{Number: n}, Revision: fmt.Sprintf("%040d", n), Ref: fmt.Sprintf("v%d", n)}
}

// newFleet gives a fleet that serves release 1; of zero instances, one that was never given a release.
func newFleet(t *testing.T, size int) *fleet {
	f := &fleet{T: t, records: map[string]rollout.Record{}, policy: rollout.DefaultPolicy(), now: time.Hour}
	f.policy.Bake, f.policy.MinHealthyTime = rollout.Duration(20*time.Second), rollout.Duration(3*time.Second)
	if size > 0 {
		f.records["stable"] = rollout.Record{Key: "stable", Attributes: map[string]string{
			"schema": "1", "epoch": "0", "number": "1", "revision": `"` + stableOne.Revision + `"`, "of_the_future": "1",
		}}
		f.put(stableOne)
	}
	for range size {
		n := f.launch()
		n.serving, n.inService = stableOne, true
	}
	return f
}

func (f *fleet) launch() *node {
	n := &node{id: fmt.Sprintf("i-%d", len(f.agents)), offset: time.Duration(len(f.agents)) * 12345 * time.Second}
	f.agents = append(f.agents, n)
	return n
}

// put writes a release by hand.
func (f *fleet) put(r rollout.Release) {
	f.published.Number, f.published.Err = r.Number, nil
	f.published.Intent = rollout.Intent{Schema: 1, Revision: r.Revision, Ref: r.Ref}
}

func (f *fleet) rollout() *rollout.Rollout {
	r, err := rollout.DecodeRollout(f.records[rollout.RolloutKey])
	if err != nil {
		f.Fatal(err)
	}
	if r == nil {
		return &rollout.Rollout{}
	}
	return r
}

func (f *fleet) stable() rollout.Release {
	s, err := rollout.DecodeStable(f.records[rollout.StableKey])
	if err != nil {
		f.Fatal(err)
	}
	return s.Release
}

// outcome is what became of a release.
func (f *fleet) outcome(n int64) rollout.Outcome {
	o, err := rollout.DecodeOutcome(f.records[rollout.ReleaseKey(rollout.ID{Number: n})])
	if err != nil {
		f.Fatal(err)
	}
	return o
}

// slots are the instances that have one.
func (f *fleet) slots() (out []string) {
	for id, p := range f.rollout().Parts {
		if p.Open() {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func (f *fleet) leader() *node {
	for _, n := range f.agents {
		if n.id == f.rollout().Lead.By {
			return n
		}
	}
	return nil
}

func (f *fleet) view(n *node) rollout.View {
	v := rollout.View{Reached: !f.down, Published: f.published, Defaults: f.policy, Group: n.group, Records: map[string]rollout.Record{}, Resolution: n.resolved}
	if !f.down {
		r, err := rollout.DecodeRollout(f.records[rollout.RolloutKey])
		s, serr := rollout.DecodeStable(f.records[rollout.StableKey])
		v.Rollout, v.Stable, v.Broken = r, s, errors.Join(err, serr)
		for _, key := range n.read {
			record := f.records[key]
			record.Key = key
			v.Records[key] = record
		}
	}
	v.Self = rollout.Self{ID: n.id, Serving: n.serving, Failed: n.failed, Task: n.run, Failing: n.sick && !n.serving.IsZero(), Aside: n.aside, Standby: n.standby && !n.aside, Hindered: n.hindered, Launching: !n.inService}
	if !n.serving.IsZero() && !n.sick && !n.standby {
		v.Self.Passing = f.now - n.since + 1
	}
	if ready := n.last.Ready; !ready.IsZero() || !n.task.Release.IsZero() {
		v.Self.Candidate = n.task
		v.Self.Candidate.Release = orID(ready.ID, n.task.Release)
	}
	return v
}

func orID(a, b rollout.ID) rollout.ID {
	if a.IsZero() {
		return b
	}
	return a
}

// step lets one agent decide, write, and do what it was told.
func (f *fleet) step(n *node) {
	d, memory := rollout.Step(f.view(n), n.memory, f.now+n.offset)
	n.memory, n.last, n.read = memory, d, d.Read
	f.write(n.id, d.Writes)
	if d.Watch {
		n.group = f.group(n)
	}
	for _, other := range f.agents {
		if slices.Contains(d.Restore, other.id) {
			other.standby = false
		}
	}
	if d.Resolve && n.resolves != "" {
		n.resolved = rollout.Resolution{Release: rollout.ID{Number: f.published.Number}, Revision: n.resolves}
	}
	if !d.Ready.IsZero() {
		n.task.Release = d.Ready.ID
	}
	if d.RunTask && n.run.Release != f.rollout().Release.ID {
		if n.taskBegan == 0 {
			n.runs++
			n.taskBegan = f.now
		}
		if f.now-n.taskBegan >= n.taskTakes {
			n.run = rollout.TaskRun{Release: f.rollout().Release.ID, Ended: true, Err: n.taskErr}
		}
	}
	switch goal := d.Goal; {
	case goal.IsZero() || goal.ID == n.serving.ID:
	case n.hindered != "" || n.standby && !n.aside: // nothing happens
	case n.breaks != nil && n.breaks(goal):
		n.failed = rollout.LocalFailure{Release: goal.ID, Attempt: d.Attempt, Cause: "GET /up: 500"}
	default:
		n.serving, n.since, n.inService, n.sick = goal, f.now, true, false
	}
}

func (f *fleet) write(by string, writes []rollout.Write) {
	for _, w := range writes {
		if err := rollout.CheckChanges(w.Changes...); err != nil {
			f.Fatalf("%s: %s: %v", by, w.Why, err)
		}
		made, err := rollout.MakeAll(f.records, w.Changes)
		f.log = append(f.log, fmt.Sprintf("%6.0fs %s: %s (%v)", f.now.Seconds(), by, w.Why, err))
		if err != nil {
			return
		}
		for _, record := range made {
			if record.Attributes == nil {
				delete(f.records, record.Key)
			} else {
				f.records[record.Key] = record
			}
		}
	}
}

// operate writes as an operator.
func (f *fleet) operate(changes []rollout.Change, err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
	f.write("operator", []rollout.Write{{Why: "an operator's word", Changes: changes}})
}

func (f *fleet) group(n *node) rollout.Group {
	g := rollout.Group{Known: true, At: f.now + n.offset}
	for _, other := range f.agents {
		if !other.gone {
			g.Members = append(g.Members, rollout.Member{ID: other.id, InService: other.inService && !other.standby, Standby: other.standby, Healthy: other.inService && !other.standby && !other.sick && !other.serving.IsZero()})
			g.Desired++
		}
	}
	return g
}

// second lets everybody step once.
func (f *fleet) second() {
	f.now += time.Second
	for _, n := range f.agents {
		if !n.dead && !n.gone {
			f.step(n)
		}
	}
}

func (f *fleet) seconds(n int) {
	for range n {
		f.second()
	}
}

// until lets time pass until something is so; an hour at most.
func (f *fleet) until(what string, is func() bool) {
	f.Helper()
	for range 3600 {
		if is() {
			return
		}
		f.second()
	}
	if len(f.log) > 40 {
		f.log = f.log[len(f.log)-40:]
	}
	f.Fatalf("an hour passed without %s: the rollout is %+v, parts %+v\n%s", what, f.rollout().State, f.rollout().Parts, strings.Join(f.log, "\n"))
}

func (f *fleet) ended(status rollout.Status) func() bool {
	return func() bool { return f.rollout().State.Status == status }
}

// serve says what each instance that is there serves, by release number.
func (f *fleet) serve() map[int64]int {
	out := map[int64]int{}
	for _, n := range f.agents {
		if !n.gone {
			out[n.serving.Number]++
		}
	}
	return out
}

func (f *fleet) allServe(n int64) bool {
	got := f.serve()
	return len(got) == 1 && got[n] > 0
}

func (f *fleet) wants(got map[int64]int, want map[int64]int) {
	f.Helper()
	if !maps.Equal(got, want) {
		f.Errorf("releases served: %v, want %v", got, want)
	}
}
