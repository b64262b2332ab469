package operator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/localstore"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/operator"
	"github.com/bootagent/bootagent/rollout"
)

// fleet is a world for an operator: instances whose agents take the very steps of production, on records in a real file, in virtual
// time that passes while the operator sleeps.
type fleet struct {
	*testing.T
	store    *remembering
	file     string
	nodes    []*node
	policy   rollout.Policy
	now      time.Duration
	versions []model.Version // of the release parameter, oldest first
	number   int64           // of its newest version
	label    int64
	anew     bool // it was deleted and made anew
	refs     map[string]string
	recipes  map[string]error // what is wrong with a revision's recipe
	putErr   error            // what a put fails with
	putLost  bool             // it was done all the same
	looked   func()           // at the parameter's history
	most     int              // the group's MaxSize
	minimum  int              // its MinSize; 0 for its size
	limits   []model.TargetLimit
	limitErr error                // what asking for limits fails with
	asked    int                  // how often they were asked for
	more     []model.TargetHealth // targets besides the instances' own
	lines    []string             // what was said and shown
	later    []later
	err      error // of an agent's writes, other than a conflict
}

// later is something that happens at a time.
type later struct {
	at time.Duration
	do func()
}

// node is one instance and its agent. Machines do what they are told within a step.
type node struct {
	id      string
	memory  rollout.Memory
	serving rollout.Release
	since   time.Duration
	sick    bool
	dead    bool // its agent does nothing
	failed  rollout.LocalFailure
	read    []string
	group   rollout.Group
	ready   rollout.ID
	broken  map[string]bool // revisions that fail here
}

// remembering reads a record once between two writes: virtual hours pass in which nobody writes.
type remembering struct {
	*localstore.Store
	read map[string]rollout.Record
}

func (r *remembering) Get(ctx context.Context, key string) (rollout.Record, error) {
	if known, ok := r.read[key]; ok {
		return known, nil
	}
	record, err := r.Store.Get(ctx, key)
	if err == nil {
		r.read[key] = record
	}
	return record, err
}

func (r *remembering) Apply(ctx context.Context, changes ...rollout.Change) error {
	clear(r.read)
	return r.Store.Apply(ctx, changes...)
}

func sha(n int) string { return fmt.Sprintf("%040x", n) }

// newFleet gives so many instances that serve release 1, ref v1; the refs v1 to v5 can be deployed.
func newFleet(t *testing.T, size int) *fleet {
	f := &fleet{T: t, file: filepath.Join(t.TempDir(), "records.json"), policy: rollout.DefaultPolicy(), now: time.Hour, refs: map[string]string{}, recipes: map[string]error{}, most: 10}
	f.quota(1000)
	f.policy.Bake, f.policy.MinHealthyTime = rollout.Duration(20*time.Second), rollout.Duration(3*time.Second)
	f.store = &remembering{Store: localstore.At(f.file, time.Now), read: map[string]rollout.Record{}}
	for n := 1; n <= 5; n++ {
		f.refs[fmt.Sprintf("v%d", n)] = sha(n)
	}
	one := rollout.Release{ID: rollout.ID{Number: 1}, Revision: sha(1), Ref: "v1"}
	f.put("v1")
	f.label = 1
	f.apply(rollout.Change{Key: rollout.StableKey, New: true, Set: map[string]string{
		"schema": "1", "epoch": "0", "number": "1", "revision": `"` + sha(1) + `"`, "ref": `"v1"`}})
	for range size {
		f.launch().serving = one
	}
	return f
}

func (f *fleet) launch() *node {
	n := &node{id: fmt.Sprintf("i-%d", len(f.nodes)), broken: map[string]bool{}}
	f.nodes = append(f.nodes, n)
	return n
}

// put writes a version, as a person does by hand.
func (f *fleet) put(value string) int64 {
	f.number++
	f.versions = append(f.versions, model.Version{Number: f.number, Value: value, At: time.Unix(1_800_000_000, 0).Add(f.now), By: "arn:aws:iam::123456789012:user/ann"})
	return f.number
}

func (f *fleet) apply(changes ...rollout.Change) {
	f.Helper()
	if err := f.store.Apply(context.WithoutCancel(f.Context()), changes...); err != nil {
		f.Fatal(err)
	}
}

func (f *fleet) get(key string) rollout.Record {
	f.Helper()
	r, err := f.store.Get(context.WithoutCancel(f.Context()), key)
	if err != nil {
		f.Fatal(err)
	}
	return r
}

func (f *fleet) rollout() *rollout.Rollout {
	f.Helper()
	r, err := rollout.DecodeRollout(f.get(rollout.RolloutKey))
	if err != nil {
		f.Fatal(err)
	}
	return r
}

func (f *fleet) stable() rollout.Release {
	f.Helper()
	s, err := rollout.DecodeStable(f.get(rollout.StableKey))
	if err != nil {
		f.Fatal(err)
	}
	return s.Release
}

// after lets something happen so much later.
func (f *fleet) after(d time.Duration, do func()) { f.later = append(f.later, later{f.now + d, do}) }

// seconds lets time pass.
func (f *fleet) seconds(n int) {
	for range n {
		f.now += time.Second
		due := f.later
		f.later = nil
		for _, l := range due {
			if l.at <= f.now {
				l.do()
			} else {
				f.later = append(f.later, l)
			}
		}
		for _, node := range f.nodes {
			if !node.dead {
				f.step(node)
			}
		}
	}
}

// published is the parameter as an agent reads it.
func (f *fleet) published() rollout.Published {
	p := rollout.Published{Anew: f.anew}
	if len(f.versions) == 0 {
		return p
	}
	newest := f.versions[len(f.versions)-1]
	p.Number = newest.Number
	p.Intent, p.Err = rollout.ParseIntent(newest.Value)
	return p
}

func (f *fleet) step(n *node) {
	v := rollout.View{Reached: true, Published: f.published(), Defaults: f.policy, Group: n.group, Records: map[string]rollout.Record{}}
	r, err := rollout.DecodeRollout(f.get(rollout.RolloutKey))
	s, serr := rollout.DecodeStable(f.get(rollout.StableKey))
	v.Rollout, v.Stable, v.Broken = r, s, errors.Join(err, serr)
	for _, key := range n.read {
		v.Records[key] = f.get(key)
	}
	v.Self = rollout.Self{ID: n.id, Serving: n.serving, Failed: n.failed, Failing: n.sick, Candidate: rollout.Candidate{Release: n.ready}}
	if !n.serving.IsZero() && !n.sick {
		v.Self.Passing = f.now - n.since + 1
	}
	if ref := v.Published.Intent.Ref; f.refs[ref] != "" {
		v.Resolution = rollout.Resolution{Release: rollout.ID{Epoch: s.Release.Epoch, Number: v.Published.Number}, Revision: f.refs[ref]}
	}
	d, memory := rollout.Step(v, n.memory, f.now)
	n.memory, n.read, n.ready = memory, d.Read, d.Ready.ID
	for _, w := range d.Writes {
		if err := f.store.Apply(context.WithoutCancel(f.Context()), w.Changes...); err != nil {
			if !errors.Is(err, rollout.ErrConflict) {
				f.err = err
			}
			break
		}
	}
	if d.Watch {
		n.group = rollout.Group{Known: true, At: f.now, Desired: len(f.nodes)}
		for _, other := range f.nodes {
			n.group.Members = append(n.group.Members, rollout.Member{ID: other.id, InService: true, Healthy: f.healthy(other)})
		}
	}
	if !d.Mirror.IsZero() {
		f.label = d.Mirror.Number
	}
	switch goal := d.Goal; {
	case goal.IsZero() || goal.ID == n.serving.ID:
	case n.broken[goal.Revision]:
		n.failed = rollout.LocalFailure{Release: goal.ID, Attempt: d.Attempt, Cause: "GET /up: 500; the app's last lines:\n  | no database"}
	default:
		n.serving, n.since, n.sick = goal, f.now, false
	}
}

func (f *fleet) healthy(n *node) bool { return !n.sick && !n.serving.IsZero() }

// The fleet is everything that an operator asks.

type parameter struct{ *fleet }

func (p parameter) Read(context.Context) (model.Published, error) {
	if len(p.versions) == 0 {
		return model.Published{}, model.ErrNoRelease
	}
	out := model.Published{Newest: p.versions[len(p.versions)-1]}
	for _, v := range p.versions {
		if v.Number == p.label {
			out.Stable = &v
		}
	}
	return out, nil
}

func (p parameter) Put(_ context.Context, value string) (int64, error) {
	if p.putErr != nil {
		if p.putLost {
			p.put(value)
		}
		return 0, p.putErr
	}
	return p.put(value), nil
}

func (p parameter) History(_ context.Context, limit int) ([]model.Version, error) {
	if p.looked != nil {
		p.looked()
	}
	if len(p.versions) == 0 {
		return nil, model.ErrNoRelease
	}
	all := slices.Clone(p.versions)
	slices.Reverse(all)
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	return all, nil
}

type repository struct{ *fleet }

func (r repository) Resolve(_ context.Context, ref string) (string, error) {
	if len(ref) == 40 {
		return ref, nil
	}
	if r.refs[ref] == "" {
		return "", fmt.Errorf("resolve %q at https://git.example.com/shop.git: there is no such branch or tag", ref)
	}
	return r.refs[ref], nil
}

func (r repository) Recipe(_ context.Context, revision string) error { return r.recipes[revision] }

type groups struct{ *fleet }

func (g groups) GroupOf(context.Context, string) (string, error) { return "shop-asg", nil }

func (g groups) Describe(_ context.Context, name string) (model.ScalingGroup, error) {
	if name != "shop-asg" {
		return model.ScalingGroup{}, fmt.Errorf("there is no Auto Scaling group %s: %w", name, model.ErrConfiguration)
	}
	out := model.ScalingGroup{Name: name, Least: len(g.nodes), Desired: len(g.nodes), Most: g.most}
	if g.minimum != 0 {
		out.Least = g.minimum
	}
	for _, n := range g.nodes {
		out.Instances = append(out.Instances, model.ScalingInstance{ID: n.id, Lifecycle: model.LifecycleInService, Healthy: true})
	}
	return out, nil
}

type balancer struct{ *fleet }

func (b balancer) Targets(context.Context) (all []model.TargetHealth, err error) {
	for _, n := range b.nodes {
		t := model.TargetHealth{Target: model.Target{Group: "arn:web", InstanceID: n.id, Port: 8080}, State: model.TargetHealthy}
		if !b.healthy(n) {
			t.State, t.Description = model.TargetUnhealthy, "Health checks failed with these codes: [500]"
		}
		all = append(all, t)
	}
	return append(all, b.more...), nil
}

func (b balancer) Limits(context.Context) ([]model.TargetLimit, error) {
	b.asked++
	return b.limits, b.limitErr
}

type screen struct{ *fleet }

func (s screen) Say(line string)     { s.lines = append(s.lines, line) }
func (s screen) Show(lines []string) { s.lines = append(s.lines, strings.Join(lines, "\n")) }
func (f *fleet) said() string        { return strings.Join(f.lines, "\n") }
func (f *fleet) options() operator.Options {
	return operator.Options{
		App: "shop", Env: "prod", Source: "https://git.example.com/shop.git", Policy: f.policy, TargetGroups: 1, By: "ann@laptop", Nonce: fmt.Sprintf("n-%d", f.now),
		Table: "bootagent", Release: "/bootagent/shop/prod/release", MakeTable: "aws dynamodb create-table --table-name bootagent",
		Store: f.store, Parameter: parameter{f}, Repository: repository{f}, Groups: groups{f}, Balancer: balancer{f}, Screen: screen{f},
		Clock: operator.Clock{
			Now: func() time.Duration { return f.now },
			Sleep: func(ctx context.Context, d time.Duration) error {
				f.seconds(max(int(d/time.Second), 1))
				if f.err != nil {
					f.Fatalf("an agent's write: %v", f.err)
				}
				return context.Cause(ctx)
			},
		},
	}
}

// operator is a new command's.
func (f *fleet) operator() *operator.Operator { return operator.New(f.options()) }

// deploy is bootagent deploy REF, with flags.
func (f *fleet) deploy(ref string, change ...func(*operator.Request)) (operator.Result, error) {
	r := operator.Request{Ref: ref}
	for _, c := range change {
		c(&r)
	}
	return f.operator().Deploy(f.Context(), r)
}

// begin deploys a ref and returns while it is being rolled out.
func (f *fleet) begin(ref string) {
	f.Helper()
	if _, err := f.deploy(ref, func(r *operator.Request) { r.NoWait = true }); err != nil {
		f.Fatal(err)
	}
	if r := f.rollout(); r == nil || !r.State.Live() {
		f.Fatalf("%s is not being rolled out: %+v", ref, r)
	}
}

// good deploys a ref to its end.
func (f *fleet) good(ref string) {
	f.Helper()
	if got, err := f.deploy(ref); err != nil || got.Outcome != "succeeded" {
		f.Fatalf("%s: %+v, %v\n%s", ref, got, err, f.said())
	}
}

// wants holds an error to its kind and to words in it; it is one sentence.
func (f *fleet) wants(err error, kind operator.Kind, words ...string) {
	f.Helper()
	var e *operator.Error
	if !errors.As(err, &e) {
		f.Fatalf("no *operator.Error: %v\n%s", err, f.said())
	}
	if e.Kind != kind {
		f.Errorf("the kind is %q, want %q: %v", e.Kind, kind, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			f.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

// says holds what was shown to words.
func (f *fleet) says(words ...string) {
	f.Helper()
	for _, w := range words {
		if !strings.Contains(f.said(), w) {
			f.Errorf("it was not said: %q in\n%s", w, f.said())
		}
	}
}

// records are all of them, as the file has them.
func (f *fleet) records() string {
	f.Helper()
	all, err := os.ReadFile(f.file)
	if err != nil {
		f.Fatal(err)
	}
	return string(all)
}

// allServe says whether every instance serves the release with that number.
func (f *fleet) allServe(number int64) bool {
	return !slices.ContainsFunc(f.nodes, func(n *node) bool { return n.serving.Number != number })
}
