package rollout

// Schema is the newest schema of a record that this version reads. An agent that meets a higher one neither leads nor
// takes slots; it serves on, and says so.
const Schema = 1

// Rollout is the rollout record: the one item with everybody's parts. It is what was read, and never changed.
type Rollout struct {
	Schema  int
	Release Release // the candidate
	Origin  Origin
	Policy  Policy
	State   State
	Lead    Lead
	// Failures counts the instances that failed; it never goes down. Whoever reports a failure raises it, and whoever
	// grants a slot expects it as it was read: that is what holds the budget however late a write arrives.
	Failures int
	// Failure is the first one, in words; nil while there is none.
	Failure *Failure
	// Task is the release task's way; the zero value until a slot's holder has read the recipe.
	Task Task
	// Parts are the instances' own, by instance id. Parts that were left from an earlier rollout are in Stale.
	Parts map[string]Part
	Stale []string

	text map[string]string // the attributes as they were read: what a write expects
}

// Origin is where the rollout came from.
type Origin struct {
	By      string `json:"by,omitempty"`
	Message string `json:"message,omitempty"`
	// Nonce is the lock's that was consumed; empty where the parameter was written by hand.
	Nonce string `json:"nonce,omitempty"`
	// RollbackOf is the release that an operator wants undone by this one.
	RollbackOf int64 `json:"rollback_of,omitempty"`
	// First says that there was no stable release yet: every instance boots the candidate, without slots.
	First bool `json:"first,omitempty"`
	// Marked says that an irreversible task ran in a rollout that this one superseded.
	Marked bool `json:"marked,omitempty"`
}

// Status is a rollout's state.
type Status string

// The states of a rollout. The first five are live, the others its end.
const (
	Pending     Status = "pending" // opened; nobody has looked at the group yet
	Running     Status = "running"
	Baking      Status = "baking"
	Paused      Status = "paused"
	RollingBack Status = "rolling_back"
	Succeeded   Status = "succeeded"
	FailedState Status = "failed"
	RolledBack  Status = "rolled_back"
	Aborted     Status = "aborted"
)

// Phase is how far a rollout has come.
type Phase string

// The phases of a rollout that is running, baking or paused.
const (
	CanaryPhase Phase = "canary"
	BatchPhase  Phase = "batches"
	FinalPhase  Phase = "final"
)

// State is the rollout's state, written by the leader and by operators.
type State struct {
	// Serial is raised by each change, so that no two states are the same text.
	Serial int    `json:"n"`
	Status Status `json:"s"`
	Phase  Phase  `json:"p,omitempty"`
	// Was is the state before a pause.
	Was Status `json:"was,omitempty"`
	// Cause says why, in words, and By who asked for it.
	Cause string `json:"cause,omitempty"`
	By    string `json:"by,omitempty"`
	// Ends is what rolling_back ends in.
	Ends Status `json:"ends,omitempty"`
	// Bad says that the revision failed, and not the world around it.
	Bad bool `json:"bad,omitempty"`
	// Forgiven are the failures before the last resume, and Round counts the resumes: what failed before is tried again.
	Forgiven int `json:"forgiven,omitempty"`
	Round    int `json:"round,omitempty"`
	// Approved says that an operator promoted it, and Baked that the last bake is over and only that was missing.
	Approved bool `json:"approved,omitempty"`
	Baked    bool `json:"baked,omitempty"`
	// Stays says that every instance stays where it is after the end (on_failure: stop).
	Stays bool `json:"stays,omitempty"`
}

// Live says whether the rollout has not ended.
func (s State) Live() bool {
	switch s.Status {
	case Pending, Running, Baking, Paused, RollingBack:
		return true
	}
	return false
}

// forward says whether the candidate is still meant to win.
func (s State) forward() bool {
	return s.Live() && s.Status != RollingBack
}
