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

// Describe gives the group of that name as a whole, with one request. One that does not exist is model.ErrConfiguration.
func (g *Group) Describe(ctx context.Context, group string) (model.ScalingGroup, error) {
	found, there, err := g.find(ctx, group)
	if err != nil {
		return model.ScalingGroup{}, err
	}
	if !there {
		return model.ScalingGroup{}, &session.Error{Kind: session.Configuration, Sentence: fmt.Sprintf(
			"there is no Auto Scaling group %s in %s: look for its name with aws autoscaling describe-auto-scaling-groups", group, g.session.Config.Region)}
	}
	out := model.ScalingGroup{
		Name:         aws.ToString(found.AutoScalingGroupName),
		Least:        int(aws.ToInt32(found.MinSize)),
		Desired:      int(aws.ToInt32(found.DesiredCapacity)),
		Most:         int(aws.ToInt32(found.MaxSize)),
		Instances:    make([]model.ScalingInstance, 0, len(found.Instances)),
		TargetGroups: attached(found),
	}
	for _, i := range found.Instances {
		out.Instances = append(out.Instances, model.ScalingInstance{
			ID:        aws.ToString(i.InstanceId),
			Lifecycle: model.Lifecycle(i.LifecycleState),
			Healthy:   strings.EqualFold(aws.ToString(i.HealthStatus), "Healthy"), // other answers of AWS spell it HEALTHY
		})
	}
	return out, nil
}

// find asks for the group of that name. AWS leaves a name that does not exist out, and calls it no error.
func (g *Group) find(ctx context.Context, group string) (found types.AutoScalingGroup, there bool, err error) {
	if group == "" { // AWS would describe every group of the region
		return found, false, nil
	}
	out, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:DescribeAutoScalingGroups", Resource: "group " + group},
		func(ctx context.Context) (*sdk.DescribeAutoScalingGroupsOutput, error) {
			return g.client.DescribeAutoScalingGroups(ctx, &sdk.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}})
		})
	if err != nil || len(out.AutoScalingGroups) == 0 {
		return found, false, err
	}
	return out.AutoScalingGroups[0], true, nil
}

// EnterStandby takes an instance in service out of the attached target groups, and of the group's desired capacity, which
// goes down by one so that nothing is launched in its place. AWS answers at once; the instance is EnteringStandby until its
// connections have drained. One that is on standby, or on its way there, is no error. A group that is at its MinSize already is
// model.ErrConfiguration: AWS refuses it.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
func (g *Group) EnterStandby(ctx context.Context, group, instanceID string) error {
	_, err := session.Do(ctx, g.session, standbyCall("EnterStandby", group, instanceID),
		func(ctx context.Context) (*sdk.EnterStandbyOutput, error) {
			return g.client.EnterStandby(ctx, &sdk.EnterStandbyInput{
				AutoScalingGroupName: &group, InstanceIds: []string{instanceID}, ShouldDecrementDesiredCapacity: aws.Bool(true),
			})
		})
	if !invalid(err) {
		return err
	}
	now, i, found := g.member(ctx, group, instanceID)
	switch {
	case found != nil:
		return found
	case i.Lifecycle == model.LifecycleStandby, i.Lifecycle == model.LifecycleEnteringStandby:
		return nil
	case i.Lifecycle != model.LifecycleInService:
		return &session.Error{Kind: session.Refused, Err: err, Sentence: fmt.Sprintf(
			"instance %s of group %s is %s: only one that is InService can go on standby", instanceID, group, i.Lifecycle)}
	case now.Desired <= now.Least:
		return &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
			"instance %s can't go on standby: group %s wants %d in service, and its MinSize is %d: lower MinSize to %d, or raise the desired capacity",
			instanceID, group, now.Desired, now.Least, max(now.Desired-1, 0))}
	}
	return err
}

// ExitStandby puts an instance that is on standby back: into the attached target groups, and into the desired capacity, which
// goes up by one. It comes back by way of Pending, without launch hooks. One that is in service, or on its way there, is no
// error; neither AWS nor this waits for one that is EnteringStandby. A group that is at its MaxSize already is model.ErrConfiguration.
func (g *Group) ExitStandby(ctx context.Context, group, instanceID string) error {
	_, err := session.Do(ctx, g.session, standbyCall("ExitStandby", group, instanceID),
		func(ctx context.Context) (*sdk.ExitStandbyOutput, error) {
			return g.client.ExitStandby(ctx, &sdk.ExitStandbyInput{AutoScalingGroupName: &group, InstanceIds: []string{instanceID}})
		})
	if !invalid(err) {
		return err
	}
	now, i, found := g.member(ctx, group, instanceID)
	if found != nil {
		return found
	}
	switch i.Lifecycle {
	case model.LifecycleInService, model.LifecyclePending, model.LifecyclePendingWait, model.LifecyclePendingProceed:
		return nil
	case model.LifecycleStandby:
		if now.Desired < now.Most {
			return err
		}
		return &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
			"instance %s can't leave standby: group %s wants %d in service without it, and its MaxSize is %d: raise MaxSize, or lower the desired capacity",
			instanceID, group, now.Desired, now.Most)}
	}
	return &session.Error{Kind: session.Refused, Err: err, Sentence: fmt.Sprintf(
		"instance %s of group %s is %s: only one that is on Standby can leave it", instanceID, group, i.Lifecycle)}
}

// member looks up, after a refusal, what an instance of a group is by now: AWS has one code, ValidationError, for all that
// may be wrong, and the call that it refuses may be the second attempt of one that it has carried out.
func (g *Group) member(ctx context.Context, group, instanceID string) (model.ScalingGroup, model.ScalingInstance, error) {
	now, err := g.Describe(ctx, group)
	if err != nil {
		return now, model.ScalingInstance{}, err
	}
	n := slices.IndexFunc(now.Instances, func(i model.ScalingInstance) bool { return i.ID == instanceID })
	if n < 0 {
		return now, model.ScalingInstance{}, &session.Error{Kind: session.Refused, Sentence: fmt.Sprintf(
			"instance %s is not in group %s (any more)", instanceID, group)}
	}
	return now, now.Instances[n], nil
}

// invalid says whether AWS refused a request for what it asks, or for the state of what it names.
func invalid(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationError"
}

func standbyCall(operation, group, instanceID string) session.Call {
	return session.Call{Action: "autoscaling:" + operation, Resource: fmt.Sprintf("instance %s of group %s", instanceID, group)}
}
