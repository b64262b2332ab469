package agent

import (
	"slices"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// An app that can't run twice is switched by restart: once the new release is prepared the old one is deregistered, drained
// and stopped, and only then the new one is started. Where that fails the old one is started again: it is the goal then.

// switching says whether the goal takes the place of what is in service, by restart.
func switching(o Observed, d Desired, m Memory) bool {
	to := goal(o, d, m)
	if !d.Rules.Restart || to.IsZero() || to.Number == m.InService.Number {
		return false
	}
	prepared, ok := o.Prepared[to.Number]
	if !ok || prepared.Release.Revision != to.Revision {
		return false
	}
	_, ok = webOf(prepared.Recipe)
	return ok
}

// otherWeb says whether a process with a port of another release is still here, running or not yet taken away.
func (o Observed) otherWeb(rel model.Release) bool {
	return slices.ContainsFunc(o.Units, func(u unit.Status) bool { return u.Port != 0 && !isThe(u.Release, rel) })
}

// webRuns says whether a process with a port of that release runs.
func (o Observed) webRuns(rel model.Release) bool {
	return slices.ContainsFunc(o.Units, func(u unit.Status) bool {
		return u.Port != 0 && u.State == unit.Running && u.Release.Number == rel.Number
	})
}
