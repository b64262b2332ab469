package agent

import (
	"fmt"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// web is the process that has the port which the balancer is given.
const web = "web"

// Observed is what is: on this machine, in the balancer, in the group.
type Observed struct {
	Membership model.Membership
	// TargetLifecycle is the state that Auto Scaling is moving the instance to, as IMDS says.
	TargetLifecycle model.Lifecycle
	// Prepared are the complete releases on disk, by number.
	Prepared map[int64]deploy.Prepared
	// Units are the app's processes; UnitsKnown says that they were listed since the agent started.
	Units      []unit.Status
	UnitsKnown bool
	// Targets are this instance's targets, by port; TargetsKnown says that they were read since the agent started.
	Targets      map[int]Target
	TargetsKnown bool
	// GroupPort is the target groups' own port, where they are attached to the Auto Scaling group; 0 until it is known.
	GroupPort int
	// Listening are the ports of the range on which somebody listens.
	Listening map[int]bool
	// Passed are the incarnations of units that passed their check.
	Passed map[Incarnation]bool
	// FailingSince is since when the port in service fails its checks without a pass; zero while it passes.
	FailingSince time.Time
}

// Incarnation is one process of a unit; the same unit started again is another.
type Incarnation struct {
	Unit string
	PID  int
}

// Target is a port's state over all target groups together.
type Target struct {
	Registered bool // in any group
	Everywhere bool // registered in every group
	Healthy    bool // in every group
	Draining   bool // in any group
}

func (o Observed) hookOpen() bool {
	return o.Membership.Lifecycle == model.LifecyclePendingWait && o.Membership.LaunchHook != ""
}

// unit finds a process of a release.
func (o Observed) unit(rel model.Release, process string) (unit.Status, bool) {
	for _, u := range o.Units {
		if isThe(u.Release, rel) && u.Process == process {
			return u, true
		}
	}
	return unit.Status{}, false
}

// incarnation is the key of Passed; an ended process has no PID any more.
func incarnation(u unit.Status) Incarnation {
	if u.State != unit.Running {
		return Incarnation{Unit: u.Name}
	}
	return Incarnation{Unit: u.Name, PID: u.PID}
}

// UnitName is the name of a release's process on this machine.
func UnitName(app string, release int64, process string) string {
	return fmt.Sprintf("bootagent-%s-%d-%s", app, release, process)
}

// webOf gives the release's process with the port; false for a release of workers alone.
func webOf(r recipe.Recipe) (recipe.Process, bool) {
	for _, p := range r.Processes {
		if p.Port {
			return p, true
		}
	}
	return recipe.Process{}, false
}

// isThe says whether a release here is the wanted one: its number and, once it is resolved, its revision.
func isThe(here, wanted model.Release) bool {
	return here.Number == wanted.Number && (!wanted.Resolved() || here.Revision == wanted.Revision)
}
