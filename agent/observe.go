package agent

import (
	"context"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/unit"
)

// look bounds one look at this machine.
const look = 10 * time.Second

// observe looks at this machine: the units, the releases on disk, the
// health of what serves. What can't be seen stays as it was seen last.
func (a *Agent) observe(life context.Context, w *world) {
	ctx, cancel := context.WithTimeout(life, look)
	defer cancel()
	units, err := a.Runner.List(ctx)
	a.problem(w, "units", err)
	if err == nil {
		w.observed.Units, w.observed.UnitsKnown = units, true
		forgetIncarnations(w)
	}
	if w.stale {
		prepared, err := a.Preparer.Prepared(ctx)
		a.problem(w, "releases", err)
		if err == nil {
			w.stale = false
			w.observed.Prepared = make(map[int64]deploy.Prepared, len(prepared))
			for _, p := range prepared {
				w.observed.Prepared[p.Release.Number] = p
			}
		}
	}
	a.monitorService(life, w)
}

// lookWhoListens looks who listens, where something may be started: not once a second for as long as one release serves. It is the last look before a
// plan, which may be the first with a new goal.
func (a *Agent) lookWhoListens(w *world) {
	if m := w.memory; m.Serving && m.Port != 0 && goal(w.observed, w.desired, m).Number == m.InService.Number && w.observed.hasWeb() {
		a.problem(w, "sockets", nil) // nobody asks
		return
	}
	listening, err := a.Sockets.Listening()
	a.problem(w, "sockets", err)
	if err == nil {
		w.observed.Listening = listening
	}
}

// forgetIncarnations drops the passes of processes that are gone.
func forgetIncarnations(w *world) {
	alive := map[Incarnation]bool{}
	for _, u := range w.observed.Units {
		if u.State == unit.Running {
			alive[incarnation(u)] = true
		}
	}
	for i := range w.observed.Passed {
		if !alive[i] {
			delete(w.observed.Passed, i)
		}
	}
}
