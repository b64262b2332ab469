// Package systemd runs units as transient services of systemd, and speaks to
// the systemd that started the agent (sd_notify).
//
// A unit's control group holds everything that it starts, whatever that does
// to get away, and systemd keeps the unit when the agent ends. What the agent
// must know of it again, the release and the port, stands in the unit itself,
// as fields of its journal entries: there is no record beside it that could say
// otherwise, and `journalctl BOOTAGENT_RELEASE=7` finds a release's output.
// The environment, which may be secret, is in neither: systemd reads it from a
// file without a name, which is gone once the unit has started.
//
// Output goes to the journal, which bounds it also while no agent runs. Under
// systemd standard output is then a socket: a program writes to it as to any
// other, but can't open it anew as /dev/stdout.
//
// It needs Linux, systemd 244 or newer, and root.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/unit"
)

// Options says whose units a Runner runs. All but Service and Logger are required.
type Options struct {
	// Prefix begins the names of all units in systemd, "bootagent-" for example; a Spec.Name that has it already does not
	// get it twice. Whatever unit of this prefix carries our marks is this Runner's.
	Prefix string
	// Dir is a directory of the Runner's own, /run/bootagent/units for example. It holds a lock, and nothing else.
	Dir string
	// Service is the agent's own unit, "bootagent.service" for example: at the machine's shutdown systemd stops it, which drains,
	// before it stops the app's. "" orders nothing.
	Service string
	// Logger may be nil.
	Logger *zap.Logger
}

// errClosed is why everything ends once the Runner is closed.
var errClosed = errors.New("the runner of units is closed")

// Runner runs units as transient services. Its methods may be called concurrently.
type Runner struct {
	opts Options
	log  *zap.Logger
	bus  bus
	lock *os.File

	ctx    context.Context // the Runner's own lifetime: Close ends it
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // everything that Close waits for

	mu     sync.Mutex
	closed bool
	busy   map[string]chan struct{} // names that Start or Stop works on; closed when it is done
}

var _ unit.Runner = (*Runner)(nil)

// New connects to systemd, takes over the units that an earlier agent left running, and ends what is left of its runs.
// Another Runner on the same directory is an error.
func New(ctx context.Context, opts Options) (*Runner, error) {
	if opts.Prefix == "" || opts.Dir == "" {
		return nil, errors.New("run units: the prefix of their names and a directory are needed")
	}
	if err := unit.CheckName(opts.Prefix); err != nil {
		return nil, fmt.Errorf("run units: their prefix: %w", err)
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	r := &Runner{opts: opts, log: opts.Logger.Named("systemd"), busy: make(map[string]chan struct{})}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.bus.ctx = r.ctx
	if err := r.open(ctx); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Runner) open(ctx context.Context) error {
	if err := os.MkdirAll(r.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of units: %w", err)
	}
	path := filepath.Join(r.opts.Dir, ".lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the directory of units: %w", err)
	}
	r.lock = file
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("the units in %s belong to another bootagent that is running: stop that one first, or give this one a directory of its own", r.opts.Dir)
	} else if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return r.endRuns(ctx)
}

// endRuns ends what an agent before this one ran and did not live to see the end of.
func (r *Runner) endRuns(ctx context.Context) error {
	all, err := r.lookAll(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if !s.marks.run {
			continue
		}
		if err := r.remove(ctx, s.unit); err != nil {
			return fmt.Errorf("end %s, which an earlier bootagent left: %w", s.unit, err)
		}
		r.log.Info("ended what an earlier bootagent was running", zap.String("run", s.marks.name))
	}
	return nil
}

// Close lets go of the units, which run on, and returns when everything that it had started has ended: Starts, Stops
// and Runs in flight end as if their contexts had. It is not an error to close twice.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel(errClosed)
	r.work.Wait()
	r.bus.close()
	if r.lock == nil {
		return nil
	}
	// A child that is just being made may share the descriptor, so closing it alone would not unlock.
	err := errors.Join(unix.Flock(int(r.lock.Fd()), unix.LOCK_UN), r.lock.Close())
	r.lock = nil
	return err
}

// begin registers work that Close waits for, and ends its context when the Runner is closed.
func (r *Runner) begin(ctx context.Context) (context.Context, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, errClosed
	}
	r.work.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(r.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		r.work.Done()
	}, nil
}

// turn waits until nobody else starts or stops the unit; done ends the turn.
func (r *Runner) turn(ctx context.Context, name string) (done func(), err error) {
	for {
		r.mu.Lock()
		other, taken := r.busy[name]
		if !taken {
			mine := make(chan struct{})
			r.busy[name] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				delete(r.busy, name)
				r.mu.Unlock()
				close(mine)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until the unit %s is no longer being started or stopped: %w", name, context.Cause(ctx))
		}
	}
}

func (r *Runner) isBusy(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, busy := r.busy[name]
	return busy
}

// service is the unit's name in systemd.
func (r *Runner) service(name string) string {
	return r.opts.Prefix + strings.TrimPrefix(name, r.opts.Prefix) + ".service"
}

// The pauses between two looks at what is being waited for.
const (
	shortPause = 5 * time.Millisecond
	longPause  = 250 * time.Millisecond
)

// poll looks again and again, ever less often, until done says so or ctx ends: its cause.
func poll(ctx context.Context, done func() (bool, error)) error {
	for pause := shortPause; ; pause = min(pause*3/2, longPause) {
		if ok, err := done(); err != nil || ok {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// sleep waits, or returns ctx's cause.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
