package autoscaling

import (
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// GroupConfig is what a group is created with. CreateAutoScalingGroup fills it from a request, within AWS's
// limits; CreateGroup takes it as it is, so that a test or a demo may use shorter times.
type GroupConfig struct {
	Name              string
	Min, Max, Desired int
	// Zones are the Availability Zones that instances are spread over; empty means the first of the region.
	Zones   []string
	Subnets string // VPCZoneIdentifier, as it was given
	// HealthCheckType is "EC2" or "ELB", "" means EC2.
	HealthCheckType string
	// GracePeriod is how long after InService an instance is not replaced for what ELB or SetInstanceHealth say.
	GracePeriod time.Duration
	Cooldown    time.Duration // kept and shown; there are no simple scaling policies that would use it
	// Warmup is DefaultInstanceWarmup, kept and shown; nil means none.
	Warmup       *time.Duration
	TargetGroups []string // ARNs of target groups to be attached
	Hooks        []Hook
	Tags         []Tag
	// Protected protects new instances from scale in.
	Protected bool
	// TerminationPolicies order scale in. NewestInstance ends the newest first; every other policy of AWS
	// comes to the same as Default here: the oldest first.
	TerminationPolicies []string

	LaunchTemplate *LaunchTemplate
	// Mixed says that the template was given within a mixed instances policy.
	Mixed               bool
	LaunchConfiguration string
}

// LaunchTemplate names a launch template. There is no EC2 behind it: what runs is the launcher's affair.
type LaunchTemplate struct {
	ID      string `xml:"LaunchTemplateId,omitempty"`
	Name    string `xml:"LaunchTemplateName,omitempty"`
	Version string `xml:"Version,omitempty"`
}

// Tag is a tag of a group.
type Tag struct {
	Key, Value string
	Propagate  bool // at launch, to the instances
}

// Transition is what a lifecycle hook waits at.
type Transition string

// The two transitions that have hooks.
const (
	Launching   Transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
	Terminating Transition = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// Hook is a lifecycle hook.
type Hook struct {
	Name       string
	Transition Transition
	// Heartbeat is the time-out that a heartbeat starts anew; 0 means an hour. The API takes 30 to 7200 s.
	Heartbeat time.Duration
	// Default is the result when it passes; "" means ABANDON.
	Default model.HookResult
	// Metadata, Target and Role are kept and shown; nobody is notified.
	Metadata, Target, Role string
}

// Defaults and limits of lifecycle hooks.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-quotas.html
const (
	defaultHeartbeat = time.Hour
	minHeartbeat     = 30 * time.Second
	maxHeartbeat     = 7200 * time.Second
	maxHooks         = 50
)

// global is the longest that an instance may wait for the hook, however often it heartbeats: 48 hours or 100
// times the heartbeat time-out, whichever is smaller.
func (h Hook) global() time.Duration { return min(48*time.Hour, 100*h.Heartbeat) }

func (h Hook) withDefaults() Hook {
	if h.Heartbeat == 0 {
		h.Heartbeat = defaultHeartbeat
	}
	if h.Default == "" {
		h.Default = model.HookAbandon
	}
	return h
}

// The processes that can be suspended. The last four are accepted and shown but have nothing to suspend here.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
const (
	processLaunch           = "Launch"
	processTerminate        = "Terminate"
	processAddToBalancer    = "AddToLoadBalancer"
	processHealthCheck      = "HealthCheck"
	processReplaceUnhealthy = "ReplaceUnhealthy"
)

var processes = []string{
	processLaunch, processTerminate, processAddToBalancer, processHealthCheck, processReplaceUnhealthy,
	"AZRebalance", "AlarmNotification", "InstanceRefresh", "ScheduledActions",
}

// group is one Auto Scaling group. The service's lock guards it.
type group struct {
	GroupConfig
	arn         string
	created     time.Time
	instances   []*instance // in order of launch
	attachments []*attachment
	suspended   map[string]string // process → why
	activities  []*activity       // oldest first

	// request is the text of what changed the desired capacity last: the first half of an activity's cause.
	request string
	// replacing counts the instances that were taken out as unhealthy and are still to be replaced.
	replacing int
	// failures counts the launches in a row that came to nothing; the next is not before launchAfter.
	failures    int
	launchAfter time.Time
	deleting    bool
}

// attachment is a target group that is attached to the group.
type attachment struct {
	arn string
	// source says that AttachTrafficSources attached it.
	source   bool
	removing bool
	// passed says that one instance was healthy in it once; only then may it get instances replaced.
	passed bool
}

// instance is one instance of a group.
type instance struct {
	Instance
	state     model.Lifecycle
	launched  time.Time
	inService time.Time // zero before it was in service for the first time
	machine   Machine   // nil until it was launched
	protected bool
	template  *LaunchTemplate
	config    string

	// busy says that an effect is under way: nothing is decided about the instance until it has ended.
	busy bool
	// retryAt is when an effect that failed is tried again.
	retryAt time.Time

	gone   bool // the machine is
	marked bool // SetInstanceHealth said Unhealthy
	failed bool // its target groups' health checks say so

	// returning says that it comes back from standby: launch hooks don't fire again.
	returning bool
	hooked    bool // the hooks of the present transition were opened
	actions   []action
	// abandoned is why its launch was given up.
	abandoned string

	// targets are the target groups that it was registered in, or (false) left out of while AddToLoadBalancer
	// was suspended: resuming does not add it later.
	targets    map[string]bool
	drainUntil time.Time
	activity   *activity
}

// action is an open lifecycle action: a hook that waits.
type action struct {
	token    string
	hook     Hook
	deadline time.Time // moved by heartbeats
	limit    time.Time // not moved
}

func (g *group) suspends(process string) bool {
	_, yes := g.suspended[process]
	return yes
}

// counts says whether the instance is part of the capacity that is compared with the desired one: an instance
// on its way out or in standby is not.
func (i *instance) counts() bool {
	switch i.state {
	case model.LifecyclePending, model.LifecyclePendingWait, model.LifecyclePendingProceed, model.LifecycleInService:
		return true
	}
	return false
}

// leaving says whether the instance is on its way out.
func (i *instance) leaving() bool { return TargetState(i.state) == model.LifecycleTerminated }

// capacity is how many instances count.
func (g *group) capacity() int {
	n := 0
	for _, i := range g.instances {
		if i.counts() {
			n++
		}
	}
	return n
}

func (g *group) hooksAt(t Transition) []Hook {
	var out []Hook
	for _, h := range g.Hooks {
		if h.Transition == t {
			out = append(out, h)
		}
	}
	return out
}

func (g *group) instance(id string) *instance {
	n := slices.IndexFunc(g.instances, func(i *instance) bool { return i.ID == id })
	if n < 0 {
		return nil
	}
	return g.instances[n]
}

func (g *group) attachment(arn string) *attachment {
	n := slices.IndexFunc(g.attachments, func(a *attachment) bool { return a.arn == arn })
	if n < 0 {
		return nil
	}
	return g.attachments[n]
}

// unhealthy is why the instance has to be replaced, or "". What it says only counts in service, but a machine
// that is gone counts in every state, and during the grace period too.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/health-checks-overview.html
func (g *group) unhealthy(i *instance, now time.Time) string {
	checks := !g.suspends(processHealthCheck)
	switch {
	case i.gone && checks:
		return "an EC2 health check indicating it has been terminated or stopped"
	case i.marked:
		return "a user health-check"
	case i.failed && checks && g.HealthCheckType == healthELB && !now.Before(g.graceEnd(i)):
		return "an ELB system health check failure"
	}
	return ""
}

// graceEnd is when the instance's health check grace period is over; it starts with InService.
func (g *group) graceEnd(i *instance) time.Time { return i.inService.Add(g.GracePeriod) }

// The types of health checks.
const (
	healthEC2 = "EC2"
	healthELB = "ELB"
)
