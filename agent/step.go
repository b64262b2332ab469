package agent

import (
	"fmt"

	"github.com/bootagent/bootagent/internal/model"
)

// Step is one idempotent thing to do next. Plan keeps asking for a step until
// what it is for can be observed; a step that Plan stops asking for is
// cancelled. Steps are comparable values: two equal steps are the same step.
type Step interface {
	// Phase is the step's name in the log and the timeline.
	Phase() string
	// For is the release the step belongs to; zero for none.
	For() model.Release
	String() string
}

type (
	// Prepare brings a release onto the disk: fetched, built, complete.
	Prepare struct{ Release model.Release }
	// Start starts one process of a prepared release; Port is 0 for one without a port.
	Start struct {
		Release model.Release
		Process string
		Port    int
	}
	// Check waits until this very incarnation of a process is healthy on its own socket.
	Check struct {
		Release model.Release
		Unit    string
		PID     int // 0 once the process has ended: the check then says how
		Port    int
	}
	// Register puts (instance, port) into every target group.
	Register struct {
		Release model.Release
		Port    int
	}
	// AwaitBalancer waits until the balancer says that the target is healthy.
	AwaitBalancer struct {
		Release model.Release
		Port    int
	}
	// Promote makes the release the one in service here.
	Promote struct {
		Release model.Release
		Port    int
	}
	// CompleteHook ends the launch lifecycle hook.
	CompleteHook struct{ Result model.HookResult }
	// CompleteTermination ends the termination lifecycle hook, with CONTINUE: nothing is left to wait for.
	CompleteTermination struct{}
	// Deregister takes (instance, port) out of every target group. Cause says why, for the log.
	Deregister struct {
		Release model.Release
		Port    int
		Cause   string
	}
	// Drain waits until nobody uses a deregistered port any more.
	Drain struct {
		Release model.Release
		Port    int
	}
	// Stop ends a unit and forgets it.
	Stop struct {
		Release model.Release
		Unit    string
		Port    int
	}
	// EnterStandby has Auto Scaling take the instance out of service, and out of the group's desired capacity: the release makes way.
	EnterStandby struct{ Release model.Release }
	// ExitStandby has it come back, with the release.
	ExitStandby struct{ Release model.Release }
	// Replace tells the Auto Scaling group that this instance is beyond help.
	Replace struct{ Release model.Release }
)

// The phases, in the order of a release's life.
func (Prepare) Phase() string             { return "prepare" }
func (Start) Phase() string               { return "start" }
func (Check) Phase() string               { return "check" }
func (Register) Phase() string            { return "register" }
func (AwaitBalancer) Phase() string       { return "balancer" }
func (Promote) Phase() string             { return "promote" }
func (CompleteHook) Phase() string        { return "hook" }
func (CompleteTermination) Phase() string { return "hook" }
func (Deregister) Phase() string          { return "deregister" }
func (Drain) Phase() string               { return "drain" }
func (Stop) Phase() string                { return "stop" }
func (EnterStandby) Phase() string        { return "standby" }
func (ExitStandby) Phase() string         { return "standby" }
func (Replace) Phase() string             { return "replace" }

// For gives each step's release.
func (s Prepare) For() model.Release             { return s.Release }
func (s Start) For() model.Release               { return s.Release }
func (s Check) For() model.Release               { return s.Release }
func (s Register) For() model.Release            { return s.Release }
func (s AwaitBalancer) For() model.Release       { return s.Release }
func (s Promote) For() model.Release             { return s.Release }
func (s CompleteHook) For() model.Release        { return model.Release{} }
func (s CompleteTermination) For() model.Release { return model.Release{} }
func (s Deregister) For() model.Release          { return s.Release }
func (s Drain) For() model.Release               { return s.Release }
func (s Stop) For() model.Release                { return s.Release }
func (s EnterStandby) For() model.Release        { return s.Release }
func (s ExitStandby) For() model.Release         { return s.Release }
func (s Replace) For() model.Release             { return s.Release }

// String is the step in words; it is also the key under which its retries are remembered.
func (s Prepare) String() string { return fmt.Sprintf("prepare %s", s.Release) }
func (s Start) String() string {
	return fmt.Sprintf("start %s of %s", s.Process, s.Release)
}
func (s Check) String() string    { return fmt.Sprintf("check %s", s.Unit) }
func (s Register) String() string { return fmt.Sprintf("register port %d", s.Port) }
func (s AwaitBalancer) String() string {
	return fmt.Sprintf("wait for the balancer to find port %d healthy", s.Port)
}
func (s Promote) String() string             { return fmt.Sprintf("promote %s", s.Release) }
func (s CompleteHook) String() string        { return fmt.Sprintf("complete the launch hook: %s", s.Result) }
func (s CompleteTermination) String() string { return "complete the termination hook" }
func (s Deregister) String() string          { return fmt.Sprintf("deregister port %d", s.Port) }
func (s Drain) String() string               { return fmt.Sprintf("drain port %d", s.Port) }
func (s Stop) String() string                { return fmt.Sprintf("stop %s", s.Unit) }
func (s EnterStandby) String() string        { return "enter standby" }
func (s ExitStandby) String() string         { return "leave standby" }
func (s Replace) String() string             { return "ask the Auto Scaling group for a replacement" }

// portOf is the port that a step is about; 0 for none.
func portOf(step Step) int {
	switch s := step.(type) {
	case Start:
		return s.Port
	case Check:
		return s.Port
	case Register:
		return s.Port
	case AwaitBalancer:
		return s.Port
	case Promote:
		return s.Port
	case Deregister:
		return s.Port
	case Drain:
		return s.Port
	case Stop:
		return s.Port
	}
	return 0
}
