package autoscaling

import (
	"context"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// Instance is what a launcher has to know of the instance it launches.
type Instance struct {
	ID    string // i-0 and 16 hex digits
	Group string // the Auto Scaling group's name
	Zone  string // the Availability Zone, us-east-1a for example
	// Address is the host on which the instance is reached, without a port.
	Address string
	// Tags are the group's tags that propagate at launch, aws:autoscaling:groupName among them.
	Tags map[string]string
}

// Launcher makes instances.
type Launcher interface {
	// Launch starts an instance. An error says that there is none: whatever was started has been ended again.
	Launch(ctx context.Context, i Instance) (Machine, error)
}

// Machine is an instance that runs, as EC2 sees it.
type Machine interface {
	// Done is closed when the machine is gone, whether it was terminated or died without notice.
	Done() <-chan struct{}
	// Terminate ends the machine with everything that runs on it, as one that is switched off, and returns
	// when nothing is left. One that is gone already is no error.
	Terminate(ctx context.Context) error
}

// Traffic is the target groups that an Auto Scaling group can be attached to.
// All its methods are called from several goroutines and answer at once.
type Traffic interface {
	// Exists says whether there is a target group of that ARN.
	Exists(groupARN string) bool
	// RegisterInstance registers the instance on the target group's own port. It is idempotent.
	RegisterInstance(groupARN, instanceID string) error
	// DeregisterInstance deregisters every target of the instance that RegisterInstance made, and gives the
	// target group's deregistration delay: how long the instance must still be left running. It is idempotent.
	DeregisterInstance(groupARN, instanceID string) (delay time.Duration, err error)
	// Healthy gives the instance's health in the target group; known is false while that is not decided.
	Healthy(groupARN, instanceID string) (known, healthy bool)
}

// TargetState is the state that an instance in the state current is moving to. That, not the current one, is
// what IMDS shows at autoscaling/target-lifecycle-state: an instance in Pending:Wait reads InService there.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
func TargetState(current model.Lifecycle) model.Lifecycle {
	switch current {
	case model.LifecyclePending, model.LifecyclePendingWait, model.LifecyclePendingProceed, model.LifecycleInService:
		return model.LifecycleInService
	case model.LifecycleEnteringStandby, model.LifecycleStandby:
		return model.LifecycleStandby
	case model.LifecycleTerminating, model.LifecycleTerminatingWait, model.LifecycleTerminatingProceed,
		model.LifecycleTerminated:
		return model.LifecycleTerminated
	}
	return model.LifecycleNone
}
