package agent

import (
	"context"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
	"github.com/bootagent/bootagent/internal/unit"
)

// Parameters is where the intent is read and the mirror is kept (SSM Parameter Store).
type Parameters interface {
	// Read gives the parameter's newest version and the one labelled stable, in one request where that works.
	// A missing parameter is model.ErrNoRelease; a missing label leaves Stable nil.
	Read(ctx context.Context) (model.Published, error)
	// Label moves the label stable to that version.
	Label(ctx context.Context, version int64) error
	// History gives the parameter's versions, the newest first, limit at most. A missing parameter is model.ErrNoRelease.
	History(ctx context.Context, limit int) ([]model.Version, error)
	// Environment gives the variables below the app's path, by name, decrypted. An empty path gives none.
	Environment(ctx context.Context) (map[string]string, error)
}

// Balancer is the target groups (ELBv2).
type Balancer interface {
	// Groups describes the configured target groups, in the order they were configured.
	Groups(ctx context.Context) ([]model.TargetGroup, error)
	// Health gives the state of these ports of this instance in every group; a port that is not registered is TargetUnused.
	Health(ctx context.Context, instanceID string, ports []int) ([]model.TargetHealth, error)
	// Register and Deregister are idempotent, and act on every group.
	Register(ctx context.Context, instanceID string, port int) error
	Deregister(ctx context.Context, instanceID string, port int) error
}

// Group is the Auto Scaling group that the instance is in.
type Group interface {
	// Membership asks Auto Scaling for the instance's place; the zero value means it is in no group.
	Membership(ctx context.Context, instanceID string) (model.Membership, error)
	// Heartbeat extends the hook's time-out by one period. A hook that is not open is model.ErrHookClosed.
	Heartbeat(ctx context.Context, m model.Membership, instanceID string) error
	// Complete ends the hook. A hook that is not open (any more) is no error.
	Complete(ctx context.Context, m model.Membership, instanceID string, result model.HookResult) error
	// SetUnhealthy tells the group to replace the instance.
	SetUnhealthy(ctx context.Context, instanceID string) error
}

// Standby takes an instance out of service for a while, where Auto Scaling registers it. Both are idempotent.
type Standby interface {
	EnterStandby(ctx context.Context, group, instanceID string) error
	ExitStandby(ctx context.Context, group, instanceID string) error
}

// Lookout is the whole fleet as Auto Scaling and the balancer see it: what the leader of a rollout looks at.
type Lookout interface {
	// Describe gives the group with all its instances.
	Describe(ctx context.Context, group string) (model.ScalingGroup, error)
	// Targets gives every target of every configured target group.
	Targets(ctx context.Context) ([]model.TargetHealth, error)
}

// Metadata is what IMDS knows.
type Metadata interface {
	// TargetLifecycle is the state Auto Scaling is moving the instance to, "" where it is in no group.
	TargetLifecycle(ctx context.Context) (model.Lifecycle, error)
}

// Preparer brings releases onto this machine's disk (deploy.Machine).
type Preparer interface {
	Tasks
	// Resolve finds the full SHA of a ref.
	Resolve(ctx context.Context, ref string) (string, error)
	// Prepare fetches and builds the release; it does nothing for one that is complete on disk already.
	Prepare(ctx context.Context, rel model.Release, spans *timeline.Spans) (deploy.Prepared, error)
	// Prepared lists the complete releases on disk, by number.
	Prepared(ctx context.Context) ([]deploy.Prepared, error)
	// Promote lets `current` name this release and removes what retention no longer keeps.
	Promote(ctx context.Context, number int64) error
}

// Cache keeps what was built here for other instances (deploy.Machine).
type Cache interface {
	// Warm does what the first look into the cache needs, and any release: what goes wrong shows then.
	Warm(ctx context.Context)
	// Keep writes a complete release into the cache, unless it came from there, or is there, or can't be kept at all, which is a problem and
	// no error. It takes its time.
	Keep(ctx context.Context, number int64) error
	// CacheProblem is what was wrong with the cache when it was used last, nil where nothing was.
	CacheProblem() error
}

// Tasks runs a release's task (deploy.Machine).
type Tasks interface {
	// RunTask runs the command for at most so long, and keeps what it prints, without the values of secrets. It returns when nothing of it
	// is left, and says whether it may have begun.
	RunTask(ctx context.Context, spec unit.Spec, timeout time.Duration, secrets map[string]string) (begun bool, err error)
}

// Clock is the time, so that tests can bring their own.
type Clock func() time.Time
