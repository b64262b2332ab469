package elbv2

import "github.com/bootagent/bootagent/internal/model"

// The reason codes of a target's state.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
const (
	reasonRegistering  = "Elb.RegistrationInProgress"
	reasonChecking     = "Elb.InitialHealthChecking"
	reasonMismatch     = "Target.ResponseCodeMismatch"
	reasonTimeout      = "Target.Timeout"
	reasonFailed       = "Target.FailedHealthChecks"
	reasonDraining     = "Target.DeregistrationInProgress"
	reasonUnregistered = "Target.NotRegistered"
	reasonNotInUse     = "Target.NotInUse"
)

// health is a target's state with its reason, as DescribeTargetHealth tells it.
type health struct {
	state       model.TargetState
	reason      string
	description string
}

func registering() health {
	return health{model.TargetInitial, reasonRegistering, "Target registration is in progress"}
}

func checking() health {
	return health{model.TargetInitial, reasonChecking, "Initial health checks in progress"}
}

func draining() health {
	return health{model.TargetDraining, reasonDraining, "Target deregistration is in progress"}
}

func unregistered() health {
	return health{model.TargetUnused, reasonUnregistered, "Target is not registered to the target group"}
}

func notInUse() health {
	return health{model.TargetUnused, reasonNotInUse, "Target group is not configured to receive traffic from the load balancer"}
}

// outcome is one health check's result; reason is empty when it passed.
type outcome struct {
	reason      string
	description string
}

func (o outcome) passed() bool { return o.reason == "" }

// tracker turns the results of a target's checks into its state. It has no
// clock and does no I/O. The zero value is of no use: set the health first.
type tracker struct {
	health
	passes, fails int // in a row
}

// begin starts the tracker over, in a state that no check has decided.
func (t *tracker) begin(h health) { *t = tracker{health: h} }

// observe takes one check's result and says whether the state changed.
//
// A newly registered target needs one passed check, and an unhealthy one
// healthyAfter in a row; either becomes unhealthy after unhealthyAfter failed
// ones in a row.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
func (t *tracker) observe(o outcome, healthyAfter, unhealthyAfter int) bool {
	before := t.state
	if o.passed() {
		t.passes, t.fails = t.passes+1, 0
		if t.state == model.TargetInitial || t.passes >= healthyAfter {
			t.health = health{state: model.TargetHealthy} // which has no reason
		}
	} else {
		t.passes, t.fails = 0, t.fails+1
		if t.state == model.TargetUnhealthy || t.fails >= unhealthyAfter {
			t.health = health{model.TargetUnhealthy, o.reason, o.description} // the latest reason
		}
	}
	return t.state != before
}
