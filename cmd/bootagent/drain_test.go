package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/local"
)

// drainable is an agent that drains in a few looks.
type drainable struct {
	mu    sync.Mutex
	s     agent.Status
	looks int // until it is drained
}

func (d *drainable) status() any {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.s.Leaving == agent.Drained {
		if d.looks--; d.looks > 0 {
			d.s.State, d.s.Doing = "draining", []agent.Doing{{Step: "drain port 8081", Phase: "drain", Since: now()}}
		} else {
			d.s.State, d.s.Doing = "drained", nil
		}
	}
	return d.s
}

func (d *drainable) set(why agent.Leaving) local.Verb {
	return func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.s.Leaving, d.s.LeavingSince = why, now()
		return nil
	}
}

func serveDrainable(t *testing.T, d *drainable, verbs map[string]local.Verb) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent.sock")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- local.Serve(ctx, socket, d.status, verbs) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var s agent.Status
		err := local.Get(t.Context(), socket, &s)
		if err == nil {
			return socket
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestDrainWaitsUntilNothingIsLeft(t *testing.T) {
	t.Parallel()
	d := &drainable{s: reverted(), looks: 2}
	socket := serveDrainable(t, d, map[string]local.Verb{"drain": d.set(agent.Drained), "undrain": d.set(agent.Stays)})
	command(t, "drain", "--socket", socket).expect(t, exitDone, []string{"drain port 8081", "drained: nothing is registered", "bootagent undrain"}, nil)
	command(t, "drain", "--socket", socket).expect(t, exitDone, []string{"drained: nothing is registered"}, nil)
	command(t, "drain", "--json", "--socket", socket).expect(t, exitDone, []string{`"state": "drained"`, `"leaving": "drain"`}, nil)
	command(t, "status", "--socket", socket).expect(t, exitDone, []string{"drained", "an operator drained it at", "bootagent undrain"}, nil)
	command(t, "undrain", "--socket", socket).expect(t, exitDone, []string{"comes back into service"}, nil)
	command(t, "undrain", "--socket", socket).expect(t, exitDone, []string{"nothing to do"}, nil)
}

func TestDrainThatTakesTooLongSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	d := &drainable{s: reverted(), looks: 1 << 30}
	socket := serveDrainable(t, d, map[string]local.Verb{"drain": d.set(agent.Drained)})
	command(t, "drain", "--no-wait", "--socket", socket).expect(t, exitDone, []string{"bootagent status"}, nil)
	command(t, "drain", "--timeout", "200ms", "--socket", socket).expect(t, exitFailed, []string{"drain port 8081"},
		[]string{"not drained after 200ms", "goes on draining", "drain port 8081", "DescribeTargetHealth"})
	command(t, "drain", "--timeout", "0s", "--socket", socket).expect(t, exitUsage, nil, []string{"--timeout is 0s"})
}

func TestDrainThatIsRefusedSaysWhy(t *testing.T) {
	t.Parallel()
	d := &drainable{s: reverted()}
	d.s.Leaving = agent.Terminating
	socket := serveDrainable(t, d, map[string]local.Verb{
		"drain":   func(context.Context) error { return errors.New("the disk is full") },
		"undrain": func(context.Context) error { return nil },
	})
	command(t, "drain", "--socket", socket).expect(t, exitFailed, nil, []string{"refuses to drain: the disk is full"})
	command(t, "undrain", "--socket", socket).expect(t, exitDone, []string{"stays out of service", "Auto Scaling group ends it"}, nil)
}
