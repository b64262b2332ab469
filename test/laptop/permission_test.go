package laptop_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// denied: the status names the action that is missing, and what to do.
func denied(action string) wish {
	return problem("may not "+action, "add that action to its policy")
}

// TestAnInstanceThatMayNothingWaitsAndComesIntoServiceOnceItMay launches an
// instance into a world where everything is missing, and adds one thing after the other.
func TestAnInstanceThatMayNothingWaitsAndComesIntoServiceOnceItMay(t *testing.T) {
	t.Parallel()
	l := newLab(t) // its repository is empty
	parameters, membership := l.deny("ssm:GetParameters"), l.deny("autoscaling:DescribeAutoScalingInstances")
	completion := l.deny("autoscaling:CompleteLifecycleAction")
	l.launch()
	i := l.only()
	l.wait("told what it may not", state("pending"), denied("ssm:GetParameters"), denied("autoscaling:DescribeAutoScalingInstances"))

	membership.Remove()
	parameters.Remove()
	l.wait("told that nobody has put a release", state("pending"), pendingWait,
		problem("parameter /bootagent/shop/try/release does not exist", "aws ssm put-parameter --name /bootagent/shop/try/release --type String --value"))

	first := l.put("main")
	l.wait("told that there is no commit", pendingWait, problem(`resolve "main" at http`, "the repository is empty: push a commit first"))

	l.sound("main")
	l.wait("serving, and told that its hook can't be completed", inService(first), pendingWait, denied("autoscaling:CompleteLifecycleAction"))
	l.until("heartbeating", func() error { // which begins after a third of trial.Hook
		if len(l.Region.Calls(wire.Filter{Operation: "RecordLifecycleActionHeartbeat", Instance: i.ID})) == 0 {
			return errors.New("no heartbeat was recorded")
		}
		return nil
	})
	completion.Remove()
	l.until("in service, the same instance", func() error { return l.settled(i, first) })
	l.wait("untroubled", state("in_service"), untroubled)
}

// pendingWait: the launch hook is open.
func pendingWait(s agent.Status) error {
	if s.Group.Lifecycle != model.LifecyclePendingWait {
		return fmt.Errorf("it is %s in its group", s.Group.Lifecycle)
	}
	return nil
}

// TestAReleaseWaitsForAPermission takes one permission after the other away
// from an instance that serves, puts a release, and gives it back.
func TestAReleaseWaitsForAPermission(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.sound("main"))
	l.launch()
	l.wait("in service", serving(1))
	i, traffic := l.only(), l.startLoad()
	last := int64(1)
	for _, c := range []struct {
		action string
		of     string // what it stands in the way of
		after  bool   // after the handover: the old release goes on beside the new one
	}{
		{"ssm:GetParameters", "release", false},
		{"dynamodb:GetItem", "records", false},
		{"ssm:GetParametersByPath", "start web", false},
		{"elasticloadbalancing:RegisterTargets", "register port", false},
		{"elasticloadbalancing:DescribeTargetHealth", "wait for the balancer", false},
		{"elasticloadbalancing:DeregisterTargets", "deregister port", true},
	} {
		rule := l.deny(c.action)
		next := l.put("main")
		serves := last
		if c.after {
			serves = next
		}
		l.wait("told of "+c.action, denied(c.action), standsInTheWayOf(c.of), inService(serves))
		rule.Remove()
		l.wait(c.action+" was granted", inService(next))
		last = next
	}
	rule := l.deny("ssm:LabelParameterVersion")
	last = l.put("main")
	l.wait("told of the label", inService(last), denied("ssm:LabelParameterVersion"))
	last = l.put("main") // the label serves people who look: no rollout waits for it
	l.wait("on the next one all the same", inService(last), denied("ssm:LabelParameterVersion"))
	rule.Remove()
	l.until("labelled", func() error { return l.labelled(last) })
	l.until("settled", func() error { return l.settled(i, last) })
	l.wait("untroubled", state("in_service"), untroubled)
	traffic.stop()
}

// standsInTheWayOf: there is a problem with a subject that begins so.
func standsInTheWayOf(subject string) wish {
	return func(s agent.Status) error {
		for of := range s.Problems {
			if strings.HasPrefix(of, subject) {
				return nil
			}
		}
		return fmt.Errorf("nothing stands in the way of %q", subject)
	}
}

func TestAMissingTargetGroupIsNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	missing := l.Region.Faults.Add(fault.Rule{
		Service: "elasticloadbalancing", Operation: "DescribeTargetGroups",
		Effect: fault.Fail(wire.Errorf("TargetGroupNotFound", "One or more target groups not found")),
	})
	l.put(l.sound("main"))
	l.launch()
	l.wait("told", pendingWait, problem("there is no target group "+l.TargetGroup+" in us-east-1", "make it", "or correct balancer.target_groups"))
	if len(l.Region.Calls(wire.Filter{Operation: "RegisterTargets"})) > 0 {
		t.Error("something was registered in a target group of which nothing is known")
	}
	missing.Remove()
	l.wait("in service", serving(1), state("in_service"), untroubled)
}
