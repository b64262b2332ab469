package autoscaling

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

var silent = zap.NewNop()

// nowhere launches machines that do nothing.
type nowhere struct{}

func (nowhere) Launch(context.Context, Instance) (Machine, error) {
	return &fakeMachine{done: make(chan struct{})}, nil
}

// fakeMachine is a machine that lives until somebody ends it.
type fakeMachine struct {
	once sync.Once
	done chan struct{}
}

func (m *fakeMachine) Done() <-chan struct{} { return m.done }
func (m *fakeMachine) die()                  { m.once.Do(func() { close(m.done) }) }
func (m *fakeMachine) Terminate(context.Context) error {
	m.die()
	return nil
}

// farm launches fake machines and knows them; fail, if set, is asked before each.
type farm struct {
	mu       sync.Mutex
	fail     func(launch int) error
	launches []time.Time
	machines map[string]*fakeMachine
}

func (f *farm) Launch(_ context.Context, i Instance) (Machine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.launches = append(f.launches, time.Now())
	if f.fail != nil {
		if err := f.fail(len(f.launches)); err != nil {
			return nil, err
		}
	}
	m := &fakeMachine{done: make(chan struct{})}
	if f.machines == nil {
		f.machines = map[string]*fakeMachine{}
	}
	f.machines[i.ID] = m
	return m, nil
}

func (f *farm) launched() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.launches...)
}

// running counts the machines that live.
func (f *farm) running() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, m := range f.machines {
		select {
		case <-m.done:
		default:
			n++
		}
	}
	return n
}

func (f *farm) kill(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machines[id].die()
}

// fakeTraffic is target groups that keep who is registered.
type fakeTraffic struct {
	mu      sync.Mutex
	groups  map[string]bool
	delay   time.Duration
	members map[string]bool // group + " " + instance
	sick    map[string]bool // instance
	log     []string
	broken  bool
}

func (f *fakeTraffic) Exists(arn string) bool { return f.groups[arn] }

func (f *fakeTraffic) RegisterInstance(arn, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken {
		return errors.New("the balancer is out of order")
	}
	if f.members == nil {
		f.members = map[string]bool{}
	}
	f.members[arn+" "+id] = true
	f.log = append(f.log, "register "+id)
	return nil
}

func (f *fakeTraffic) DeregisterInstance(arn, id string) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, arn+" "+id)
	f.log = append(f.log, "deregister "+id)
	return f.delay, nil
}

func (f *fakeTraffic) Healthy(arn, id string) (known, healthy bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[arn+" "+id], !f.sick[id]
}

func (f *fakeTraffic) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}
