// Package trial is a whole deployment on a laptop: a region, a git server, a
// load balancer, and an Auto Scaling group whose instances are real bootagent
// processes. `bootagent try` is it with a person in front; the demo and the
// tests drive it themselves.
package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/gitserver"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/balancer"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/internal/region/machine"
)

// A laptop's times, against an Application Load Balancer's: people wait.
const (
	// Scale is by how much the balancer's propagation is shortened: the minute for which new requests may come
	// to a deregistered target becomes three seconds.
	Scale = 0.05
	// DrainMin is longer than that, as 30 s is longer than nearly all that is seen on AWS.
	DrainMin = 4 * time.Second
	// Delay is the target group's deregistration delay: 300 s on AWS.
	Delay = 10 * time.Second
	// HealthInterval is the target group's: 30 s on AWS by default.
	HealthInterval = time.Second
	// Hook is the launch hook's heartbeat time-out: an hour on AWS by default.
	Hook = 30 * time.Second
	// LeaveHook is the termination hook's: an agent keeps it open for as long as it drains. A machine that has died keeps
	// nothing open, and is gone when it passes.
	LeaveHook = 10 * time.Second
	// Policy is how a release goes over a laptop's fleet: a bake is a minute on AWS by default.
	Policy = "{bake: 3s, min_healthy_time: 1s}"
)

// Table is the table of the fleet's records. Its keys are those that docs/deploying.md says to make it with.
const (
	Table        = "bootagent"
	partitionKey = "_fleet"
	sortKey      = "_key"
	expiry       = "_ttl"
)

// Options of a Trial.
type Options struct {
	// Agent is the bootagent program.
	Agent string
	// Repository is the directory of the app's git repository, bare or not. It is only read.
	Repository string
	App        string
	Instances  int
	// Listen is the balancer's address, "127.0.0.1:0" for a free port.
	Listen string
	// Check is how the balancer checks targets; Interval is set by the trial.
	Check elbv2.HealthCheck
	// Mode is balancer.mode, "" for self. Attached attaches the target group to the Auto Scaling group. Mode asg needs both, and a
	// fleet of one: all instances of a laptop would have the target group's port.
	Mode     string
	Attached bool
	// OnePort gives each instance one port instead of a range, which is enough for releases that take turns.
	OnePort bool
	// Policy is each instance's policy, as YAML; "" for the laptop's.
	Policy string
	// NoTable leaves the table out, for a fleet of one that keeps its records itself.
	NoTable bool
	// Most is the group's MaxSize; 0 leaves room to grow, or none without a table.
	Most int
	// Configuration is appended to each instance's configuration, as YAML.
	Configuration string
	// UnhealthyGrace and HoldOnFailure go into the instances' configuration; zero means the defaults.
	UnhealthyGrace, HoldOnFailure time.Duration
	// Output gets what the agents print; it is asked for one writer an instance. nil discards it.
	Output func(instanceID string) io.Writer
	// OnFailure is called for every request that the balancer failed.
	OnFailure func(balancer.Failure)
	// Git wraps the git server, so that a test can cut or stall it; nil leaves it alone.
	Git func(http.Handler) http.Handler
	// Disk is called with an instance's state directory before its agent starts, so that a test can give it a disk of its own;
	// nil leaves it alone.
	Disk func(dir string) error
	// IMDS may change an instance's metadata service before it opens: its tags, a delay; nil leaves it alone.
	IMDS func(*imds.Options)
	// Machine may change what an instance runs in place of the agent: a user-data script; nil leaves it alone.
	Machine func(*Instance, *machine.Command)
}

// Trial is a running deployment. Close ends it and leaves nothing behind.
type Trial struct {
	Options
	Region   *region.Region
	Groups   *autoscaling.Service
	Balancer *elbv2.Service
	Machines *machine.Launcher
	Listener elbv2.Listener
	// TargetGroup is the ARN of the app's target group; Repo the URL of its repository.
	TargetGroup string
	Repo        string

	dir   string
	git   *http.Server
	ports ports

	mu        sync.Mutex
	instances map[string]*Instance
}

// Names that the trial gives what it makes.
const (
	Env       = "try"
	GroupName = "bootagent-try"
	awsRegion = "us-east-1"
)

// Start opens everything but the fleet, which Launch does.
func Start(ctx context.Context, o Options) (t *Trial, err error) {
	if most := 107 - len("/bootagent-4294967295/i-0123456789abcdef0/run/agent.sock"); len(os.TempDir()) > most {
		return nil, fmt.Errorf("the directory for temporary files, %s, has too long a name for the sockets of instances, %d bytes at most: set TMPDIR to another", os.TempDir(), most)
	}
	dir, err := os.MkdirTemp("", "bootagent-")
	if err != nil {
		return nil, err
	}
	t = &Trial{Options: o, dir: dir, instances: map[string]*Instance{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
			t = nil
		}
	}()
	if t.Region, err = region.New(ctx, region.Options{Name: awsRegion}); err != nil {
		return t, err
	}
	if err := t.Region.DynamoDB.MakeTable(Table, partitionKey, sortKey, expiry); err != nil {
		return t, err
	}
	if err := t.serveGit(ctx); err != nil {
		return t, err
	}
	t.Machines = machine.NewLauncher(t.command)
	t.Balancer = elbv2.New(elbv2.Options{
		Region: awsRegion, Instances: t, Propagation: elbv2.ALB().Scale(Scale), Balancer: balancer.Options{OnFailure: o.OnFailure},
	})
	t.Groups = autoscaling.New(autoscaling.Options{Launcher: t.Machines, Traffic: t.Balancer, Region: awsRegion, OnTransition: t.transition})
	t.Region.Handle(elbv2.SigningName, elbv2.Namespace, t.Balancer)
	t.Region.Handle(autoscaling.Name, autoscaling.Namespace, t.Groups)
	return t, t.serveApp()
}

// serveGit serves the repository, read-only.
func (t *Trial) serveGit(ctx context.Context) error {
	name := t.App + ".git"
	handler, err := gitserver.Repository(name, t.Repository, gitserver.Options{AnySHA: true})
	if err != nil {
		return err
	}
	if t.Git != nil {
		handler = t.Git(handler)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open the git server: %w", err)
	}
	t.Repo = "http://" + listener.Addr().String() + "/" + name
	t.git = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = t.git.Serve(listener) }() // ends with Close, which closes its listener
	return nil
}

// serveApp makes the target group, the load balancer and its listener.
func (t *Trial) serveApp() (err error) {
	port, err := ListenPort(t.Listen)
	if err != nil {
		return err
	}
	check := t.Check
	check.Interval, check.Timeout = HealthInterval, HealthInterval/2
	own := 8080 // which nobody uses, but where Auto Scaling registers it
	if t.Attached || t.Mode == "asg" {
		if own, _, err = t.ports.take(); err != nil {
			return err
		}
	}
	if t.TargetGroup, err = t.Balancer.CreateTargetGroup(elbv2.GroupSpec{Name: t.App, Port: own, Check: check, Delay: Delay}); err != nil {
		return err
	}
	lb, err := t.Balancer.CreateLoadBalancer(elbv2.BalancerSpec{Name: t.App})
	if err != nil {
		return err
	}
	t.Listener, err = t.Balancer.CreateListener(lb, port, t.TargetGroup)
	return err
}

// Launch puts the configuration where operators find it, and makes the Auto Scaling group, which launches the fleet.
func (t *Trial) Launch(ctx context.Context) error {
	if _, err := t.putParameter(ctx, "/bootagent/"+t.App+"/"+Env+"/config", t.configuration(nil)); err != nil {
		return err
	}
	var attached []string
	if t.Attached {
		attached = []string{t.TargetGroup}
	}
	most := t.Most
	switch {
	case most > 0:
	case t.NoTable:
		most = 1
	default:
		most = max(10, 2*t.Options.Instances)
	}
	return t.Groups.CreateGroup(autoscaling.GroupConfig{
		Name: GroupName, Min: 0, Max: most, Desired: t.Options.Instances, TargetGroups: attached,
		Hooks: []autoscaling.Hook{
			{Name: "boot", Transition: autoscaling.Launching, Heartbeat: Hook, Default: model.HookAbandon},
			{Name: "leave", Transition: autoscaling.Terminating, Heartbeat: LeaveHook, Default: model.HookContinue},
		},
	})
}

// URL is where the balancer serves the app.
func (t *Trial) URL() string { return "http://" + t.Listener.Balancer.Addr().String() }

// Parameter is the name of the release parameter.
func (t *Trial) Parameter() string { return "/bootagent/" + t.App + "/" + Env + "/release" }

// Address says where an instance's ports are: all of them are on this laptop.
func (t *Trial) Address(instanceID string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.instances[instanceID]
	return "127.0.0.1", ok
}

// transition tells an instance's IMDS, and takes away what is gone.
func (t *Trial) transition(instanceID string, current, target model.Lifecycle) {
	t.mu.Lock()
	i := t.instances[instanceID]
	if current == model.LifecycleTerminated {
		delete(t.instances, instanceID)
	}
	t.mu.Unlock()
	if i == nil {
		return
	}
	i.imds.SetTargetLifecycle(string(target))
	if current == model.LifecycleTerminated {
		t.Balancer.InstanceGone(instanceID)
		t.retire(i)
	}
}

// closeGrace is enough to end a fleet: its machines are switched off, not drained.
const closeGrace = 30 * time.Second

// Close ends the fleet and the region, and removes every file.
func (t *Trial) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	var errs []error
	if t.Groups != nil {
		errs = append(errs, t.Groups.Close(ctx), t.Machines.Close(ctx))
	}
	if t.Balancer != nil {
		errs = append(errs, t.Balancer.Close(ctx))
	}
	if t.git != nil {
		errs = append(errs, t.git.Close())
	}
	if t.Region != nil {
		errs = append(errs, t.Region.Close())
	}
	t.ports.close()
	return errors.Join(append(errs, removeAll(t.dir))...)
}

// removeAll removes the trial's files. Builds leave read-only directories
// behind, which only root could empty: they are made writable first.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	// Errors of the walk show as errors of the removal.
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// ListenPort gives the port of the balancer's address, which is on 127.0.0.1: what is tried out is nobody else's.
func ListenPort(addr string) (int, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not an address to listen on, such as 127.0.0.1:8000: %w", addr, err)
	case a.IP != nil && a.IP.String() != "127.0.0.1":
		return 0, fmt.Errorf("the balancer listens on 127.0.0.1 alone, not on %s", a.IP)
	}
	return a.Port, nil
}

var _ elbv2.Instances = (*Trial)(nil)

// imdsOptions is the metadata of an instance.
func imdsOptions(i autoscaling.Instance) imds.Options {
	return imds.Options{
		Addr: "127.0.0.1:0", InstanceID: i.ID, AvailabilityZone: i.Zone, Tags: i.Tags,
		TargetLifecycle: string(model.LifecycleInService),
	}
}
