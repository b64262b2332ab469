package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/machine"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/trial"
)

// fleet is a region with an Auto Scaling group in which nothing but the measured instance boots.
type fleet struct {
	*trial.Trial
	size int

	mu       sync.Mutex
	consoles map[string]*console
}

const (
	// bootPatience bounds one boot, and hookPatience is the launch hook's heartbeat: on a busy machine the script must
	// not be abandoned.
	bootPatience = 5 * time.Minute
	hookPatience = 10 * time.Minute
	// glance is the pause between two looks at an instance that boots; it is the error of a boot's times. The region is looked at so
	// often, which is in this process: an agent has to answer, and what it does at low priority would have to wait for that.
	glance = 2 * time.Millisecond
	look   = 50 * time.Millisecond
)

// group says what a fleet is made of.
type group struct {
	// size is how many instances there are at first.
	size int
	// cached gives them an artifact cache, and waits until the release is in it.
	cached bool
	// instead is what they run in place of the agent; nil is the agent.
	instead func(*trial.Trial, *trial.Instance, *machine.Command)
}

// newFleet opens a region for a group.
func (b *bench) newFleet(ctx context.Context, a *app, g group) (*fleet, error) {
	f := &fleet{size: g.size, consoles: map[string]*console{}}
	options := trial.Options{
		Agent: b.agent, Repository: a.dir, App: "hello", Instances: g.size, Listen: "127.0.0.1:0", Check: elbv2.HealthCheck{Path: "/up"},
		Output: f.console,
	}
	if g.cached {
		options.Configuration = "cache: {url: s3://" + bucket + "/" + prefix + "}\n"
	}
	if g.instead != nil {
		options.Machine = func(i *trial.Instance, c *machine.Command) { g.instead(f.Trial, i, c) }
	}
	var err error
	if f.Trial, err = trial.Start(ctx, options); err != nil {
		return nil, err
	}
	if err = f.Region.S3.MakeBucket(bucket); err == nil {
		err = f.begin(ctx)
	}
	if err == nil && g.cached {
		err = f.kept(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// kept waits until the first instance has put what it has built into the cache.
func (f *fleet) kept(ctx context.Context) error {
	var failed error
	first := f.Instances()[0]
	return errors.Join(f.until(ctx, look, "the release is in the artifact cache", func() bool {
		if s, ok := first.Status(ctx); ok && s.Problems[cacheProblem] != "" {
			failed = errors.New(s.Problems[cacheProblem])
			return true
		}
		return strings.Contains(f.said(first.ID), "the release is in the artifact cache")
	}), failed)
}

// cacheProblem is the subject of what an agent's status says of its cache.
const cacheProblem = "cache"

// begin asks for the release, makes the group, and waits until what it has at first is settled.
func (f *fleet) begin(ctx context.Context) error {
	if _, err := f.Put(ctx, tag); err != nil {
		return err
	}
	if err := f.Launch(ctx); err != nil {
		return err
	}
	_, err := f.Groups.Serve(ctx, wire.Call{Service: autoscaling.Name, Operation: "PutLifecycleHook", Form: url.Values{
		"AutoScalingGroupName": {trial.GroupName}, "LifecycleHookName": {"boot"}, "HeartbeatTimeout": {strconv.Itoa(int(hookPatience.Seconds()))},
	}})
	if err != nil {
		return fmt.Errorf("lengthen the launch hook: %w", err)
	}
	return f.until(ctx, look, "the first instances serve the stable release", func() bool {
		all := f.Instances()
		for _, i := range all {
			if s, ok := i.Status(ctx); !ok || !settled(s) {
				return false
			}
		}
		return len(all) == f.size
	})
}

// settled says that an agent has nothing to do but to serve.
func settled(s agent.Status) bool {
	return s.InService.Number == 1 && s.Stable.Number == 1 && s.Group.Lifecycle == model.LifecycleInService && len(s.Doing) == 0
}

// until looks until something is so, with a pause between two looks. The error says what, and what the instances have printed last.
func (f *fleet) until(ctx context.Context, pause time.Duration, what string, so func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootPatience, fmt.Errorf("it was not so after %s", bootPatience))
	defer cancel()
	for !so() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w; the instances printed:\n%s", what, context.Cause(ctx), f.printed())
		case <-time.After(pause):
		}
	}
	return nil
}

// launched is a boot as the region saw it.
type launched struct {
	*trial.Instance
	// whole is from the launch until the instance is in service and its target healthy; balancer is from the arrival of its
	// registration until the target was healthy, which nobody but the balancer can shorten.
	whole, balancer time.Duration
}

// launch lets the group launch one more instance, and watches it into service.
func (f *fleet) launch(ctx context.Context) (launched, error) {
	known := map[string]bool{}
	for _, i := range f.Groups.Instances(trial.GroupName) {
		known[i.ID] = true
	}
	if err := f.Resize(ctx, f.size+1); err != nil {
		return launched{}, err
	}
	var one autoscaling.InstanceStatus
	var healthy, inService time.Time
	err := f.until(ctx, glance, "the instance is in service", func() bool {
		for _, i := range f.Groups.Instances(trial.GroupName) {
			if !known[i.ID] {
				one = i
			}
		}
		if one.ID == "" {
			return false
		}
		now := time.Now()
		if state, err := f.Balancer.Health(f.TargetGroup, one.ID); err == nil && state == model.TargetHealthy && healthy.IsZero() {
			healthy = now
		}
		inService = now
		return one.Lifecycle == model.LifecycleInService && !healthy.IsZero()
	})
	if err != nil {
		return launched{}, err
	}
	calls := f.Region.Calls(wire.Filter{Operation: "RegisterTargets", Instance: one.ID})
	first := slices.IndexFunc(calls, func(r wire.Record) bool { return r.Code == "" })
	if first < 0 {
		return launched{}, fmt.Errorf("instance %s is in service, and never registered itself", one.ID)
	}
	for _, i := range f.Instances() {
		if i.ID == one.ID {
			return launched{i, inService.Sub(one.Launched), healthy.Sub(calls[first].Time)}, nil
		}
	}
	return launched{}, fmt.Errorf("instance %s was in service, and is gone", one.ID)
}

// console keeps what an instance prints.
type console struct {
	mu   sync.Mutex
	text strings.Builder
}

func (f *fleet) console(id string) io.Writer {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &console{}
	f.consoles[id] = c
	return c
}

func (c *console) Write(data []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(data)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// said is what an instance has printed so far.
func (f *fleet) said(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.consoles[id]; c != nil {
		return c.String()
	}
	return ""
}

// printed is the end of what each instance has printed.
func (f *fleet) printed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out strings.Builder
	for id, c := range f.consoles {
		text := c.String()
		fmt.Fprintf(&out, "%s: …%s\n", id, text[max(0, len(text)-2000):])
	}
	return out.String()
}

// baseline is how an instance runs the script that people write today: once, as cloud-init does.
func (b *bench) baseline(a *app, script, tools string) func(*trial.Trial, *trial.Instance, *machine.Command) {
	return func(t *trial.Trial, i *trial.Instance, c *machine.Command) {
		// Exit code 5 says that it is not to be started again; the machine runs on.
		c.Argv = []string{"sh", "-c", `"$0" ` + modeMeasure + ` bash "$1"; exit 5`, b.self, script}
		for n, variable := range c.Env {
			if path, ok := strings.CutPrefix(variable, "PATH="); ok {
				c.Env[n] = "PATH=" + tools + ":" + path
			}
		}
		c.Env = append(append(c.Env, a.build...),
			"HOME="+c.Dir, "TMPDIR="+c.Dir, "AWS_DEFAULT_REGION="+t.Region.Name(), "GROUP="+trial.GroupName, "HOOK=boot", "PARAMETER="+t.Parameter(),
			"REPOSITORY="+t.Repo, "TARGET_GROUP="+t.TargetGroup, "DIRECTORY="+filepath.Join(c.Dir, "app"), "PORT="+strconv.Itoa(i.First))
	}
}
