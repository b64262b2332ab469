package operator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/operator"
	"github.com/bootagent/bootagent/rollout"
)

func force(r *operator.Request)  { r.Force = true }
func noWait(r *operator.Request) { r.NoWait = true }

func TestADeployGoesOverTheFleetAndIsWatchedToItsEnd(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	got, err := f.deploy("v2", func(r *operator.Request) { r.Message = "the new cart" })
	if err != nil {
		t.Fatalf("%v\n%s", err, f.said())
	}
	if got.Outcome != "succeeded" || got.Release.Number != 2 || got.Release.Revision != sha(2) {
		t.Errorf("the result is %+v", got)
	}
	if f.stable() != got.Release || !f.allServe(2) || f.label != 2 {
		t.Errorf("stable is %s, the label is on %d", f.stable(), f.label)
	}
	f.says("release 2 (000000000000), ref v2 is put", "running (canary): 0 of 4 done, 1 switching", "baking (canary)", "running (batches)", "baking (final): 4 of 4 done",
		"at least", "about", "is stable: the whole fleet has it")
	intent, err := rollout.ParseIntent(f.versions[1].Value)
	if err != nil || intent.By != "ann@laptop" || intent.Message != "the new cart" || intent.Repository != "https://git.example.com/shop.git" || intent.Ref != "v2" || intent.Lock == "" {
		t.Errorf("put was %s (%v)", f.versions[1].Value, err)
	}
	if f.get(rollout.LockKey).Attributes != nil {
		t.Error("the lock is still there")
	}
}

func TestABadReleaseIsRolledBackAndSaysWhichInstanceFailedAndWhatItPrinted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	for _, n := range f.nodes {
		n.broken[sha(2)] = true
	}
	got, err := f.deploy("v2")
	f.wants(err, operator.RolledBack, "release 2", "was rolled back", "i-0: GET /up: 500", "| no database")
	if got.Outcome != "rolled_back" || got.Failure == nil || got.Failure.Instance != "i-0" {
		t.Errorf("the result is %+v", got)
	}
	if f.stable().Number != 1 || !f.allServe(1) {
		t.Errorf("stable is %s", f.stable())
	}
}

// Each refusal is one sentence with its kind, and leaves no version of the parameter, no record and no lock.
func TestWhatIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	denied := fmt.Errorf("arn:aws:iam::123456789012:user/ann may not ssm:PutParameter on parameter /bootagent/shop/prod/release: %w", model.ErrConfiguration)
	for name, c := range map[string]struct {
		size    int
		prepare func(*fleet)
		options func(*operator.Options)
		ref     string
		ask     func(*operator.Request)
		kind    operator.Kind
		words   []string
	}{
		"a ref that is not there":       {ref: "v9", kind: operator.Failed, words: []string{`"v9"`, "no such branch or tag"}},
		"a ref that can't be one":       {ref: "--force", kind: operator.Wrong, words: []string{"begins with a dash"}},
		"a frozen app":                  {prepare: (*fleet).freeze, kind: operator.Held, words: []string{"bob@laptop froze it", "holidays", "bootagent unfreeze"}},
		"a rollout that is under way":   {prepare: func(f *fleet) { f.begin("v3") }, kind: operator.Held, words: []string{"release 2", "is being rolled out by ann@laptop", "bootagent abort", "--force"}},
		"a revision that is known bad":  {prepare: (*fleet).makeBad, kind: operator.Failed, words: []string{"failed before", "GET /up: 500", "--force"}},
		"no permission":                 {prepare: func(f *fleet) { f.putErr = denied }, kind: operator.Wrong, words: []string{"may not ssm:PutParameter on parameter /bootagent/shop/prod/release"}},
		"no table on a fleet of three":  {options: func(o *operator.Options) { o.Store, o.Table = nil, "" }, kind: operator.Wrong, words: []string{"shop-asg may grow to 10", "aws dynamodb create-table", "fleet: {table: bootagent}"}},
		"no table on one of the three":  {options: func(o *operator.Options) { o.Table = "" }, kind: operator.Wrong, words: []string{"shop-asg may grow to 10", "aws dynamodb create-table"}},
		"a parameter that was re-made":  {prepare: (*fleet).remake, kind: operator.Wrong, words: []string{"deleted and made anew", "release 3 was rolled out before", "--new-epoch"}},
		"a new epoch without a reason":  {ask: func(r *operator.Request) { r.NewEpoch = true }, kind: operator.Wrong, words: []string{"--new-epoch", "leave it out"}},
		"a recipe that can't be read":   {prepare: func(f *fleet) { f.recipes[sha(2)] = errors.New("bootagent.yaml:3:1: unknown key \"proceses\"") }, kind: operator.Failed, words: []string{"v2 (000000000000) can't be deployed", "bootagent.yaml:3:1"}},
		"a fleet below its floor":       {prepare: (*fleet).sicken, kind: operator.Failed, words: []string{"0 of the 3 instances in service are healthy", "i-0: port 8080 is unhealthy", "--force"}},
		"a policy that makes no sense":  {ask: func(r *operator.Request) { r.Policy = json.RawMessage(`{"batch":"0%"}`) }, kind: operator.Wrong, words: []string{"policy.batch is 0%"}},
		"a message that is too long":    {ask: func(r *operator.Request) { r.Message = strings.Repeat("x", 4096) }, kind: operator.Wrong, words: []string{"4096", "shorten the message"}},
		"a message with a control code": {ask: func(r *operator.Request) { r.Message = "\x1b[2J" }, kind: operator.Wrong, words: []string{"not safe to show"}},
		"a group at its minimum":        {options: func(o *operator.Options) { o.Standby = true }, kind: operator.Wrong, words: []string{"wants 3 instances and has MinSize 3", "MinSize be 2 at most"}},
		"no room for second targets":    {prepare: func(f *fleet) { f.quota(3) }, kind: operator.Wrong, words: []string{"needs up to 4 targets in target group web, 3 now and 1 more", "L-A0D0B863) allows 3: have it raised, or set switch: restart"}},
		"a batch that finds no room":    {prepare: func(f *fleet) { f.quota(5) }, ask: policy(`{"canary":0,"batch":3}`), kind: operator.Wrong, words: []string{"needs up to 6 targets", "3 more", "allows 5: have it raised, let fewer switch at a time (--batch 2), or set switch: restart"}},
		"canaries that find no room":    {prepare: func(f *fleet) { f.quota(5) }, ask: policy(`{"canary":3}`), kind: operator.Wrong, words: []string{"needs up to 6 targets", "(--canary 2 --batch 2)"}},
		"a group that is not there":     {options: func(o *operator.Options) { o.Group = "other" }, kind: operator.Wrong, words: []string{"there is no Auto Scaling group other"}},
		"records of the future":         {prepare: (*fleet).future, kind: operator.Failed, words: []string{"newer bootagent", "upgrade it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			if c.prepare != nil {
				c.prepare(f)
			}
			for _, n := range f.nodes {
				n.dead = true // what is written now is the operator's
			}
			records, versions := f.records(), len(f.versions)
			o := f.options()
			if c.options != nil {
				c.options(&o)
			}
			r := operator.Request{Ref: orText(c.ref, "v2")}
			if c.ask != nil {
				c.ask(&r)
			}
			_, err := operator.New(o).Deploy(t.Context(), r)
			f.wants(err, c.kind, c.words...)
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a sentence: %v", err)
			}
			if len(f.versions) != versions {
				t.Error("a version was put")
			}
			if now := f.records(); now != records {
				t.Errorf("records were written:\n%s\nbefore:\n%s", now, records)
			}
			if f.get(rollout.LockKey).Attributes != nil {
				t.Error("the lock was kept")
			}
		})
	}
}

func orText(one, other string) string {
	if one == "" {
		return other
	}
	return one
}

func (f *fleet) freeze() {
	o := f.options()
	o.By = "bob@laptop"
	if err := operator.New(o).Freeze(f.Context(), operator.Ask{Message: "holidays"}); err != nil {
		f.Fatal(err)
	}
}

// makeBad has v2 fail.
func (f *fleet) makeBad() {
	f.nodes[0].broken[sha(2)] = true
	_, err := f.deploy("v2")
	f.wants(err, operator.RolledBack)
	f.nodes[0].broken = map[string]bool{}
}

// remake deletes the parameter after two releases, and makes it anew.
func (f *fleet) remake() {
	f.good("v3")
	f.good("v4")
	f.versions, f.number, f.label, f.anew = nil, 0, 0, true
}

func (f *fleet) sicken() {
	for _, n := range f.nodes {
		n.sick = true
	}
}

func (f *fleet) future() {
	f.apply(rollout.Change{Key: rollout.StableKey, Set: map[string]string{"schema": "2"}})
}

func TestForceDeploysWhatWouldBeRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*fleet)
		ask     func(*operator.Request)
	}{
		"over a rollout that is under way":       {func(f *fleet) { f.begin("v3") }, force},
		"a revision that failed before":          {(*fleet).makeBad, force},
		"a fix to a broken fleet":                {(*fleet).sicken, force},
		"after the parameter was made anew":      {(*fleet).remake, func(r *operator.Request) { r.NewEpoch = true }},
		"a batch of one, by a flag of this once": {nil, func(r *operator.Request) { r.Policy = json.RawMessage(`{"batch":1,"bake":"1s"}`) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			if c.prepare != nil {
				c.prepare(f)
			}
			got, err := f.deploy("v2", c.ask)
			if err != nil || f.stable().Revision != sha(2) || got.Outcome != "succeeded" {
				t.Fatalf("%+v, %v, stable is %s\n%s", got, err, f.stable(), f.said())
			}
		})
	}
}

func TestALockThatNobodyMovesIsTakenOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.apply(rollout.TakeLock(rollout.Record{Key: rollout.LockKey}, "n-dead", "bob@laptop", 0)...)
	began := f.now
	f.good("v2")
	f.says("bob@laptop holds the lock: it is watched for 30s")
	if f.now-began < rollout.Lease {
		t.Error("it was not watched for a lease")
	}
}

func TestALockThatIsMovedHoldsTheDeploy(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.apply(rollout.TakeLock(rollout.Record{Key: rollout.LockKey}, "n-alive", "bob@laptop", 0)...)
	f.after(10*time.Second, func() { f.apply(rollout.RenewLock(f.get(rollout.LockKey), "n-alive")...) })
	_, err := f.deploy("v2")
	f.wants(err, operator.Held, "bob@laptop deploys to shop prod just now and holds the lock")
	if lock, _ := rollout.DecodeLock(f.get(rollout.LockKey)); lock.Nonce != "n-alive" || len(f.versions) != 1 {
		t.Errorf("the lock is %+v, and there are %d versions", lock, len(f.versions))
	}
}

// One that slept for longer than a lease, after it had looked at everything, must not put what no agent would take.
func TestADeployThatLostItsLockPutsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.looked = func() {
		if lock := f.get(rollout.LockKey); lock.Attributes != nil {
			f.apply(rollout.TakeLock(lock, "n-other", "bob@laptop", rollout.Lease)...)
		}
	}
	_, err := f.deploy("v2")
	f.wants(err, operator.Held, "took the lock over", "nothing was changed")
	if lock, _ := rollout.DecodeLock(f.get(rollout.LockKey)); lock.Nonce != "n-other" || len(f.versions) != 1 {
		t.Errorf("the lock is %+v, and there are %d versions", lock, len(f.versions))
	}
}

func TestOfTwoDeploysAtOnceTheSecondIsHeld(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	var second error
	f.after(10*time.Second, func() {
		o := f.options()
		o.Nonce, o.By = "n-second", "bob@laptop"
		o.Clock.Sleep = func(context.Context, time.Duration) error { t.Error("the second one waits"); return context.Canceled }
		_, second = operator.New(o).Deploy(t.Context(), operator.Request{Ref: "v3"})
	})
	f.good("v2")
	f.wants(second, operator.Held, "is being rolled out by ann@laptop")
	if len(f.versions) != 2 {
		t.Errorf("%d versions", len(f.versions))
	}
}

func TestAnInterruptBeforeThePutChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.apply(rollout.TakeLock(rollout.Record{Key: rollout.LockKey}, "n-dead", "bob@laptop", 0)...)
	ctx, cancel := context.WithCancel(t.Context())
	f.after(5*time.Second, cancel)
	_, err := f.operator().Deploy(ctx, operator.Request{Ref: "v2"})
	f.wants(err, operator.Failed, "interrupted before anything was put: nothing was changed")
	if len(f.versions) != 1 {
		t.Error("a version was put")
	}
}

func TestAnInterruptAfterThePutSaysThatTheRolloutGoesOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	f.after(5*time.Second, cancel)
	_, err := f.operator().Deploy(ctx, operator.Request{Ref: "v2"})
	f.wants(err, operator.Failed, "interrupted: release 2 goes on by itself", "bootagent status", "bootagent abort")
	f.seconds(300)
	if f.stable().Number != 2 {
		t.Errorf("stable is %s", f.stable())
	}
}

func TestAPutWhoseAnswerIsLostIsFoundAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.putErr, f.putLost = errors.New("ssm:PutParameter: no answer"), true
	f.good("v2")
	if len(f.versions) != 2 {
		t.Errorf("%d versions", len(f.versions))
	}
}

func TestNoWaitEndsOnceTheAgentsHaveTakenItUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	got, err := f.deploy("v2", noWait)
	if err != nil || got.Outcome != "open" || f.rollout().Release.Number != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	f.says("release 2 is being rolled out; bootagent status shows how far it is")

	f = newFleet(t, 2)
	for _, n := range f.nodes {
		n.dead = true
	}
	if got, err = f.deploy("v2", noWait); err != nil || got.Outcome != "open" {
		t.Errorf("%+v, %v", got, err)
	}
	f.says("no agent has opened release 2 within 30s")
}

func TestADeployThatNoAgentOpensFailsInTheEnd(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	for _, n := range f.nodes {
		n.dead = true
	}
	_, err := f.deploy("v2")
	f.wants(err, operator.Failed, "no agent has opened release 2 within 10m0s")
}

func TestAFleetOfZeroIsDeployedToAndTheFirstThatBootsTakesIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	o := f.options()
	o.Group = "shop-asg"
	got, err := operator.New(o).Deploy(t.Context(), operator.Request{Ref: "v2"})
	if err != nil || got.Outcome != "open" {
		t.Fatalf("%+v, %v", got, err)
	}
	f.says("the group shop-asg has no instances: the first that boots opens release 2")
	f.launch()
	f.seconds(120)
	if f.stable().Number != 2 || !f.allServe(2) {
		t.Errorf("stable is %s", f.stable())
	}
}

// A rollout that nobody carries out any more must not block the next deploy; it is watched first.
func TestARolloutWhoseFleetIsGoneIsEndedByTheNextDeploy(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.begin("v2")
	f.nodes = nil
	o := f.options()
	o.Nonce, o.Group = "n-next", "shop-asg"
	began := f.now
	if got, err := operator.New(o).Deploy(t.Context(), operator.Request{Ref: "v3"}); err != nil || got.Outcome != "open" {
		t.Fatalf("%+v, %v\n%s", got, err, f.said())
	}
	if f.now-began < rollout.Lease {
		t.Error("the lease was not watched until it was dead")
	}
	f.says("the rollout was ended: the group has no instances")
	if got := f.rollout().State.Status; got != rollout.Aborted {
		t.Errorf("it is %s", got)
	}
}

func TestAHandWrittenValueSupersedesADeploy(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.after(20*time.Second, func() { f.put("v3") })
	_, err := f.deploy("v2")
	f.wants(err, operator.Failed, "release 2", "was superseded", "by release 3")
}

func TestAPausedRolloutEndsTheWatchAndNamesTheWaysOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.nodes[0].broken[sha(2)] = true
	got, err := f.deploy("v2", func(r *operator.Request) { r.Policy = json.RawMessage(`{"on_failure":"pause"}`) })
	f.wants(err, operator.Failed, "is paused", "i-0: GET /up: 500", "bootagent resume", "bootagent abort", "deploy a fix with --force")
	if got.Outcome != "paused" {
		t.Errorf("the result is %+v", got)
	}
}

func TestTheVeryFirstReleaseIsBootedByEveryInstance(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	f.apply(rollout.Change{Key: rollout.StableKey, Delete: true})
	f.versions, f.number, f.label = nil, 0, 0
	for range 3 {
		f.launch()
	}
	f.policy.ProgressDeadline = rollout.Duration(10 * time.Minute)
	if got, err := f.deploy("v1", force); err != nil || got.Outcome != "succeeded" || f.stable().Number != 1 {
		t.Fatalf("%+v, %v\n%s", got, err, f.said())
	}
}

func TestWithoutATableTheLabelSaysThatItDidWell(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.most = 1
	o := f.options()
	o.Store, o.Table = nil, ""
	if got, err := operator.New(o).Deploy(t.Context(), operator.Request{Ref: "v2"}); err != nil || got.Outcome != "succeeded" || f.label != 2 {
		t.Fatalf("%+v, %v\n%s", got, err, f.said())
	}
	f.nodes[0].broken[sha(3)] = true
	_, err := operator.New(o).Deploy(t.Context(), operator.Request{Ref: "v3"})
	f.wants(err, operator.Failed, "the label stable has not come to version 3", "bootagent status on the instance says why")
	for command, do := range map[string]func(*operator.Operator) error{
		"pause":    func(o *operator.Operator) error { return o.Pause(t.Context(), operator.Ask{}) },
		"freeze":   func(o *operator.Operator) error { return o.Freeze(t.Context(), operator.Ask{}) },
		"unfreeze": func(o *operator.Operator) error { return o.Unfreeze(t.Context()) },
		"abort":    func(o *operator.Operator) error { _, err := o.Abort(t.Context(), operator.Ask{}); return err },
	} {
		f.wants(do(operator.New(o)), operator.Wrong, "run bootagent "+command+" there")
	}
}

func TestADryRunSaysWhatWouldHappenAndWritesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 9)
	records := f.records()
	p, err := f.operator().Plan(t.Context(), operator.Request{Ref: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	text := p.Text()
	for _, w := range []string{
		"release 2 (000000000000), ref v2 would be put. Nothing was written", "9 wanted, 9 in service, 9 of them healthy", "canary: 1 instance", "bake: what serves it stays healthy for 20s",
		"batches: 8 instances, 2 at a time, so 4 times over", "It takes 55s at least, and 5 times", "the fleet goes back to stable", "ssm:PutParameter on /bootagent/shop/prod/release: the commit point",
	} {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
	if f.records() != records || len(f.versions) != 1 {
		t.Error("something was written")
	}
	f.freeze()
	_, err = f.operator().Plan(t.Context(), operator.Request{Ref: "v2"})
	f.wants(err, operator.Held, "froze it")
}
