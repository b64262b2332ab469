package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/health"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

const (
	outputLines = 20
	// elsewhere is how long an app may listen on other ports only before it has ignored PORT: some open one for
	// their metrics a moment before their own.
	elsewhere = 3 * time.Second
)

// check waits until this incarnation of the process is healthy on its own
// socket. A process that ended, or that listens elsewhere, fails at once.
func (a *Agent) check(ctx context.Context, on scene, s Check) error {
	prepared := on.prepared[s.Release.Number]
	wanted := prepared.Recipe.Health
	if len(wanted.Command) > 0 {
		// Known before the deadline begins to run: that Parameter Store can't be reached is no fault of the app's.
		if _, err := a.lastSecrets(ctx); err != nil {
			return fmt.Errorf("read the app's environment for its health command: %w", err)
		}
	}
	probe := a.probe(on.id, prepared, s)
	listens := health.Lasting(elsewhere, func(ctx context.Context) error { return a.listens(ctx, s) })
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	err := health.Wait(waiting, health.WaitOptions{
		Probe: func(ctx context.Context) error {
			err := probe(ctx)
			var unfit *unit.CommandError
			if errors.As(err, &unfit) {
				giveUp(err) // another try gives the same
			}
			return err
		},
		Interval: wanted.Interval, Timeout: wanted.Timeout, Successes: wanted.Successes, Deadline: wanted.Deadline,
		Alive: func(ctx context.Context) error {
			if err := a.alive(ctx, s); err != nil {
				return err
			}
			var port *health.PortError
			if err := listens(ctx); errors.As(err, &port) {
				return err
			}
			return nil
		},
	})
	var unwell *health.Error
	if !errors.As(err, &unwell) || ctx.Err() != nil {
		return err
	}
	var unasked *health.UnaskedError
	if errors.Is(unwell.Cause, health.ErrDeadline) && errors.As(unwell.Last, &unasked) {
		return errors.New(a.masked(ctx, unwell.Error())) // this machine could not even ask: another try may give another answer
	}
	tail, cancel := context.WithTimeout(context.WithoutCancel(ctx), look)
	defer cancel()
	if unwell.Output, err = a.Runner.Tail(tail, s.Unit, outputLines); err != nil {
		unwell.Output = []string{"(its output can't be read: " + err.Error() + ")"}
	}
	said := a.masked(tail, unwell.Error())
	return &deploy.RevisionError{Phase: "check", Err: errors.New(said + a.Sandbox.hint(said))}
}

// alive says whether the incarnation that is checked still runs.
func (a *Agent) alive(ctx context.Context, s Check) error {
	units, err := a.Runner.List(ctx)
	if err != nil {
		return nil //nolint:nilerr // what can't be seen is not dead: the probes go on, and the deadline bounds them
	}
	for _, u := range units {
		switch {
		case u.Name != s.Unit:
		case u.State != unit.Running:
			return fmt.Errorf("the process %s %s", u.Process, u.Ended())
		case u.PID != s.PID:
			return fmt.Errorf("the process %s ended and was started anew", u.Process)
		default:
			return nil
		}
	}
	return fmt.Errorf("the process %s is gone", s.Unit)
}

// listens says whether the unit itself listens on its port.
func (a *Agent) listens(ctx context.Context, s Check) error {
	// It does nearly always, and then nothing else matters: reading the kernel's table may take milliseconds, for it passes over all connections.
	sockets, err := a.Runner.Sockets(ctx, s.Unit)
	if err == nil && sockets.Owned {
		return nil
	}
	// A stranger listens before and after: an app that begins to, or ends, between two looks is none to itself.
	before, err := a.Sockets.Listening()
	if err != nil {
		return &health.UnaskedError{Err: fmt.Errorf("see who listens on port %d: %w", s.Port, err)}
	}
	if sockets, err = a.Runner.Sockets(ctx, s.Unit); err != nil {
		return &health.UnaskedError{Err: fmt.Errorf("see what %s listens on: %w", s.Unit, err)}
	}
	after, err := a.Sockets.Listening()
	if err != nil {
		return &health.UnaskedError{Err: fmt.Errorf("see who listens on port %d: %w", s.Port, err)}
	}
	return health.DiagnoseSockets(s.Port, sockets, before[s.Port] && after[s.Port] && !sockets.Owned)
}

// probe is the recipe's check of the process on its port. What answers there must be that process, and not one that was
// there before.
func (a *Agent) probe(id model.Identity, prepared deploy.Prepared, s Check) health.Probe {
	probe := probeOf(prepared.Recipe.Health, s.Port)
	if len(prepared.Recipe.Health.Command) > 0 {
		probe = a.commandProbe(id, prepared, s)
	}
	return func(ctx context.Context) error {
		if err := a.listens(ctx, s); err != nil {
			return err
		}
		return probe(ctx)
	}
}

// commandProbe runs the recipe's health command, with what the process was given when it was started.
func (a *Agent) commandProbe(id model.Identity, prepared deploy.Prepared, s Check) health.Probe {
	return func(ctx context.Context) error {
		secrets, err := a.lastSecrets(ctx)
		if err != nil {
			return &health.UnaskedError{Err: fmt.Errorf("read the app's environment for its health command: %w", err)}
		}
		spec := a.spec(id, prepared, s.Port, secrets)
		spec.Name, spec.Process, spec.Release = s.Unit+"-health", "health", s.Release
		spec.Command = prepared.Recipe.Health.Command
		return health.Command(a.Runner, spec)(ctx)
	}
}

// probeOf is a check from outside of a process on that port.
func probeOf(h recipe.Health, port int) health.Probe {
	if h.Path == "" {
		return health.TCP(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	return health.HTTP(health.HTTPCheck{Port: port, Path: h.Path, Host: h.Host, StatusMin: h.Statuses.Min, StatusMax: h.Statuses.Max})
}

// monitor asks what serves how it is, for as long as it serves.
type monitor struct {
	release int64
	port    int
	health  *health.Monitor
	stop    context.CancelFunc
}

// The interval of the checks of what serves, at least. A check by HTTP or TCP
// is cheap and stays on the machine, a command is a process or more each time;
// the grace is what tells a hiccup from trouble.
const (
	lifelong        = 2 * time.Second
	lifelongCommand = 5 * time.Second
)

// monitorService lets exactly what serves be monitored, and observes how it is.
func (a *Agent) monitorService(ctx context.Context, w *world) {
	m := w.memory
	serves := m.Serving && m.Port != 0
	if w.monitor != nil && (!serves || w.monitor.port != m.Port || w.monitor.release != m.InService.Number) {
		w.monitor.stop()
		w.monitor = nil
	}
	prepared, known := w.observed.Prepared[m.InService.Number]
	if w.monitor == nil && serves && known {
		w.monitor = a.startMonitor(ctx, w.id, m, prepared)
	}
	var failing, unasked error
	w.observed.FailingSince = time.Time{}
	again := m.Crashes[web].repeated(a.Now())
	switch {
	case m.Serving && m.Port == 0 && !switching(w.observed, w.desired, m):
		failing = fmt.Errorf("%s was in service and is out of it until it is healthy again%s", m.InService, again)
	case w.monitor != nil:
		state := w.monitor.health.State()
		if state.Status == health.Failing {
			w.observed.FailingSince = state.Since
			failing = fmt.Errorf("the app in service on port %d fails its checks: %w%s", m.Port, state.Last, again)
		}
		if state.Unasked != nil {
			unasked = fmt.Errorf("nobody knows how the app in service on port %d is: %w", m.Port, state.Unasked)
		}
	}
	a.problem(w, "unasked", unasked)
	a.problem(w, "health", failing)
}

// maskedProbe is a probe whose error may be shown: it quotes what the app answered.
func (a *Agent) maskedProbe(probe health.Probe) health.Probe {
	return func(ctx context.Context) error {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		shown := errors.New(a.masked(ctx, err.Error()))
		var unasked *health.UnaskedError
		if errors.As(err, &unasked) {
			return &health.UnaskedError{Err: shown}
		}
		return shown
	}
}

func (a *Agent) startMonitor(ctx context.Context, id model.Identity, m Memory, prepared deploy.Prepared) *monitor {
	ctx, cancel := context.WithCancel(ctx)
	h, interval := prepared.Recipe.Health, lifelong
	probe := probeOf(h, m.Port)
	if len(h.Command) > 0 {
		web, _ := webOf(prepared.Recipe) // a release without one is not in service
		s := Check{Release: m.InService, Unit: UnitName(a.Rules.App, m.InService.Number, web.Name), Port: m.Port}
		probe, interval = a.probe(id, prepared, s), lifelongCommand
	}
	started := &monitor{
		release: m.InService.Number, port: m.Port, stop: cancel,
		health: health.NewMonitor(health.MonitorOptions{
			Probe: a.maskedProbe(probe), Interval: max(h.Interval, interval), Timeout: h.Timeout,
			Thresholds: health.Thresholds{Fall: 2, Rise: 1},
		}),
	}
	a.goes(func() { started.health.Run(ctx) })
	return started
}
