package machine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/bootagent/bootagent/internal/region/autoscaling"
)

// Launcher launches the instances of Auto Scaling groups as machines, and knows those that run.
type Launcher struct {
	command func(ctx context.Context, i autoscaling.Instance) (Command, error)

	mu       sync.Mutex
	closed   bool
	machines map[string]*Machine
	watchers sync.WaitGroup
}

var _ autoscaling.Launcher = (*Launcher)(nil)

// NewLauncher makes a launcher. command says what an instance runs; it may prepare what that needs, an IMDS
// endpoint for example.
func NewLauncher(command func(ctx context.Context, i autoscaling.Instance) (Command, error)) *Launcher {
	return &Launcher{command: command, machines: map[string]*Machine{}}
}

// Launch starts the instance's machine.
func (l *Launcher) Launch(ctx context.Context, i autoscaling.Instance) (autoscaling.Machine, error) {
	command, err := l.command(ctx, i)
	if err != nil {
		return nil, fmt.Errorf("launch instance %s: %w", i.ID, err)
	}
	// The lock spans the start, so that Close misses no machine.
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("launch instance %s: %w", i.ID, err)
	}
	if l.closed {
		return nil, fmt.Errorf("launch instance %s: the launcher is closed", i.ID)
	}
	m, err := Start(i.ID, command)
	if err != nil {
		return nil, err
	}
	l.machines[i.ID] = m
	l.watchers.Go(func() {
		<-m.Done()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.machines, i.ID)
	})
	return m, nil
}

// Machine gives the running machine of that instance id.
func (l *Launcher) Machine(id string) (*Machine, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, ok := l.machines[id]
	return m, ok
}

// Close switches every machine off and launches no more. On an error some machine may still run, and Close may
// be called again.
func (l *Launcher) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	var running []*Machine
	for _, m := range l.machines {
		running = append(running, m)
	}
	l.mu.Unlock()
	errs := make([]error, len(running))
	var group sync.WaitGroup
	for n, m := range running {
		group.Go(func() { errs[n] = m.Terminate(ctx) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	l.watchers.Wait()
	return nil
}
