package agent

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/rollout"
)

// box is a machine on which release 1 serves with a worker, with no balancer before it.
type box struct {
	mu     sync.Mutex
	units  []unit.Status
	memory Memory
	stops  []string
	blind  bool // nobody can count its connections
	full   bool // the disk is
	ports  map[int]bool
	deaf   error // why nobody can say who listens
}

func (b *box) Start(context.Context, unit.Spec) error { return nil }
func (b *box) Stop(_ context.Context, name string, _ time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stops = append(b.stops, name)
	for n, u := range b.units {
		if u.Name == name {
			b.units = append(b.units[:n:n], b.units[n+1:]...)
			break
		}
	}
	return nil
}
func (b *box) List(context.Context) ([]unit.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.units, nil
}
func (b *box) Tail(context.Context, string, int) ([]string, error) { return nil, nil }
func (b *box) Run(context.Context, unit.Spec, io.Writer) error     { return nil }
func (b *box) Yield(context.Context, string, bool) error           { return nil }
func (b *box) Load() (Memory, error)                               { return b.memory, nil }
func (b *box) Listening() (map[int]bool, error)                    { return b.ports, b.deaf }
func (b *box) MemoryAvailable() (int64, error)                     { return 1 << 40, nil }
func (b *box) RunTask(context.Context, unit.Spec, time.Duration, map[string]string) (bool, error) {
	return true, nil
}
func (b *box) Resolve(context.Context, string) (string, error)           { return one.Revision, nil }
func (b *box) Prepared(context.Context) ([]deploy.Prepared, error)       { return nil, nil }
func (b *box) Promote(context.Context, int64) error                      { return nil }
func (b *box) TargetLifecycle(context.Context) (model.Lifecycle, error)  { return "", nil }
func (b *box) Sockets(context.Context, string) (s unit.Sockets, e error) { return s, nil }
func (b *box) Prepare(ctx context.Context, _ model.Release, _ *timeline.Spans) (deploy.Prepared, error) {
	<-ctx.Done()
	return deploy.Prepared{}, context.Cause(ctx)
}
func (b *box) Established(int) (int, error) {
	if b.blind {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, nil
}
func (b *box) Save(m Memory) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full {
		return io.ErrShortWrite
	}
	b.memory = m
	return nil
}

// agent is one for the box, where release one serves.
func (b *box) agent() *Agent {
	_, _, m := scenery(settled(unbalanced())...)
	m.InstanceID, m.BootID = "i-1", "b"
	o, _, _ := scenery(runs(one, 8080), worker(one))
	b.units, b.memory = o.Units, m
	return New(Options{
		Rules: Rules{App: "shop", FirstPort: 8080, LastPort: 8081}, DrainMin: 30 * time.Second,
		Identity: model.Identity{InstanceID: "i-1", BootID: "b"}, Metadata: b, Parameters: parameters{err: model.ErrNoRelease},
		Group: &groupOf{}, Records: noRecords{}, Preparer: b, Runner: b, Sockets: b, Store: b, Log: zap.NewNop(),
	})
}

// living runs an agent on the box, within synctest's time, until the test is done with it.
func living(t *testing.T, b *box, test func(t *testing.T, a *Agent)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := b.agent()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		test(t, a)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAMachineThatGoesDownDrainsFirst(t *testing.T) {
	t.Parallel()
	b := &box{}
	living(t, b, func(t *testing.T, a *Agent) {
		began := time.Now()
		if err := a.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("it took %s, and drain_min is 30s", took)
		}
		if len(b.stops) > 0 {
			t.Errorf("systemd stops what runs, after the agent, and these were stopped before: %v", b.stops)
		}
		if s := a.Status(); s.Leaving != ShuttingDown || s.State != "drained" || len(s.Problems) > 1 || s.Problems["health"] != "" {
			t.Errorf("the status says %+v", s) // of one problem: there is no release parameter
		}
	})
}

func TestADrainThatIsNotOverInTimeSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	living(t, &box{blind: true}, func(t *testing.T, a *Agent) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := a.Leave(ctx)
		if err == nil || !strings.Contains(err.Error(), "drain port 8080") {
			t.Errorf("got %v", err)
		}
	})
}

func TestADrainThatCannotBeRememberedIsNotBegun(t *testing.T) {
	t.Parallel()
	b := &box{full: true}
	living(t, b, func(t *testing.T, a *Agent) {
		err := a.Drain(t.Context())
		if err == nil || !strings.Contains(err.Error(), "could not be remembered") || !strings.Contains(err.Error(), io.ErrShortWrite.Error()) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		if s := a.Status(); s.Leaving != Stays || len(b.stops) > 0 {
			t.Errorf("the status says %q, and stopped were %v", s.Leaving, b.stops)
		}
	})
}

// noRecords is a store that nobody has written to.
type noRecords struct{}

func (noRecords) Get(_ context.Context, key string) (rollout.Record, error) {
	return rollout.Record{Key: key}, nil
}
func (noRecords) List(context.Context, string, int, bool) ([]rollout.Record, error) { return nil, nil }
func (noRecords) Apply(context.Context, ...rollout.Change) error                    { return rollout.ErrConflict }
