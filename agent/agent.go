// Package agent is the daemon on an instance: it observes what is, asks Plan
// what to do next, does it, and remembers what it must.
package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/mask"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/rollout"
)

// Options is what an agent is made of.
type Options struct {
	Rules Rules
	Env   string
	// Parameter is the release parameter's name: numbers of another mean nothing.
	Parameter string
	// Repository is the URL of the app's repository; an intent that names another is refused.
	Repository string
	// DrainMin is how long a deregistered process keeps serving at least.
	DrainMin time.Duration
	// MinMemory is how much memory must be available before a process is started beside another, in bytes.
	MinMemory int64
	// Sandbox is how the app's processes are kept in.
	Sandbox Sandbox

	Identity   model.Identity
	Metadata   Metadata
	Parameters Parameters
	Balancer   Balancer // nil where there is none: neither Rules.Balanced nor Rules.Attached
	Group      Group
	Standby    Standby // nil but for Rules.Attached
	Lookout    Lookout
	// Records are the fleet's. Shared says that they are in a table, and not in a file of this instance's own.
	Records rollout.Store
	Shared  bool
	// MakeTable are the lines that make such a table, for a person to type.
	MakeTable string
	// Policy is the configuration's: what a rollout has that says nothing else. TargetGroups is how many there are.
	Policy       rollout.Policy
	TargetGroups int
	Preparer     Preparer
	Cache        Cache // nil where there is none
	Runner       unit.Runner
	Sockets      Sockets
	Store        Store

	Log   *zap.Logger
	Spans *timeline.Spans // those of the boot so far; nil begins with none
	Now   Clock
}

// Store keeps the memory: a file (internal/state).
type Store interface {
	// Load gives the memory that was saved last; the zero value where none was.
	Load() (Memory, error)
	// Save returns when the memory is on disk.
	Save(m Memory) error
}

// Sockets is what the kernel knows of this machine's TCP sockets.
type Sockets interface {
	// Listening gives the ports on which anybody listens.
	Listening() (map[int]bool, error)
	// Established counts the connections that others have to this port.
	Established(port int) (int, error)
	// MemoryAvailable is what the kernel thinks can be used without swapping, in bytes.
	MemoryAvailable() (int64, error)
}

// Agent is the daemon. Its world is owned by the goroutine of Run; everybody
// else hands it changes.
type Agent struct {
	Options
	started time.Time
	updates chan func(*world)
	nudges  map[string]chan struct{} // wake a watcher before its time
	built   chan int64               // the release that came into service last, to be kept
	wait    sync.WaitGroup           // every goroutine of the agent

	// secrets are the values that this agent has read, with the names of their variables: what is masked.
	secrets struct {
		sync.Mutex
		names map[string]string
		mask  *mask.Mask
		last  map[string]string // as they were read last; nil before that
		ahead model.Release     // for which they were read while it was prepared, and when
		at    time.Time
	}

	mu     sync.Mutex // guards what status reads
	status Status
}

// world is everything the loop decides on.
type world struct {
	id       model.Identity
	observed Observed
	desired  Desired
	memory   Memory
	saved    Memory            // the memory as it is on disk
	problems map[string]string // by subject, what stands in the way, in words
	doing    map[Step]*activity
	monitor  *monitor
	groups   []model.TargetGroup
	stale    bool      // releases on disk are to be listed again
	moved    time.Time // when this agent last changed what is registered
	shifted  time.Time // when this agent last asked Auto Scaling to put its instance elsewhere
	fleet    fleet
	placed   bool // the membership was read since the agent started
}

// New makes an agent; Run starts it.
func New(o Options) *Agent {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Spans == nil {
		o.Spans = timeline.New(o.Now)
	}
	a := &Agent{
		Options: o,
		started: o.Now(),
		updates: make(chan func(*world), 64),
		built:   make(chan int64, 1),
		nudges: map[string]chan struct{}{
			"release": make(chan struct{}, 1), "records": make(chan struct{}, 1), "fleet": make(chan struct{}, 1), "targets": make(chan struct{}, 1), "membership": make(chan struct{}, 1),
		},
	}
	a.secrets.names, a.secrets.mask = map[string]string{}, mask.New(nil)
	return a
}

// tick is how often the loop looks around when nothing tells it to: a handful
// of small reads below /proc.
const tick = time.Second

// Run is the agent's life. It returns nil when ctx ends: the app's processes
// stay, they are not the agent's to end. Any other return is a *TerminalError.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer a.wait.Wait()
	defer cancel(nil)

	w := a.recall()
	if m := w.memory; m.Serving && m.Port != 0 { // another process of this agent may have ended before it was kept
		a.keepLater(m.InService.Number)
	}
	a.watch(ctx, w.id, cancel)
	defer a.finish(w)

	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		a.turn(ctx, w)
		select {
		case <-ctx.Done():
			return stopped(ctx)
		case update := <-a.updates:
			update(w)
		case <-ticker.C:
		}
		for more := true; more; {
			select {
			case update := <-a.updates:
				update(w)
			default:
				more = false
			}
		}
	}
}

// recall makes the world of what this instance remembers.
func (a *Agent) recall() *world {
	saved, err := a.Store.Load()
	if err != nil {
		// What is remembered can be found out again, but for revisions that failed: say so and go on.
		a.Log.Error("the agent's memory can't be read, it starts without: a revision that failed here may be tried again", zap.Error(err))
		saved = Memory{}
	}
	if saved.Schema > MemorySchema {
		a.Log.Error("the agent's memory was written by a newer version, it starts without: a revision that failed here may be tried again", zap.Int("schema", saved.Schema))
		saved = Memory{}
	}
	if saved.Parameter != "" && saved.Parameter != a.Parameter {
		a.Log.Warn("release.parameter is another than before: what was remembered of the old one's releases is forgotten", zap.String("before", saved.Parameter), zap.String("now", a.Parameter))
	}
	return &world{
		id: a.Identity, memory: saved.On(a.Identity, a.Parameter), saved: saved, stale: true,
		desired:  Desired{Rules: a.Rules},
		problems: map[string]string{}, doing: map[Step]*activity{},
		observed: Observed{Passed: map[Incarnation]bool{}, Targets: map[int]Target{}},
	}
}

// turn is one round of the loop: observe, remember, plan, act.
func (a *Agent) turn(ctx context.Context, w *world) {
	a.observe(ctx, w)
	a.sense(w)
	w.follow()
	now := a.Now()
	m := w.memory.Seen(w.desired, w.observed, now)
	a.remember(w, m.Forget(wanted(w.observed, w.desired, m, now), w.desired))
	a.lookWhoListens(w)
	steps := Plan(w.observed, w.desired, w.memory, now)
	w.fleet.standby = slices.ContainsFunc(steps, func(s Step) bool { _, ok := s.(EnterStandby); return ok })
	a.reconcile(ctx, w, steps)
	if a.Cache != nil {
		a.problem(w, "cache", a.Cache.CacheProblem())
	}
	a.problem(w, "ports", portless(w.observed, w.desired, w.memory))
	a.problem(w, "standby", stranger(w.id, w.observed, w.desired, w.memory))
	a.publish(w, now)
}

// post hands the loop a change of its world; it gives up when the agent ends.
func (a *Agent) post(ctx context.Context, update func(*world)) {
	select {
	case a.updates <- update:
	case <-ctx.Done():
	}
}

// tell is post that returns when the change is made. Its error says that the agent's loop did not come to it before ctx
// ended; the change may be made yet.
func (a *Agent) tell(ctx context.Context, update func(*world)) error {
	made := make(chan struct{})
	a.post(ctx, func(w *world) {
		defer close(made)
		update(w)
	})
	select {
	case <-made:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent's loop did not answer: %w", context.Cause(ctx))
	}
}

// nudge wakes a watcher before its time.
func (a *Agent) nudge(watcher string) {
	select {
	case a.nudges[watcher] <- struct{}{}:
	default:
	}
}

// goes runs f in a goroutine that Run waits for.
func (a *Agent) goes(f func()) {
	a.wait.Add(1)
	go func() {
		defer a.wait.Done()
		f()
	}()
}

// finish cancels what is in flight and still remembers how it ended.
func (a *Agent) finish(w *world) {
	for _, act := range w.doing {
		act.cancel()
	}
	for len(w.doing) > 0 {
		(<-a.updates)(w)
	}
}

// problem notes what stands in the way of something, and logs it when it is
// new: a poll that fails the same way again is not news.
func (a *Agent) problem(w *world, subject string, err error) {
	if err == nil {
		if _, was := w.problems[subject]; was {
			delete(w.problems, subject)
			a.Log.Info("resolved", zap.String("subject", subject))
		}
		return
	}
	if !same(w.problems[subject], err.Error()) {
		a.Log.Warn("problem", zap.String("subject", subject), zap.Error(err))
	}
	w.problems[subject] = err.Error()
}

// same says whether two texts tell of the same failure: each request to AWS has an id of its own.
func same(one, other string) bool {
	return requestID.ReplaceAllLiteralString(one, "") == requestID.ReplaceAllLiteralString(other, "")
}

var requestID = regexp.MustCompile(` \(request [^()]*\)`)

// TerminalError is an error that starting the agent again can't mend: exit code 5.
type TerminalError struct{ Err error }

func (t *TerminalError) Error() string { return t.Err.Error() }
func (t *TerminalError) Unwrap() error { return t.Err }

// stopped tells the end that was asked for from the one that was not.
func stopped(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
