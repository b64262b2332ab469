package elbv2

import (
	"fmt"

	"github.com/bootagent/bootagent/internal/aws/session"
)

// groupQuota is the quota on the targets of a target group, as Service Quotas names it.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
const groupQuota = "Targets per Target Group per Region (L-A0D0B863)"

// full is the error for a target that a quota has no room for. It may pass by itself, once another target is gone.
func full(err error, group, instanceID, ports string) error {
	return &session.Error{Kind: session.Refused, Err: err, Sentence: fmt.Sprintf(
		"target group %s has no room for %s:%s (TooManyTargets): have the quota %s, or that of its load balancer, raised, let fewer switch at a time (policy.batch), or set switch: restart",
		group, instanceID, ports, groupQuota)}
}
