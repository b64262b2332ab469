// Package operator is the operator's part of a rollout: what deploy, rollback, status, history, pause, resume, abort, promote,
// freeze and unfreeze do. It asks the fleet's records for something and watches what becomes of it; the agents carry it out, so
// that nothing is lost where it dies at any point.
package operator

import (
	"context"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Parameter is the release parameter.
type Parameter interface {
	// Read gives its newest version and the one that is labelled stable. A missing parameter is model.ErrNoRelease.
	Read(ctx context.Context) (model.Published, error)
	// Put writes a version and gives its number. After an error it is known not to be written, unless the error is one of reach.
	Put(ctx context.Context, value string) (int64, error)
	// History gives the versions, newest first; limit 0 gives all. A missing parameter is model.ErrNoRelease.
	History(ctx context.Context, limit int) ([]model.Version, error)
}

// Repository is the app's repository.
type Repository interface {
	// Resolve finds the full SHA of the commit that a ref stands for.
	Resolve(ctx context.Context, ref string) (string, error)
	// Recipe says whether the recipe of a revision can be used: nil, or why not.
	Recipe(ctx context.Context, revision string) error
}

// Groups is Auto Scaling.
type Groups interface {
	// GroupOf gives the name of an instance's group, "" for none.
	GroupOf(ctx context.Context, instanceID string) (string, error)
	Describe(ctx context.Context, group string) (model.ScalingGroup, error)
}

// Balancer is the load balancer.
type Balancer interface {
	// Targets are those of all target groups.
	Targets(ctx context.Context) ([]model.TargetHealth, error)
	// Limits are the account's quotas that those count against, as far as they are known.
	Limits(ctx context.Context) ([]model.TargetLimit, error)
}

// Screen is where progress goes.
type Screen interface {
	// Say prints a line that stays.
	Say(line string)
	// Show gives how things stand now: a terminal draws it in place of what was shown last. The first line says it all, the others more.
	Show(lines []string)
}

// Clock is the operator's own time. Now is monotonic; Sleep ends early, with its cause, where the context does.
type Clock struct {
	Now   func() time.Duration
	Sleep func(ctx context.Context, d time.Duration) error
}

// RealClock is the time of this process.
func RealClock() Clock {
	start := time.Now()
	return Clock{
		Now: func() time.Duration { return time.Since(start) },
		Sleep: func(ctx context.Context, d time.Duration) error {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
	}
}

// Options are what an operator works with. Only Group, Balancer and Store may be left out.
type Options struct {
	App, Env string
	// Source is source.url: the repository that the fleet deploys from.
	Source string
	// Policy is the configuration's.
	Policy rollout.Policy
	// Group is the Auto Scaling group's name; "" finds it by the instances that are registered in the balancer.
	Group string
	// TargetGroups is how many there are; 0 for no balancer.
	TargetGroups int
	// Standby says that instances switch in standby (balancer.mode asg).
	Standby bool
	// By is who asks, "ann@laptop".
	By string
	// Nonce tells this deploy from every other: a random text.
	Nonce string
	// Table is the table's name; "" for a fleet of one, which has none. Release is the release parameter's, and MakeTable the line
	// that makes a table: both for people.
	Table, Release, MakeTable string

	// Store has the fleet's records. nil: they are in a file of the one instance, and out of reach.
	Store      rollout.Store
	Parameter  Parameter
	Repository Repository
	Groups     Groups
	Balancer   Balancer // nil for no balancer
	Screen     Screen
	Clock      Clock
}

// Operator asks one app's fleet, in one env, for something. It is for one command.
type Operator struct {
	Options
	watched map[string]sight // since when counters of others are as they are
	group   groupCache
}

type sight struct {
	text string
	at   time.Duration
}

// New makes an operator; it asks nothing yet.
func New(o Options) *Operator {
	return &Operator{Options: o, watched: map[string]sight{}}
}

// The pace of what waits.
const (
	// look is how often records are read while something is waited for: less often than agents do, so that a person who
	// watches costs less than an instance.
	look = time.Second
	// lookAtGroup is how often Auto Scaling and the balancer are asked meanwhile: their limits are the whole account's.
	lookAtGroup = 15 * time.Second
	// openPatience is how long the lock is kept for an agent to open the record. Agents read the parameter every few seconds, in the
	// largest groups every two minutes.
	openPatience = 10 * time.Minute
	// blindness is how long what is watched may be out of sight before the watch ends.
	blindness = 5 * time.Minute
	// tries is how often a change is made anew where somebody else was there first, and again is the pause between two.
	tries = 20
	again = 300 * time.Millisecond
)

// still says for how long something has been seen as it is, on this operator's own clock.
func (o *Operator) still(what, text string) time.Duration {
	if last, ok := o.watched[what]; ok && last.text == text {
		return o.Clock.Now() - last.at
	}
	o.watched[what] = sight{text, o.Clock.Now()}
	return 0
}

func (o *Operator) name() string { return o.App + " " + o.Env }
