//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/sockets"
	"github.com/bootagent/bootagent/internal/unit"
)

// errClosed is why everything ends once the Runner is closed.
var errClosed = errors.New("the runner of units is closed")

// Runner runs units as child processes.
type Runner struct {
	opts    Options
	log     *zap.Logger
	records string // directory of the units' records
	runs    string // directory of the marks of runs
	locks   []*os.File

	ctx    context.Context // the Runner's own lifetime: Close ends it
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // everything that Close waits for
	logs   sync.Mutex     // held by whoever moves or reads log files

	mu     sync.Mutex
	closed bool
	units  map[string]*entry
	busy   map[string]chan struct{} // names that Start or Stop works on; closed when it is done
}

var _ unit.Runner = (*Runner)(nil)

// entry is one unit. Its fields are guarded by Runner.mu.
type entry struct {
	rec      record
	stopping bool          // Stop is at work: leave to it what the main process leaves behind
	ended    chan struct{} // closed when the exit is written down
}

// New opens the directories, and adopts the units that an earlier agent left running on this boot. What is left of
// builds that were cut off, and of units of another boot, it kills and forgets. Another Runner on the same directory is an error.
// It needs Linux 5.4 or newer.
func New(opts Options) (*Runner, error) {
	if opts.Dir == "" || opts.LogDir == "" || opts.BootID == "" {
		return nil, errors.New("run units: the directories of records and logs and the boot's id are needed")
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	r := &Runner{
		opts: opts, log: opts.Logger.Named("process"),
		units: make(map[string]*entry), busy: make(map[string]chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	if err := r.open(); err != nil {
		_ = r.Close()
		return nil, err
	}
	r.work.Go(r.boundLogs)
	return r, nil
}

// open makes the directories, takes the locks and adopts.
func (r *Runner) open() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("run units: this kernel has no pidfd_open, Linux 5.4 is needed: %w", err)
	}
	_ = unix.Close(fd)
	for _, dir := range []*string{&r.opts.Dir, &r.opts.LogDir} {
		if err := os.MkdirAll(*dir, 0o700); err != nil {
			return fmt.Errorf("make the directory of units: %w", err)
		}
		resolved, err := resolve(*dir)
		if err != nil {
			return fmt.Errorf("find the directory of units: %w", err)
		}
		*dir = resolved
	}
	r.records, r.runs = filepath.Join(r.opts.Dir, "units"), filepath.Join(r.opts.Dir, "runs")
	for _, dir := range []string{r.records, r.runs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the directory of units: %w", err)
		}
	}
	for _, dir := range []string{r.opts.Dir, r.opts.LogDir} {
		if err := r.lock(filepath.Join(dir, ".lock")); err != nil {
			return err
		}
	}
	return r.adopt()
}

// resolve gives the path as /proc shows it: absolute, without symbolic links.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// lockPatience is for a child that was just being made when the agent before was killed: it holds the lock until it
// executes its program.
const lockPatience = 2 * time.Second

func (r *Runner) lock(path string) error {
	for _, held := range r.locks {
		if held.Name() == path {
			return nil
		}
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the directory of units: %w", err)
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			r.locks = append(r.locks, file)
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			break
		}
	}
	_ = file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("the units in %s belong to another bootagent that is running: stop that one first, or give this one a directory of its own", filepath.Dir(path))
	}
	return fmt.Errorf("lock %s: %w", path, err)
}

// Close lets go of the units, which run on, and returns when everything that it had started has ended: Starts, Stops
// and Runs in flight end as if their contexts had. It is not an error to close twice.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel(errClosed)
	r.work.Wait()
	var errs []error
	for _, file := range r.locks {
		// A child that is just being made may share the descriptor, so closing it alone would not unlock.
		errs = append(errs, unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
	}
	r.locks = nil
	return errors.Join(errs...)
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

// find gives the entry and a copy of its record.
func (r *Runner) find(name string) (*entry, record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, record{}, errClosed
	}
	e, ok := r.units[name]
	if !ok {
		return nil, record{}, fmt.Errorf("%s: %w", name, unit.ErrUnknown)
	}
	return e, e.rec, nil
}

func (r *Runner) mark(rec record) mark {
	return mark{marker: rec.marker(), log: r.logPath(rec.Name), leader: rec.leader()}
}

// List is in unit.Runner.
func (r *Runner) List(context.Context) ([]unit.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	list := make([]unit.Status, 0, len(r.units))
	for _, e := range r.units {
		list = append(list, e.rec.status())
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// Sockets is in unit.Runner. A port that another process listens on too, at another address, is not Owned: whoever
// connects may get the other.
func (r *Runner) Sockets(_ context.Context, name string) (unit.Sockets, error) {
	_, rec, err := r.find(name)
	if err != nil || rec.Exit != nil {
		return unit.Sockets{}, err
	}
	// The listeners are read first: a socket that closes in between belongs to nobody, one that opens is seen next time.
	listeners, err := sockets.Listeners()
	if err != nil {
		return unit.Sockets{}, err
	}
	alive, err := members(r.mark(rec), map[ident]bool{})
	if err != nil {
		return unit.Sockets{}, err
	}
	held := make(map[uint64]bool)
	for _, p := range alive {
		inodes, err := sockets.OfProcess(p.pid)
		if err != nil {
			r.log.Debug("the sockets of a process can't be read", zap.String("unit", name), zap.Int("pid", p.pid), zap.Error(err))
		}
		for _, inode := range inodes {
			held[inode] = true
		}
	}
	return assign(rec.Port, listeners, held), nil
}

// assign says which of the listeners are the unit's.
func assign(port int, listeners []sockets.Listener, held map[uint64]bool) unit.Sockets {
	var found unit.Sockets
	foreign := false
	others := make(map[int]bool)
	for _, l := range listeners {
		switch mine := held[l.Inode]; {
		case l.Port == port && mine:
			found.Owned = true
		case l.Port == port:
			foreign = true
		case mine:
			others[l.Port] = true
		}
	}
	found.Owned = found.Owned && !foreign
	for p := range others {
		found.Others = append(found.Others, p)
	}
	sort.Ints(found.Others)
	return found
}

// Yield is in unit.Runner. What a unit is started with is the agent's own score.
func (r *Runner) Yield(_ context.Context, name string, yields bool) error {
	_, rec, err := r.find(name)
	if err != nil || rec.Exit != nil {
		return err
	}
	alive, err := members(r.mark(rec), map[ident]bool{})
	if err != nil {
		return err
	}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return fmt.Errorf("read the agent's own score: %w", err)
	}
	base, err := strconv.Atoi(strings.TrimSpace(string(own)))
	if err != nil {
		return fmt.Errorf("read the agent's own score: %w", err)
	}
	pids := make([]int, 0, len(alive))
	for _, p := range alive {
		pids = append(pids, p.pid)
	}
	return unit.YieldMemory(pids, base, yields)
}
