// Package model holds the words that the other packages share, as types.
// It has no behaviour beyond formatting and imports nothing of ours.
package model

import (
	"errors"
	"fmt"
	"time"
)

// Release is a numbered revision. The number is the version of the SSM
// parameter that asked for it, so numbers only grow while the parameter lives.
type Release struct {
	Number int64 `json:"number"`
	// Ref is what a person typed: a branch, a tag or a SHA.
	Ref string `json:"ref"`
	// Revision is the full commit SHA, 40 lower-case hex digits; empty until Ref is resolved.
	Revision string `json:"revision,omitempty"`
}

// Resolved says whether the revision is known.
func (r Release) Resolved() bool { return r.Revision != "" }

// IsZero says whether this is no release at all.
func (r Release) IsZero() bool { return r.Number == 0 }

// Short is the first 12 digits of the revision, or the ref while there is none.
func (r Release) Short() string {
	if len(r.Revision) >= 12 {
		return r.Revision[:12]
	}
	return r.Ref
}

func (r Release) String() string {
	if r.IsZero() {
		return "no release"
	}
	return fmt.Sprintf("release %d (%s)", r.Number, r.Short())
}

// Published is what the release parameter says: raw values, still untrusted.
type Published struct {
	Newest Version
	// Stable is the version that carries the label stable, nil while none does.
	Stable *Version
}

// Version is one version of the release parameter.
type Version struct {
	Number int64
	Value  string
	// At is when it was written, by AWS's clock, and By the ARN of who wrote it; both zero where they were not asked for.
	At time.Time
	By string
}

// What an adapter's error may be, so that those who use a port can tell
// without knowing the adapter: errors.Is finds these in the chain.
var (
	// ErrNoRelease means that the release parameter does not exist: nobody has asked for a release yet.
	ErrNoRelease = errors.New("no release yet")
	// ErrConfiguration means that asking again is of no use before a person has changed something: a
	// permission, a name, a region. Everything else may pass by itself.
	ErrConfiguration = errors.New("wrong configuration")
	// ErrHookClosed means that the lifecycle hook is not open (any more): it was completed, or its time-out passed.
	ErrHookClosed = errors.New("the lifecycle hook is not open")
)

// Identity is what an instance knows of itself, from IMDS and the kernel.
type Identity struct {
	InstanceID       string `json:"instance_id"`
	Region           string `json:"region"`
	AvailabilityZone string `json:"availability_zone,omitempty"`
	PrivateIP        string `json:"private_ip,omitempty"`
	// BootID changes with every boot of the kernel; units and counters of another boot mean nothing.
	BootID string `json:"boot_id"`
}

// Lifecycle is an Auto Scaling lifecycle state, in AWS's spelling.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
type Lifecycle string

// The lifecycle states that bootagent tells apart. The empty state means that
// the instance is in no Auto Scaling group.
const (
	LifecycleNone               Lifecycle = ""
	LifecyclePending            Lifecycle = "Pending"
	LifecyclePendingWait        Lifecycle = "Pending:Wait"
	LifecyclePendingProceed     Lifecycle = "Pending:Proceed"
	LifecycleInService          Lifecycle = "InService"
	LifecycleTerminating        Lifecycle = "Terminating"
	LifecycleTerminatingWait    Lifecycle = "Terminating:Wait"
	LifecycleTerminatingProceed Lifecycle = "Terminating:Proceed"
	LifecycleTerminated         Lifecycle = "Terminated"
	LifecycleStandby            Lifecycle = "Standby"
	LifecycleEnteringStandby    Lifecycle = "EnteringStandby"
)

// Membership is an instance's place in an Auto Scaling group; the zero value means none.
type Membership struct {
	Group     string    `json:"group,omitempty"`
	Lifecycle Lifecycle `json:"lifecycle,omitempty"`
	// LaunchHook is the name of the group's launch lifecycle hook, empty where it has none.
	LaunchHook string `json:"launch_hook,omitempty"`
	// HookTimeout is the launch hook's heartbeat time-out in seconds.
	HookTimeout int `json:"hook_timeout,omitempty"`
	// TerminateHook and TerminateTimeout are the same of the group's termination lifecycle hook.
	TerminateHook    string `json:"terminate_hook,omitempty"`
	TerminateTimeout int    `json:"terminate_timeout,omitempty"`
	// Desired is the group's desired capacity: how many others poll the same APIs. Most is its MaxSize.
	Desired int `json:"desired,omitempty"`
	Most    int `json:"most,omitempty"`
	// TargetGroups are the ARNs attached to the group itself; not empty means balancer.mode asg.
	TargetGroups []string `json:"target_groups,omitempty"`
}

// ScalingGroup is an Auto Scaling group as a whole.
type ScalingGroup struct {
	Name string `json:"name"`
	// Least, Desired and Most are its MinSize, DesiredCapacity and MaxSize.
	Least   int `json:"least"`
	Desired int `json:"desired"`
	Most    int `json:"most"`
	// Instances are all that Auto Scaling lists, those included that boot or are being terminated.
	Instances []ScalingInstance `json:"instances"`
	// TargetGroups are the ARNs attached to the group itself.
	TargetGroups []string `json:"target_groups,omitempty"`
}

// ScalingInstance is an instance of an Auto Scaling group, as the group sees it.
type ScalingInstance struct {
	ID        string    `json:"id"`
	Lifecycle Lifecycle `json:"lifecycle"`
	// Healthy is the group's HealthStatus: that nobody has told it otherwise.
	Healthy bool `json:"healthy"`
}

// HookResult is what a lifecycle hook is completed with.
type HookResult string

// The two results AWS knows.
const (
	HookContinue HookResult = "CONTINUE"
	HookAbandon  HookResult = "ABANDON"
)

// Target is one (instance, port) in a target group.
type Target struct {
	Group      string `json:"group"` // the target group's ARN
	InstanceID string `json:"instance_id"`
	Port       int    `json:"port"`
}

// TargetState is a target's state in the balancer, in AWS's spelling.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
type TargetState string

// The target states. TargetUnused is also what a target that is not registered has.
const (
	TargetInitial     TargetState = "initial"
	TargetHealthy     TargetState = "healthy"
	TargetUnhealthy   TargetState = "unhealthy"
	TargetDraining    TargetState = "draining"
	TargetUnused      TargetState = "unused"
	TargetUnavailable TargetState = "unavailable"
)

// Registered says whether a target in this state stands in its group now.
// A draining target and an unregistered one do not.
func (s TargetState) Registered() bool {
	switch s {
	case TargetInitial, TargetHealthy, TargetUnhealthy, TargetUnavailable:
		return true
	}
	return false
}

// TargetHealth is what the balancer says of a target.
type TargetHealth struct {
	Target
	State       TargetState `json:"state"`
	Reason      string      `json:"reason,omitempty"` // AWS's code, Target.Timeout for example
	Description string      `json:"description,omitempty"`
}

// TargetLimit is one of the account's quotas that targets count against.
type TargetLimit struct {
	// On is what it holds for, in words: "target group web", "load balancer front".
	On string `json:"on"`
	// Quota is its name and code, as Service Quotas has them.
	Quota string `json:"quota"`
	// Most is how many targets it allows.
	Most int `json:"most"`
	// Groups are the ARNs of the target groups whose targets count.
	Groups []string `json:"groups"`
}

// TargetGroup is the part of a target group's configuration that the agent needs.
type TargetGroup struct {
	ARN                 string `json:"arn"`
	Name                string `json:"name"`
	TargetType          string `json:"target_type"` // bootagent needs "instance"
	Protocol            string `json:"protocol"`    // HTTP, HTTPS, TCP, …
	Port                int    `json:"port"`        // on which Auto Scaling registers instances, where the group is attached
	HealthCheckInterval int    `json:"health_check_interval"`
	// DeregistrationDelay is in seconds; AWS's default is 300.
	DeregistrationDelay int `json:"deregistration_delay"`
}

// Object is one in a store of objects.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time
}
