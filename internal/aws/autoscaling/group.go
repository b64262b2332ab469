package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// Describe gives the group as a whole, in one request. A group that is not there is an error of the configuration.
func (g *Group) Describe(ctx context.Context, group string) (model.ScalingGroup, error) {
	found, err := g.group(ctx, group)
	switch {
	case err != nil:
		return model.ScalingGroup{}, err
	case found == nil:
		return model.ScalingGroup{}, &session.Error{Kind: session.Configuration, Sentence: fmt.Sprintf(
			"there is no Auto Scaling group %s in %s: look for its name with aws autoscaling describe-auto-scaling-groups", group, g.session.Config.Region)}
	}
	out := model.ScalingGroup{
		Name: group, Least: int(aws.ToInt32(found.MinSize)), Desired: int(aws.ToInt32(found.DesiredCapacity)), Most: int(aws.ToInt32(found.MaxSize)),
		TargetGroups: attached(*found),
	}
	for _, i := range found.Instances {
		out.Instances = append(out.Instances, model.ScalingInstance{
			ID: aws.ToString(i.InstanceId), Lifecycle: model.Lifecycle(i.LifecycleState), Healthy: strings.EqualFold(aws.ToString(i.HealthStatus), "healthy"),
		})
	}
	return out, nil
}

// group asks for one group; nil where there is none of that name.
func (g *Group) group(ctx context.Context, name string) (*types.AutoScalingGroup, error) {
	out, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:DescribeAutoScalingGroups", Resource: "group " + name},
		func(ctx context.Context) (*sdk.DescribeAutoScalingGroupsOutput, error) {
			return g.client.DescribeAutoScalingGroups(ctx, &sdk.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
		})
	if err != nil || len(out.AutoScalingGroups) == 0 {
		return nil, err
	}
	return &out.AutoScalingGroups[0], nil
}

// EnterStandby takes the instance out of service, out of the attached target groups, and out of the desired capacity, so that
// no other is launched in its place. One that is in standby already stays so. AWS refuses it where the desired capacity would fall below MinSize.
func (g *Group) EnterStandby(ctx context.Context, group, instanceID string) error {
	_, err := session.Do(ctx, g.session, standbyCall("EnterStandby", group, instanceID),
		func(ctx context.Context) (*sdk.EnterStandbyOutput, error) {
			return g.client.EnterStandby(ctx, &sdk.EnterStandbyInput{
				AutoScalingGroupName: &group, InstanceIds: []string{instanceID}, ShouldDecrementDesiredCapacity: aws.Bool(true),
			})
		})
	return g.settled(ctx, err, group, instanceID, model.LifecycleStandby, model.LifecycleEnteringStandby)
}

// ExitStandby brings it back: through the launch hook, where there is one. One that is not in standby stays as it is.
func (g *Group) ExitStandby(ctx context.Context, group, instanceID string) error {
	_, err := session.Do(ctx, g.session, standbyCall("ExitStandby", group, instanceID),
		func(ctx context.Context) (*sdk.ExitStandbyOutput, error) {
			return g.client.ExitStandby(ctx, &sdk.ExitStandbyInput{AutoScalingGroupName: &group, InstanceIds: []string{instanceID}})
		})
	return g.settled(ctx, err, group, instanceID, model.LifecycleInService, model.LifecyclePending, model.LifecyclePendingWait, model.LifecyclePendingProceed)
}

// settled makes no error of a refusal of what is so already: AWS has no code of its own for "is not in a state that can …".
func (g *Group) settled(ctx context.Context, err error, group, instanceID string, wanted ...model.Lifecycle) error {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "ValidationError" {
		return err
	}
	now, failed := g.Describe(ctx, group)
	if failed != nil {
		return errors.Join(err, failed)
	}
	for _, i := range now.Instances {
		for _, state := range wanted {
			if i.ID == instanceID && i.Lifecycle == state {
				return nil
			}
		}
	}
	if now.Desired <= now.Least {
		return fmt.Errorf("the Auto Scaling group %s has MinSize %d and wants %d instances, so none can be put in standby: let MinSize be lower by one at least: %w", group, now.Least, now.Desired, err)
	}
	return err
}

func standbyCall(operation, group, instanceID string) session.Call {
	return session.Call{Action: "autoscaling:" + operation, Resource: fmt.Sprintf("instance %s of group %s", instanceID, group)}
}
