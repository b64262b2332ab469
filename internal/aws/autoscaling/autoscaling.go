// Package autoscaling asks for this instance's place in its Auto Scaling
// group, keeps its launch hook open, and ends it.
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
	launching = "autoscaling:EC2_INSTANCE_LAUNCHING"
	// ourHook is how a launch hook's name begins that is ours, where a group has several.
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
	groups, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:DescribeAutoScalingGroups", Resource: "group " + m.Group},
		func(ctx context.Context) (*sdk.DescribeAutoScalingGroupsOutput, error) {
			return g.client.DescribeAutoScalingGroups(ctx, &sdk.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{m.Group}})
		})
	if err != nil {
		return model.Membership{}, err
	}
	if len(groups.AutoScalingGroups) == 0 { // deleted between the two requests
		return model.Membership{}, nil
	}
	group := groups.AutoScalingGroups[0]
	m.Desired = int(aws.ToInt32(group.DesiredCapacity))
	m.TargetGroups = attached(group)
	hook, err := g.launchHook(ctx, m.Group)
	if err != nil {
		return model.Membership{}, err
	}
	if hook != nil {
		m.LaunchHook = aws.ToString(hook.LifecycleHookName)
		m.HookTimeout = int(aws.ToInt32(hook.HeartbeatTimeout))
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

// launchHook is the launch hook that is ours to complete: the only one, or of several the one whose name says so.
func (g *Group) launchHook(ctx context.Context, group string) (*types.LifecycleHook, error) {
	out, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:DescribeLifecycleHooks", Resource: "group " + group},
		func(ctx context.Context) (*sdk.DescribeLifecycleHooksOutput, error) {
			return g.client.DescribeLifecycleHooks(ctx, &sdk.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
		})
	if err != nil {
		return nil, err
	}
	var all, ours []types.LifecycleHook
	var names []string
	for _, hook := range out.LifecycleHooks {
		if aws.ToString(hook.LifecycleTransition) != launching {
			continue
		}
		all = append(all, hook)
		names = append(names, aws.ToString(hook.LifecycleHookName))
		if strings.HasPrefix(aws.ToString(hook.LifecycleHookName), ourHook) {
			ours = append(ours, hook)
		}
	}
	switch {
	case len(all) == 0:
		return nil, nil
	case len(all) == 1:
		return &all[0], nil
	case len(ours) == 1:
		return &ours[0], nil
	}
	return nil, &session.Error{Kind: session.Configuration, Sentence: fmt.Sprintf(
		"group %s has %d launch hooks (%s): let the name of exactly one, the one that bootagent completes, begin with %q",
		group, len(all), strings.Join(names, ", "), ourHook)}
}

// Heartbeat extends the launch hook's time-out by one period. A hook that is not open is model.ErrHookClosed; a group without one needs none.
func (g *Group) Heartbeat(ctx context.Context, m model.Membership, instanceID string) error {
	if m.LaunchHook == "" {
		return nil
	}
	_, err := session.Do(ctx, g.session, hookCall("autoscaling:RecordLifecycleActionHeartbeat", m, instanceID),
		func(ctx context.Context) (*sdk.RecordLifecycleActionHeartbeatOutput, error) {
			return g.client.RecordLifecycleActionHeartbeat(ctx, &sdk.RecordLifecycleActionHeartbeatInput{
				AutoScalingGroupName: &m.Group, LifecycleHookName: &m.LaunchHook, InstanceId: &instanceID,
			})
		})
	if closed(err) {
		return fmt.Errorf("heartbeat for hook %s of group %s: %w: it was completed, or its time-out passed: %w",
			m.LaunchHook, m.Group, model.ErrHookClosed, err)
	}
	return err
}

// Complete ends the launch hook. One that is not open (any more) is no error, and neither is a group without one.
func (g *Group) Complete(ctx context.Context, m model.Membership, instanceID string, result model.HookResult) error {
	if m.LaunchHook == "" {
		return nil
	}
	_, err := session.Do(ctx, g.session, hookCall("autoscaling:CompleteLifecycleAction", m, instanceID),
		func(ctx context.Context) (*sdk.CompleteLifecycleActionOutput, error) {
			return g.client.CompleteLifecycleAction(ctx, &sdk.CompleteLifecycleActionInput{
				AutoScalingGroupName: &m.Group, LifecycleHookName: &m.LaunchHook, InstanceId: &instanceID,
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
	return session.Call{Action: action, Resource: fmt.Sprintf("hook %s of group %s for %s", m.LaunchHook, m.Group, instanceID)}
}
