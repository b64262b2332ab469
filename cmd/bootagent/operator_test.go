package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	aws "github.com/bootagent/bootagent/internal/aws/autoscaling"
	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/aws/elbv2"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/operator"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	balancers "github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/fault"
	calls "github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/rollout"
)

// laptop is a region with a fleet of three, whose agents take production's steps through production's adapters, while nothing runs on the
// instances. The commands are the real ones.
type laptop struct {
	*testing.T
	region *region.Region
	group  *autoscaling.Service
	store  rollout.Store
	arn    string

	mu     sync.Mutex
	broken map[string]bool // revisions that fail everywhere
}

const releaseParameter = "/bootagent/shop/prod/release"

// machines launches nothing.
type machines struct{}

type machine struct {
	once sync.Once
	done chan struct{}
}

func (machines) Launch(context.Context, autoscaling.Instance) (autoscaling.Machine, error) {
	return &machine{done: make(chan struct{})}, nil
}
func (m *machine) Done() <-chan struct{} { return m.done }
func (m *machine) Terminate(context.Context) error {
	m.once.Do(func() { close(m.done) })
	return nil
}

type everywhere struct{}

func (everywhere) Address(string) (string, bool) { return "127.0.0.1", true }

func newLaptop(t *testing.T, repo string) *laptop {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	r, err := region.New(ctx, region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := &laptop{T: t, region: r, broken: map[string]bool{}}
	if err := r.DynamoDB.MakeTable("bootagent", dynamodb.PartitionKey, dynamodb.SortKey, dynamodb.Expiry); err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	lb := balancers.New(balancers.Options{Instances: everywhere{}})
	l.group = autoscaling.New(autoscaling.Options{Launcher: machines{}, Traffic: lb})
	r.Handle(balancers.SigningName, balancers.Namespace, lb)
	r.Handle(autoscaling.Name, autoscaling.Namespace, l.group)
	t.Cleanup(func() {
		for _, err := range []error{l.group.Close(ctx), lb.Close(ctx), r.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
		app.Close()
	})
	l.arn = l.balance(lb, app.Listener.Addr().(*net.TCPAddr).Port)
	if err := l.group.CreateGroup(autoscaling.GroupConfig{Name: "shop-asg", Max: 4, Desired: 3, TargetGroups: []string{l.arn}}); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": r.Endpoint(), "AWS_REGION": r.Name(), "AWS_ACCESS_KEY_ID": person, "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "BOOTAGENT_APP": "shop", "BOOTAGENT_ENV": "prod", "BOOTAGENT_BY": "ann@laptop",
		"BOOTAGENT_CONFIG": "", "STATE_DIRECTORY": filepath.Join(t.TempDir(), "none"), "RUNTIME_DIRECTORY": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	l.store = dynamodb.New(awstest.Session(t, r.Endpoint()), dynamodb.Options{Table: "bootagent", App: "shop", Env: "prod"})
	l.configure("prod", repo, "fleet: {table: bootagent}\npolicy: {bake: 0s, min_healthy_time: 0s}\n")
	return l
}

func (l *laptop) balance(lb *balancers.Service, port int) string {
	l.Helper()
	arn, err := lb.CreateTargetGroup(balancers.GroupSpec{Name: "shop-web", Port: port, Check: balancers.HealthCheck{Path: "/", Interval: time.Second, Timeout: 900 * time.Millisecond, UnhealthyThreshold: 10}}) // a busy machine is no sick one
	if err != nil {
		l.Fatal(err)
	}
	balancer, err := lb.CreateLoadBalancer(balancers.BalancerSpec{Name: "shop"})
	if err != nil {
		l.Fatal(err)
	}
	if _, err := lb.CreateListener(balancer, 0, arn); err != nil {
		l.Fatal(err)
	}
	return arn
}

// configure puts the configuration of an env into Parameter Store.
func (l *laptop) configure(env, repo, more string) {
	l.Helper()
	s := awstest.Session(l, l.region.Endpoint())
	text := fmt.Sprintf("version: 1\napp: shop\nenv: %s\nsource: {url: %q}\nbalancer: {target_groups: [shop-web]}\n%s", env, repo, more)
	if _, err := ssm.New(s, ssm.Options{Release: "/bootagent/shop/" + env + "/config"}).Put(l.Context(), text); err != nil {
		l.Fatal(err)
	}
}

// agents run until the test ends.
func (l *laptop) agents() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		all := map[string]*fakeAgent{}
		for ctx.Err() == nil {
			for _, i := range l.group.Instances("shop-asg") {
				if all[i.ID] == nil {
					all[i.ID] = &fakeAgent{laptop: l, id: i.ID, began: time.Now()}
				}
				if err := all[i.ID].step(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, rollout.ErrConflict) {
					l.Errorf("an agent: %v", err)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	l.Cleanup(func() { cancel(); <-done })
}

// fakeAgent is an agent that steps, and serves whatever it is told to.
type fakeAgent struct {
	*laptop
	id      string
	began   time.Time
	memory  rollout.Memory
	serving rollout.Release
	failed  rollout.LocalFailure
	read    []string
	group_  rollout.Group
	ready   rollout.ID
}

func (a *fakeAgent) step(ctx context.Context) error {
	s := awstest.Session(a, a.region.Endpoint())
	now := time.Since(a.began)
	record, err := a.store.Get(ctx, rollout.RolloutKey)
	if err != nil {
		return err
	}
	v := rollout.View{Reached: true, Defaults: rollout.DefaultPolicy(), Group: a.group_, Records: map[string]rollout.Record{}}
	v.Defaults.Bake, v.Defaults.MinHealthyTime = 0, 0
	if v.Rollout, err = rollout.DecodeRollout(record); err != nil {
		return err
	}
	if record, err = a.store.Get(ctx, rollout.StableKey); err != nil {
		return err
	}
	if v.Stable, err = rollout.DecodeStable(record); err != nil {
		return err
	}
	for _, key := range a.read {
		if v.Records[key], err = a.store.Get(ctx, key); err != nil {
			return err
		}
	}
	if published, err := ssm.New(s, ssm.Options{Release: releaseParameter}).Read(ctx); err == nil {
		v.Published.Number = published.Newest.Number
		v.Published.Intent, v.Published.Err = rollout.ParseIntent(published.Newest.Value)
	}
	v.Self = rollout.Self{ID: a.id, Serving: a.serving, Failed: a.failed, Candidate: rollout.Candidate{Release: a.ready}}
	if !a.serving.IsZero() {
		v.Self.Passing = time.Second
	}
	d, memory := rollout.Step(v, a.memory, now)
	a.memory, a.read, a.ready = memory, d.Read, d.Ready.ID
	if d.Watch {
		group, err := aws.New(s).Describe(ctx, "shop-asg")
		if err != nil {
			return err
		}
		targets, err := elbv2.New(s, []string{a.arn}).Targets(ctx)
		if err != nil {
			return err
		}
		a.group_ = rollout.Look(group, targets, 1, now)
	}
	a.mu.Lock()
	broken := a.broken[d.Goal.Revision]
	a.mu.Unlock()
	switch {
	case d.Goal.IsZero() || d.Goal.ID == a.serving.ID:
	case broken:
		a.failed = rollout.LocalFailure{Release: d.Goal.ID, Attempt: d.Attempt, Cause: "GET /: 500; the app's last lines:\n  | no database"}
	default:
		a.serving = d.Goal
	}
	for _, w := range d.Writes {
		if err := a.store.Apply(ctx, w.Changes...); err != nil {
			return err
		}
	}
	return nil
}

// versions is how many the release parameter has.
func (l *laptop) versions() int {
	all, err := ssm.New(awstest.Session(l, l.region.Endpoint()), ssm.Options{Release: releaseParameter}).History(l.Context(), 0)
	if err != nil {
		return 0
	}
	return len(all)
}

func (l *laptop) unlocked() {
	l.Helper()
	lock, err := l.store.Get(l.Context(), rollout.LockKey)
	if err != nil || lock.Attributes != nil {
		l.Errorf("the lock is %v (%v)", lock.Attributes, err)
	}
}

func TestTheCommandsOfAnOperatorFromTheFirstReleaseToTheLast(t *testing.T) {
	repo := gittest.NewRepo(t)
	good := map[string]string{"Procfile": "web: ./serve\n"}
	repo.Tag("v1", repo.Commit(good))
	repo.AnnotatedTag("v2", repo.Commit(map[string]string{"new": "cart"}))
	bad := repo.Commit(map[string]string{"new": "bug"})
	repo.Tag("v3", bad)
	repo.Tag("v4", repo.Commit(map[string]string{"Procfile": "web\n"}))
	server := gittest.NewServer(t, repo)
	l := newLaptop(t, server.URL+"/"+repo.Name())
	l.broken[bad] = true
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		targets, err := elbv2.New(awstest.Session(t, l.region.Endpoint()), []string{l.arn}).Targets(t.Context())
		healthy := 0
		for _, target := range targets {
			if target.State == "healthy" {
				healthy++
			}
		}
		if err == nil && healthy == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the fleet does not come up: %v, %v", targets, err)
		}
	}
	l.agents()
	deployer := l.asDeployer("prod", "test")

	command(t, "status").expect(t, exitDone, []string{"shop prod", "no release yet", "shop-asg: 3 wanted, 3 in service, 3 of them healthy"}, nil)
	command(t, "deploy", "v1", "-m", "the first").expect(t, exitDone, []string{"release 1", "ref v1 is put", "is stable: the whole fleet has it"}, nil)
	command(t, "deploy", "v2").expect(t, exitDone, []string{"release 2", "is stable"}, nil)

	command(t, "deploy", "v3").expect(t, exitRolledBack, []string{"release 3"}, []string{"release 3", "was rolled back", "GET /: 500", "| no database"})
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"a ref that is not there":      {[]string{"deploy", "v5"}, exitFailed, []string{`"v5"`, "did you mean v1"}},
		"a ref that can't be one":      {[]string{"deploy", "a b"}, exitUsage, []string{`"a b"`, "is not a branch, a tag or a full SHA"}},
		"a revision that is known bad": {[]string{"deploy", "v3"}, exitFailed, []string{"failed before", "--force"}},
		"a recipe that is none":        {[]string{"deploy", "v4"}, exitFailed, []string{"v4 (", "can't be deployed", "Procfile:1:1"}},
		"a policy that is nonsense":    {[]string{"deploy", "v2", "--batch", "0%"}, exitUsage, []string{"policy.batch is 0%"}},
		"a new epoch for nothing":      {[]string{"deploy", "v2", "--new-epoch"}, exitUsage, []string{"--new-epoch", "leave it out"}},
		"another app":                  {[]string{"deploy", "v2", "--env", "test"}, exitUsage, []string{"there is no configuration of shop test", "aws ssm put-parameter --name /bootagent/shop/test/config"}},
		"no number":                    {[]string{"rollback", "v1"}, exitUsage, []string{`"v1" is no release's number`}},
	} {
		command(t, c.args...).expect(t, c.code, nil, c.says)
		if l.versions() != 3 {
			t.Fatalf("%s: a version was put", name)
		}
		l.unlocked()
	}
	l.region.Faults.Add(fault.Rule{Operation: "PutParameter", Count: 1, Effect: fault.Deny()})
	command(t, "deploy", "v2").expect(t, exitUsage, nil, []string{"ssm:PutParameter on parameter " + releaseParameter, "add that action to its policy"})
	l.unlocked()

	command(t, "freeze", "-m", "holidays").expect(t, exitDone, []string{"nobody deploys to shop prod now"}, nil)
	command(t, "deploy", "v2").expect(t, exitHeld, nil, []string{"ann@laptop froze it", "holidays"})
	l.unlocked()
	command(t, "rollback").expect(t, exitDone, []string{"back to release 1", "release 4", "is stable"}, nil)
	command(t, "unfreeze").expect(t, exitDone, []string{"can be deployed to again"}, nil)
	command(t, "pause").expect(t, exitDone, []string{"nothing to do"}, nil)
	command(t, "abort").expect(t, exitDone, []string{"nothing to do"}, nil)

	r := command(t, "deploy", "v2", "--dry-run", "--json")
	var plan operator.Plan
	if err := json.Unmarshal([]byte(r.stdout), &plan); err != nil || r.code != 0 || plan.Release.Number != 5 || len(plan.Stages) != 3 {
		t.Errorf("the plan is %+v (%v) of %s%s", plan, err, r.stdout, r.stderr)
	}
	command(t, "status", "--fleet").expect(t, exitDone, []string{"stable", "release 4", "ref v1", "3 of them healthy"}, nil)
	command(t, "history").expect(t, exitDone, []string{"the first", "back to release 1", "rolled back", "ann@laptop", "v2"}, nil)
	command(t, "logs").expect(t, exitDone, []string{"no instance failed in the last rollout"}, nil)

	l.configure("test", server.URL+"/"+repo.Name(), "")
	command(t, "deploy", "v2", "--env", "test").expect(t, exitUsage, nil, []string{"shop-asg may grow to 4", "aws dynamodb create-table --region us-east-1 --table-name bootagent", "fleet: {table: bootagent}"})
	if n := len(l.region.Calls(calls.Filter{Service: "ssm", Operation: "PutParameter"})); n != 2+4+1 { // configurations, releases, the refused one
		t.Errorf("PutParameter was called %d times", n)
	}

	private := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
	if _, err := ssm.New(awstest.Session(t, l.region.Endpoint()), ssm.Options{Release: "/bootagent/shop/prod/git-key"}).Put(t.Context(), private.ClientKey); err != nil {
		t.Fatal(err)
	}
	conf := file(t, "private.yaml", fmt.Sprintf("version: 1\napp: shop\nenv: prod\nsource: {url: %q, auth: {key: /bootagent/shop/prod/git-key}, known_hosts: %q}\n"+
		"balancer: {target_groups: [shop-web]}\nfleet: {table: bootagent}\n", private.CloneURL(), private.KnownHosts))
	command(t, "deploy", "v2", "--dry-run", "--config", conf).expect(t, exitDone, []string{"ref v2"}, nil)
	deployer.expectNoMore(t)
}

func TestSettingsSayWhichAppAndWhere(t *testing.T) {
	t.Parallel()
	const text = "version: 1\napp: %s\nenv: prod\nregion: eu-west-1\nsource: {url: 'https://example.com/shop.git'}\nbalancer: {mode: none}\n"
	shop := fmt.Sprintf(text, "shop")
	none := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		flags  fleetFlags
		env    map[string]string
		here   string
		params map[string]string
		local  string
		want   string // app env region local
		says   []string
	}{
		"by flags":           {flags: fleetFlags{app: "shop", env: "prod", region: "us-east-1"}, params: map[string]string{"us-east-1 /bootagent/shop/prod/config": shop}, want: "shop prod us-east-1 false"},
		"by the environment": {env: map[string]string{"BOOTAGENT_APP": "shop", "BOOTAGENT_ENV": "prod"}, params: map[string]string{" /bootagent/shop/prod/config": shop}, want: "shop prod eu-west-1 false"},
		"by the directory":   {here: "app: shop\nenv: prod\nregion: eu-north-1\n", params: map[string]string{"eu-north-1 /bootagent/shop/prod/config": shop}, want: "shop prod eu-north-1 false"},
		"flags before the rest": {flags: fleetFlags{app: "shop"}, env: map[string]string{"BOOTAGENT_APP": "cart", "AWS_REGION": "us-west-2"}, here: "app: news\nenv: prod\nregion: eu-north-1\n",
			params: map[string]string{"us-west-2 /bootagent/shop/prod/config": shop}, want: "shop prod us-west-2 false"},
		"a file":                            {flags: fleetFlags{config: file(t, "c.yaml", shop)}, want: "shop prod eu-west-1 false"},
		"on an instance":                    {local: shop, want: "shop prod eu-west-1 true"},
		"nothing":                           {says: []string{"which app?", "--app", "BOOTAGENT_APP", "./.bootagent", "--config"}},
		"no env":                            {flags: fleetFlags{app: "shop"}, says: []string{"which env?", "BOOTAGENT_ENV"}},
		"no configuration":                  {flags: fleetFlags{app: "shop", env: "prod"}, says: []string{"no configuration of shop prod", "/bootagent/shop/prod/config", "--config"}},
		"another app's file":                {flags: fleetFlags{app: "cart", config: file(t, "c.yaml", shop)}, says: []string{"the app is cart", "is for the app shop"}},
		"a directory's file with a mistake": {here: "app: shop\nevn: prod\n", says: []string{"2:1", `unknown key "evn"`, `did you mean "env"?`}},
		"a parameter with a mistake":        {flags: fleetFlags{app: "shop", env: "prod"}, params: map[string]string{" /bootagent/shop/prod/config": shop + "swich: restart\n"}, says: []string{"/bootagent/shop/prod/config:7:1", `did you mean "switch"?`}},
		"a file that is not there":          {flags: fleetFlags{config: none}, says: []string{"there is no configuration at " + none}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := places{getenv: func(name string) string { return c.env[name] }, here: none, instance: none}
			p.parameter = func(_ context.Context, region, name string) (string, bool, error) {
				value, found := c.params[region+" "+name]
				return value, found, nil
			}
			if c.here != "" {
				p.here = file(t, ".bootagent", c.here)
			}
			if c.local != "" {
				p.instance = file(t, "config.yaml", c.local)
			}
			s, err := c.flags.find(t.Context(), p)
			if len(c.says) > 0 {
				if exitCode(err) != exitUsage {
					t.Fatalf("exit code %d: %v", exitCode(err), err)
				}
				for _, w := range c.says {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("it does not say %q: %v", w, err)
					}
				}
				return
			}
			if got := fmt.Sprint(s.App, " ", s.Env, " ", s.Region, " ", s.local); err != nil || got != c.want {
				t.Errorf("%s (%v), want %s", got, err, c.want)
			}
		})
	}
}

func TestATerminalIsDrawnOnAndEverythingElseGetsLines(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := screenOn(&out)
	for range 2 {
		p.Show([]string{"1 of 3 done", "about 4m to go"})
	}
	p.Say("\x1b[2Jdone\x07")
	if got := out.String(); got != "1 of 3 done\ndone\n" {
		t.Errorf("lines: %q", got)
	}
	out.Reset()
	d := &drawing{out: &out, columns: 12, rows: 4}
	d.Show([]string{"1 of 3 done, 2 waiting", "a", "b", "c"})
	d.Show([]string{"2 of 3 done"})
	d.Say("done")
	if got := out.String(); got != "1 of 3 don…\na\n… and 2 mo…\n\x1b[3A\x1b[J2 of 3 done\n\x1b[1A\x1b[Jdone\n" {
		t.Errorf("drawn: %q", got)
	}
}

func TestTheDocumentationMakesTheTableAsTheCodeSays(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/deploying.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(page), "\\\n", " ")), " ")
	for line := range strings.SplitSeq(strings.ReplaceAll(dynamodb.Recipe("R", "bootagent"), " --region R", ""), ", and then ") {
		if !strings.Contains(text, line) {
			t.Errorf("docs/deploying.md does not say %s", line)
		}
	}
}
