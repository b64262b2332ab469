// Package autoscaling asks for this instance's place in its Auto Scaling
// group, keeps the lifecycle hook that it waits for open, and ends it. It also
// describes the group as a whole, and puts instances on standby.
package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

const (
	launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	terminating = "autoscaling:EC2_INSTANCE_TERMINATING"
	// ourHook is how a hook's name begins that is ours, where a group has several for one transition.
	ourHook = "bootagent"
)

// Group is Auto Scaling, as seen by one instance.
type Group struct {
	session *session.Session
	client  *sdk.Client
}

// New makes the adapter; it asks nothing yet.
func New(s *session.Session) *Group {
	return &Group{session: s, client: sdk.NewFromConfig(s.Config)}
}

// Membership asks for the instance's place: one request for an instance in no group (the answer is then the zero
// value), three for one that is in one. The lifecycle is the current one, unlike IMDS's.
func (g *Group) Membership(ctx context.Context, instanceID string) (model.Membership, error) {
	in, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:DescribeAutoScalingInstances", Resource: "instance " + instanceID},
		func(ctx context.Context) (*sdk.DescribeAutoScalingInstancesOutput, error) {
			return g.client.DescribeAutoScalingInstances(ctx, &sdk.DescribeAutoScalingInstancesInput{InstanceIds: []string{instanceID}})
		})
	if err != nil || len(in.AutoScalingInstances) == 0 {
		return model.Membership{}, err
	}
	place := in.AutoScalingInstances[0]
	m := model.Membership{
		Group:     aws.ToString(place.AutoScalingGroupName),
		Lifecycle: model.Lifecycle(aws.ToString(place.LifecycleState)),
	}
	group, there, err := g.find(ctx, m.Group)
	if err != nil {
		return model.Membership{}, err
	}
	if !there { // deleted between the two requests
		return model.Membership{}, nil
	}
	m.Desired, m.Most = int(aws.ToInt32(group.DesiredCapacity)), int(aws.ToInt32(group.MaxSize))
	m.TargetGroups = attached(group)
	hooks, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:DescribeLifecycleHooks", Resource: "group " + m.Group},
		func(ctx context.Context) (*sdk.DescribeLifecycleHooksOutput, error) {
			return g.client.DescribeLifecycleHooks(ctx, &sdk.DescribeLifecycleHooksInput{AutoScalingGroupName: &m.Group})
		})
	if err != nil {
		return model.Membership{}, err
	}
	if m.LaunchHook, m.HookTimeout, err = ours(hooks.LifecycleHooks, launching, "launch hooks", m.Group); err != nil {
		return model.Membership{}, err
	}
	if m.TerminateHook, m.TerminateTimeout, err = ours(hooks.LifecycleHooks, terminating, "termination hooks", m.Group); err != nil {
		return model.Membership{}, err
	}
	return m, nil
}

// attached are the target groups that Auto Scaling itself registers instances with. There are two ways to attach
// one; the newer is traffic sources, of type elbv2.
func attached(group types.AutoScalingGroup) []string {
	var arns []string // nil for none
	arns = append(arns, group.TargetGroupARNs...)
	for _, source := range group.TrafficSources {
		arn := aws.ToString(source.Identifier)
		if aws.ToString(source.Type) != "elbv2" || slices.Contains(arns, arn) {
			continue
		}
		arns = append(arns, arn)
	}
	return arns
}

// ours finds the hook of a transition that is ours to complete, and its heartbeat time-out in seconds: the only one, or of
// several the one whose name says so; "" where there is none.
func ours(hooks []types.LifecycleHook, transition, kind, group string) (name string, timeout int, err error) {
	var all, named []types.LifecycleHook
	var names []string
	for _, hook := range hooks {
		if aws.ToString(hook.LifecycleTransition) != transition {
			continue
		}
		all = append(all, hook)
		names = append(names, aws.ToString(hook.LifecycleHookName))
		if strings.HasPrefix(aws.ToString(hook.LifecycleHookName), ourHook) {
			named = append(named, hook)
		}
	}
	switch {
	case len(all) == 0:
		return "", 0, nil
	case len(all) > 1 && len(named) == 1:
		all = named
	case len(all) > 1:
		return "", 0, &session.Error{Kind: session.Configuration, Sentence: fmt.Sprintf(
			"group %s has %d %s (%s): let the name of exactly one, the one that bootagent completes, begin with %q",
			group, len(all), kind, strings.Join(names, ", "), ourHook)}
	}
	return aws.ToString(all[0].LifecycleHookName), int(aws.ToInt32(all[0].HeartbeatTimeout)), nil
}

// awaited is the hook that the instance waits for: that of its end once Auto Scaling ends it, that of its launch before.
func awaited(m model.Membership) string {
	if m.Lifecycle == model.LifecycleTerminatingWait {
		return m.TerminateHook
	}
	return m.LaunchHook
}

// Heartbeat extends the time-out of the hook that the instance waits for by one period. A hook that is not open is model.ErrHookClosed; a group without one needs none.
func (g *Group) Heartbeat(ctx context.Context, m model.Membership, instanceID string) error {
	hook := awaited(m)
	if hook == "" {
		return nil
	}
	_, err := session.Do(ctx, g.session, hookCall("autoscaling:RecordLifecycleActionHeartbeat", m, instanceID),
		func(ctx context.Context) (*sdk.RecordLifecycleActionHeartbeatOutput, error) {
			return g.client.RecordLifecycleActionHeartbeat(ctx, &sdk.RecordLifecycleActionHeartbeatInput{
				AutoScalingGroupName: &m.Group, LifecycleHookName: &hook, InstanceId: &instanceID,
			})
		})
	if closed(err) {
		return fmt.Errorf("heartbeat for hook %s of group %s: %w: it was completed, or its time-out passed: %w",
			hook, m.Group, model.ErrHookClosed, err)
	}
	return err
}

// Complete ends the hook that the instance waits for. One that is not open (any more) is no error, and neither is a group without one.
func (g *Group) Complete(ctx context.Context, m model.Membership, instanceID string, result model.HookResult) error {
	hook := awaited(m)
	if hook == "" {
		return nil
	}
	_, err := session.Do(ctx, g.session, hookCall("autoscaling:CompleteLifecycleAction", m, instanceID),
		func(ctx context.Context) (*sdk.CompleteLifecycleActionOutput, error) {
			return g.client.CompleteLifecycleAction(ctx, &sdk.CompleteLifecycleActionInput{
				AutoScalingGroupName: &m.Group, LifecycleHookName: &hook, InstanceId: &instanceID,
				LifecycleActionResult: aws.String(string(result)),
			})
		})
	if closed(err) {
		return nil
	}
	return err
}

// closed says whether there is no hook to act on: AWS has no code of its own
// for "No active Lifecycle Action found with instance ID i-…".
func closed(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationError" &&
		strings.Contains(strings.ToLower(api.ErrorMessage()), "no active lifecycle action")
}

// SetUnhealthy tells the group to replace the instance, also within its health check grace period, which is there
// for health checks that know less than we do.
func (g *Group) SetUnhealthy(ctx context.Context, instanceID string) error {
	_, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:SetInstanceHealth", Resource: "instance " + instanceID},
		func(ctx context.Context) (*sdk.SetInstanceHealthOutput, error) {
			return g.client.SetInstanceHealth(ctx, &sdk.SetInstanceHealthInput{
				InstanceId: &instanceID, HealthStatus: aws.String("Unhealthy"), ShouldRespectGracePeriod: aws.Bool(false),
			})
		})
	return err
}

func hookCall(action string, m model.Membership, instanceID string) session.Call {
	return session.Call{Action: action, Resource: fmt.Sprintf("hook %s of group %s for %s", awaited(m), m.Group, instanceID)}
}
