package elbv2

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// delayAttribute is the deregistration delay's name; defaultDelay holds where it is not given.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
const (
	delayAttribute = "deregistration_delay.timeout_seconds"
	defaultDelay   = 300
)

// describe asks for one group. Each has a request of its own: of several AWS would
// only say that one of them is missing, and names and ARNs don't go together.
func (b *Balancer) describe(ctx context.Context, group string) (model.TargetGroup, error) {
	found, err := b.find(ctx, group)
	if err != nil {
		return model.TargetGroup{}, err
	}
	if found.TargetType != types.TargetTypeEnumInstance {
		return model.TargetGroup{}, &session.Error{Kind: session.Configuration, Sentence: fmt.Sprintf(
			"target group %s has target type %s, but bootagent registers instances: make one with --target-type instance (the type can't be changed) and name it in balancer.target_groups",
			group, found.TargetType)}
	}
	attributes, err := session.Do(ctx, b.session, call("DescribeTargetGroupAttributes", group),
		func(ctx context.Context) (*sdk.DescribeTargetGroupAttributesOutput, error) {
			return b.client.DescribeTargetGroupAttributes(ctx, &sdk.DescribeTargetGroupAttributesInput{TargetGroupArn: found.TargetGroupArn})
		})
	if err != nil {
		return model.TargetGroup{}, b.explain(err, group, "", nil)
	}
	out := model.TargetGroup{
		ARN:                 aws.ToString(found.TargetGroupArn),
		Name:                aws.ToString(found.TargetGroupName),
		TargetType:          string(found.TargetType),
		Protocol:            string(found.Protocol),
		Port:                int(aws.ToInt32(found.Port)),
		HealthCheckInterval: int(aws.ToInt32(found.HealthCheckIntervalSeconds)),
		DeregistrationDelay: defaultDelay,
	}
	for _, a := range attributes.Attributes {
		if aws.ToString(a.Key) != delayAttribute {
			continue
		}
		if out.DeregistrationDelay, err = strconv.Atoi(aws.ToString(a.Value)); err != nil {
			return model.TargetGroup{}, fmt.Errorf("target group %s: its deregistration delay: %w", group, err)
		}
	}
	return out, nil
}

// find asks for a group by its ARN or its name, and remembers which ARN the name has.
func (b *Balancer) find(ctx context.Context, group string) (types.TargetGroup, error) {
	in := &sdk.DescribeTargetGroupsInput{Names: []string{group}}
	if isARN(group) {
		in = &sdk.DescribeTargetGroupsInput{TargetGroupArns: []string{group}}
	}
	out, err := session.Do(ctx, b.session, call("DescribeTargetGroups", group),
		func(ctx context.Context) (*sdk.DescribeTargetGroupsOutput, error) {
			return b.client.DescribeTargetGroups(ctx, in)
		})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ValidationError" {
		return types.TargetGroup{}, &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
			"%q is no target group (%s): balancer.target_groups takes ARNs and names of target groups", group, api.ErrorMessage())}
	}
	if err != nil {
		return types.TargetGroup{}, b.explain(err, group, "", nil)
	}
	if len(out.TargetGroups) != 1 {
		return types.TargetGroup{}, b.missing(fmt.Errorf("%d target groups in the answer", len(out.TargetGroups)), group)
	}
	found := out.TargetGroups[0]
	b.mu.Lock()
	defer b.mu.Unlock()
	is := place{arn: aws.ToString(found.TargetGroupArn)}
	if len(found.LoadBalancerArns) > 0 { // AWS lets one load balancer use it, and no second
		is.balancer = found.LoadBalancerArns[0]
	}
	b.known[group] = is
	return found, nil
}

// arn is the group's ARN, asked for once where the configuration has a name.
func (b *Balancer) arn(ctx context.Context, group string) (string, error) {
	if isARN(group) {
		return group, nil
	}
	b.mu.Lock()
	is, known := b.known[group]
	b.mu.Unlock()
	if known {
		return is.arn, nil
	}
	found, err := b.find(ctx, group)
	return aws.ToString(found.TargetGroupArn), err
}

func isARN(group string) bool { return strings.HasPrefix(group, "arn:") }
