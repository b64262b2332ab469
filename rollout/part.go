package rollout

import "time"

const (
	// Lease is how long the counter of a lease may stand still, on the observer's own monotonic clock, before the lease is dead.
	Lease = 30 * time.Second
	// Renew is how often a lease's counter is raised: three times a lease, so that two lost writes cost nothing.
	Renew = 10 * time.Second
)

// Lead is the lease on leading: the right to write everything but parts and an operator's wishes. Each write of the leader's
// expects it as it was and changes it, so that a late write, or a second leader's, changes nothing.
type Lead struct {
	// By is the leader's instance id; empty while nobody leads.
	By string `json:"by,omitempty"`
	// Term is raised by each takeover, and Counter by each write.
	Term    int `json:"t"`
	Counter int `json:"n"`
	// Serial is the state's that the times below are of. They are the time that leaders have seen pass, in milliseconds.
	Serial int `json:"s"`
	// Baked is how long the bake has lasted, and Idle how long nothing has got on.
	Baked int64 `json:"bake,omitempty"`
	Idle  int64 `json:"idle,omitempty"`
	// Done is how many parts were done when something last got on.
	Done int `json:"done,omitempty"`
}

// PartState is where an instance's part is.
type PartState string

// The states of a part, one letter each, because the record has up to a thousand.
const (
	Granted  PartState = "g" // has a slot to switch to the candidate
	Done     PartState = "o" // serves the candidate
	Sick     PartState = "k" // serves the candidate, and fails
	Reverted PartState = "f" // failed the candidate, and serves what it did before
	Back     PartState = "b" // has a slot to switch to stable
	Returned PartState = "r" // serves stable again
	Stray    PartState = "x" // serves what is neither the candidate nor stable
	Lost     PartState = "l" // left the group
)

// Part is an instance's entry in the rollout record: its slot, then its result.
type Part struct {
	ID
	State PartState `json:"s"`
	// Counter is raised with each slot, by the holder of a slot as long as it lives, and with each mark: it never falls, so that nobody takes
	// a part for one that was seen long ago.
	Counter int `json:"c,omitempty"`
	// Attempt counts the slots that the instance was given after a failure.
	Attempt int `json:"a,omitempty"`
	// Aside says that its agent has put the instance in standby, or is about to: it is to be brought back whatever happens.
	Aside bool `json:"y,omitempty"`
	// Why is what keeps the holder of a slot from using it, as it was renewed last.
	Why string `json:"w,omitempty"`
	// Astray says that the instance served neither the candidate nor stable before its slot.
	Astray bool `json:"x,omitempty"`
}

// Open says whether it is a slot that was not given back.
func (p Part) Open() bool { return p.State == Granted || p.State == Back }

// away says whether the instance serves something else than stable, or may.
func (p Part) away() bool {
	switch p.State {
	case Granted, Back, Done, Sick, Stray:
		return true
	case Reverted:
		return p.Astray
	}
	return false
}

// Task is the release task's way through a rollout. It runs at most once.
type Task struct {
	State TaskState `json:"s,omitempty"`
	// By is the instance that runs it, and Counter is raised by it while it does.
	By      string `json:"by,omitempty"`
	Counter int    `json:"c,omitempty"`
	// Reversible says that the recipe declares that the old release works after it.
	Reversible bool `json:"reversible,omitempty"`
}

// TaskState is where the release task is.
type TaskState string

// The states of a release task.
const (
	NoTask      TaskState = "none"    // the recipe has none, or the rollout is a rollback
	TaskRunning TaskState = "running" // claimed: it has begun, or will at once
	TaskDone    TaskState = "done"
	TaskFailed  TaskState = "failed"
	TaskUnknown TaskState = "unknown" // who ran it died: nobody knows how far it came
)

// settled says whether instances may switch as far as the task goes.
func (t Task) settled() bool { return t.State == NoTask || t.State == TaskDone }

// ran says whether it has changed something that a return to stable does not undo, or may have.
func (t Task) ran() bool {
	switch t.State {
	case TaskRunning, TaskDone, TaskFailed, TaskUnknown:
		return !t.Reversible
	}
	return false
}

// Failure is the first instance's that failed, with the last lines of its output.
type Failure struct {
	Instance string `json:"instance"`
	Cause    string `json:"cause"`
}

// maxCause is how many bytes of a cause a record keeps.
const maxCause = 2000

// maxWhy is how many bytes of Part.Why it keeps: there may be as many as slots.
const maxWhy = 300
