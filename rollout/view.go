package rollout

import "time"

// View is all that one agent knows when it takes a step. Times are by its own monotonic clock, which runs since the agent's
// start; no time of another machine is in it.
type View struct {
	// Reached says that the table was read for this view. While it is not, the mirror serves.
	Reached bool
	// Rollout is to be read before Stable: a promotion that comes between the two then shows in both, or in Stable alone.
	Rollout *Rollout
	Stable  Stable
	// Broken is why one of the two can't be read; nil while they can.
	Broken error
	// Records are what Decision.Read asked for before, read together with the two: by key, without attributes where there is none.
	Records map[string]Record

	Published  Published
	Group      Group
	Self       Self
	Resolution Resolution
	// Defaults is the configuration's policy: what a rollout has that says nothing else.
	Defaults Policy
}

// Published is what the release parameter says, as this agent read it last. It may be stale.
type Published struct {
	// Number is the newest version's; 0 while there is no parameter, or it was not read.
	Number int64
	Intent Intent
	// Err is why the newest version is no release: it can't be read, or it names another repository. It is refused.
	Err error
	// Newer says that Err is a newer schema's: whoever knows that one will open it.
	Newer bool
	// Anew says that the number is lower than one that was seen in the present epoch, and that the parameter's history confirms
	// that it was deleted and made anew.
	Anew bool
	// Seeded says that this is a fleet of one whose store was lost with the instance before: what is newer than stable
	// may have been tried by that one.
	Seeded bool
	// Mirror is the release under the label stable, resolved only where its value holds a full SHA.
	Mirror Release
}

// Group is the Auto Scaling group and what the balancer says of it. Only the leader looks.
type Group struct {
	Known bool
	// At is when it was looked at.
	At time.Duration
	// Desired is the group's desired number of instances.
	Desired int
	Members []Member
}

// Member is an instance of the group that is not being terminated.
type Member struct {
	ID string
	// InService says that Auto Scaling has it in service: a booting one takes no slot.
	InService bool
	// Healthy says that the balancer sends it requests, in all target groups; where there is no balancer, that its part or its group says so.
	Healthy bool
	// Standby says that it is, or is entering, standby.
	Standby bool
}

// Self is this instance.
type Self struct {
	ID string
	// Serving is the release that is in service here on this boot; zero while none is.
	Serving Release
	// Passing is for how long Serving has passed its checks, its own and the balancer's, without a failure; 0 while it does not.
	Passing time.Duration
	// Failing says that Serving has failed its checks for longer than unhealthy_grace, and Cause what they said last.
	Failing bool
	Cause   string
	// Failed is the last release that failed here on the way into service.
	Failed LocalFailure
	// Candidate is the rollout's release once it is complete on disk.
	Candidate Candidate
	// Task is the release task that this process of the agent was told to run.
	Task TaskRun
	// Aside says that this agent has its instance in standby, or is about to put it there.
	Aside bool
	// Standby says that a person has put the instance in standby.
	Standby bool
	// Hindered is what stands in the way of entering or leaving standby, or of registering a target; "" for nothing.
	Hindered string
	// Launching says that its group waits for it to come into service.
	Launching bool
	// Leaving says that the instance is being drained, terminated or shut down.
	Leaving bool
}

// LocalFailure is a release that failed on this instance.
type LocalFailure struct {
	Release ID
	// Attempt is Decision.Attempt as it was when the release failed.
	Attempt Attempt
	Cause   string
}

// Attempt tells one try of a release on an instance from the next: what failed in one may be tried in another.
type Attempt struct {
	// Rollout is the release of the rollout record, and Number the part's attempt.
	Rollout ID
	Number  int
}

// Candidate is what is known of a release that is prepared here.
type Candidate struct {
	Release ID
	// Task says that its recipe has a release_task, and Reversible that this is declared reversible.
	Task       bool
	Reversible bool
}

// TaskRun is how the release task went that this process of the agent ran.
type TaskRun struct {
	Release ID
	Ended   bool
	Err     error
}

// Resolution is what came of resolving the ref of a value that was written by hand.
type Resolution struct {
	Release  ID
	Revision string
	// Err is why it could not be; Final says that trying again is of no use: there is no such ref.
	Err   error
	Final bool
}

// Decision is what the agent does next.
type Decision struct {
	// Goal is the release that this instance is to serve, or to go on serving; zero for none yet. It may be prepared, started,
	// registered and put in service. A step that starts, registers or deregisters is taken only on a decision from a view that was read just before.
	Goal Release
	// Attempt is the one that Goal is tried in: its failure in an earlier one is forgiven, and it is tried anew.
	Attempt Attempt
	// Ready is a release to be prepared and not yet started; zero for none.
	Ready Release
	// RunTask asks to run the release task of Ready, once for this process of the agent; it may take until its own time-out.
	RunTask bool
	// Resolve asks to resolve the ref of the newest version of the parameter.
	Resolve bool
	// Watch asks to look at the group, of which the leader must know.
	Watch bool
	// Read are the records that the next view must have beside rollout and stable.
	Read []string
	// Writes are to be applied one after the other, each by itself; after any of them failed the rest is dropped. Whatever came of them, the records are read
	// again before the next step.
	Writes []Write
	// Aside says that the record tells that this instance is aside: from then on it may enter standby.
	Aside bool
	// Restore are instances that are to be brought back from standby: their agents are gone.
	Restore []string
	// Mirror is the release whose version is to carry the label stable; zero while it does. The version with its number may be of a
	// parameter that was made anew: it is labelled only where its Intent names this release.
	Mirror Release
	// Idle says that nothing but the parameter has to be looked at until it changes.
	Idle bool
	// Leads says that this agent leads the rollout.
	Leads bool
	// Tell is what a person should know: why something is refused, or what is waited for. "" for nothing.
	Tell string
}

// Write is one Apply, and why, for the log.
type Write struct {
	Why     string
	Changes []Change
}

// Memory is what an agent remembers from step to step; it is lost with the process, and nothing depends on it but patience.
type Memory struct {
	// seen is since when a counter that somebody else must move is as it is.
	seen map[string]sight
	// held and tried are the leases of this process, as text: the one that it wrote last, and the one it has tried to write since.
	held, tried sight
	// marked is this instance's part as this process wrote it last, where it said that the instance is aside.
	marked sight
	// claimed is the claim on the release task that this process tried to write.
	claimed string
	// renewed is when this process raised its own counters last.
	renewed map[string]time.Duration
	// newest is the newest version of the parameter that was seen, and refused the one that is known not to be rolled out, and why.
	newest  ID
	refused ID
	because string
}

type sight struct {
	text string
	at   time.Duration
}
