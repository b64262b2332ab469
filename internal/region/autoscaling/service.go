// Package autoscaling is EC2 Auto Scaling for a region on a laptop: groups
// that keep a desired number of instances, lifecycle hooks with heartbeats and
// time-outs, standby, replacement of the unhealthy and the dead, attached
// target groups, and the history of it all. It speaks AWS's API (Serve) and
// launches real instances through the port Launcher.
//
// What a group does next is decided by one pure function, next; one goroutine
// (drive) carries that out.
//
// Simplified, against AWS: scale in takes the oldest instances first (under
// NewestInstance the newest), whatever their zones; a lifecycle hook that is
// abandoned at launch sends the instance through Terminating, with its hooks;
// only the parameters that are named in the operations' table are taken, and
// any other is refused with a ValidationError. There are no scaling policies,
// schedules, warm pools or instance refreshes, and nobody is notified of hooks.
package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// Options of a Service. Only Launcher is required.
type Options struct {
	Launcher Launcher
	// Traffic is the target groups; nil refuses groups that want to be attached to some.
	Traffic Traffic
	// OnTransition is told every change of an instance's lifecycle state and the state it moves to, in their order,
	// by one goroutine, and of an instance's Pending before it is launched. It should return soon.
	OnTransition func(instanceID string, current, target model.Lifecycle)
	// Address gives a new instance its host; nil gives every instance 127.0.0.1.
	Address func(instanceID string) string

	Region  string   // default us-east-1
	Account string   // default 123456789012
	Zones   []string // default a, b and c of the region

	// BackoffBase and BackoffLimit space out launches that come to nothing. The first instance that fails is replaced
	// at once, the next after BackoffBase (default 1 s), then twice as long each time up to BackoffLimit (default 1 min).
	BackoffBase, BackoffLimit time.Duration
	// HealthInterval is how often target health is read for groups of health check type ELB; default 1 s.
	HealthInterval time.Duration
	// EffectTimeout bounds one launch and one termination; default 1 min.
	EffectTimeout time.Duration
	Log           *zap.Logger
}

// steady is how long an instance must have been in service so that replacing it counts as no failed launch.
const steady = 30 * time.Second

// Service is the Auto Scaling service. Make it with New, end it with Close.
type Service struct {
	opts   Options
	ctx    context.Context // of the driver and all effects
	cancel context.CancelFunc
	poke   chan struct{}
	work   sync.WaitGroup // the driver and all effects

	mu      sync.Mutex
	closed  bool
	groups  map[string]*group
	configs map[string]*launchConfig
	// deleted keeps the activities of deleted groups, for IncludeDeletedGroups.
	deleted []*activity
	notices []notice
}

// notice is a transition that OnTransition has not been told yet.
type notice struct {
	instance string
	current  model.Lifecycle
}

// New starts a service without groups.
func New(opts Options) *Service {
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.Account == "" {
		opts.Account = "123456789012"
	}
	if len(opts.Zones) == 0 {
		opts.Zones = []string{opts.Region + "a", opts.Region + "b", opts.Region + "c"}
	}
	if opts.Address == nil {
		opts.Address = func(string) string { return "127.0.0.1" }
	}
	if opts.OnTransition == nil {
		opts.OnTransition = func(string, model.Lifecycle, model.Lifecycle) {}
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	opts.BackoffBase = positive(opts.BackoffBase, time.Second)
	opts.BackoffLimit = positive(opts.BackoffLimit, time.Minute)
	opts.HealthInterval = positive(opts.HealthInterval, time.Second)
	opts.EffectTimeout = positive(opts.EffectTimeout, time.Minute)
	s := &Service{opts: opts, poke: make(chan struct{}, 1), groups: map[string]*group{}, configs: map[string]*launchConfig{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(s.drive)
	s.work.Go(s.watchHealth)
	return s
}

func positive(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Close ends the service and switches off every instance, without hooks or draining. It returns when all its goroutines
// have ended and no machine is left, or ctx ends; the error then says what is left, and Close may be called again.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait() // effects get the cancelled context
	var machines []Machine
	var ids []string
	s.mu.Lock()
	for _, g := range s.groups {
		for _, i := range g.instances {
			if i.machine != nil {
				machines, ids = append(machines, i.machine), append(ids, i.ID)
			}
		}
	}
	s.mu.Unlock()
	errs := make([]error, len(machines))
	var ends sync.WaitGroup
	for n, m := range machines {
		ends.Go(func() {
			if err := m.Terminate(ctx); err != nil {
				errs[n] = fmt.Errorf("close Auto Scaling: end instance %s: %w", ids[n], err)
			}
		})
	}
	ends.Wait()
	return errors.Join(errs...)
}

// Lifecycle gives an instance's lifecycle state and the one it moves to, which is what IMDS shows. ok is false for
// an instance that is in no group (any more).
func (s *Service) Lifecycle(instanceID string) (current, target model.Lifecycle, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, i := s.find(instanceID)
	if i == nil {
		return "", "", false
	}
	return i.state, TargetState(i.state), true
}

// InstanceStatus is one instance of a group, for those who watch in-process.
type InstanceStatus struct {
	Instance
	Lifecycle model.Lifecycle
	Healthy   bool
	Launched  time.Time
	// Waiting are the lifecycle actions that are open, by hook: what AWS would have notified somebody of.
	Waiting map[string]Waiting
}

// Waiting is an open lifecycle action.
type Waiting struct {
	Token    string    // LifecycleActionToken
	Deadline time.Time // when it gets its default result, unless a heartbeat comes
}

// Instances lists a group's instances in order of launch; nil for a group that does not exist.
func (s *Service) Instances(group string) []InstanceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return nil
	}
	out := make([]InstanceStatus, len(g.instances))
	for n, i := range g.instances {
		out[n] = InstanceStatus{Instance: i.Instance, Lifecycle: i.state, Healthy: g.unhealthy(i, time.Now()) == "",
			Launched: i.launched, Waiting: map[string]Waiting{}}
		for _, a := range i.actions {
			out[n].Waiting[a.hook.Name] = Waiting{Token: a.token, Deadline: a.deadline}
		}
	}
	return out
}

// find looks an instance up in all groups; the caller holds the lock.
func (s *Service) find(id string) (*group, *instance) {
	for _, g := range s.groups {
		if i := g.instance(id); i != nil {
			return g, i
		}
	}
	return nil, nil
}

// wake lets the driver look at all groups again.
func (s *Service) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// move puts an instance into a state; the caller holds the lock.
func (s *Service) move(i *instance, to model.Lifecycle) {
	s.opts.Log.Info("instance moves on", zap.String("group", i.Group), zap.String("instance", i.ID),
		zap.String("from", string(i.state)), zap.String("to", string(to)))
	i.state = to
	s.notices = append(s.notices, notice{i.ID, to})
}

// names gives the groups' names in order; the caller holds the lock.
func (s *Service) names() []string {
	names := make([]string, 0, len(s.groups))
	for name := range s.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
