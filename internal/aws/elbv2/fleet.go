package elbv2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// Targets gives every target of every group, those of other instances as well: one request a group.
func (b *Balancer) Targets(ctx context.Context) ([]model.TargetHealth, error) {
	var out []model.TargetHealth
	err := b.each(ctx, func(group, arn string) error {
		answer, err := session.Do(ctx, b.session, call("DescribeTargetHealth", group),
			func(ctx context.Context) (*sdk.DescribeTargetHealthOutput, error) {
				return b.client.DescribeTargetHealth(ctx, &sdk.DescribeTargetHealthInput{TargetGroupArn: &arn})
			})
		if err != nil {
			return b.explain(err, group, "", nil)
		}
		for _, d := range answer.TargetHealthDescriptions {
			if d.Target == nil || d.TargetHealth == nil {
				continue
			}
			out = append(out, model.TargetHealth{
				Target: model.Target{Group: arn, InstanceID: aws.ToString(d.Target.Id), Port: int(aws.ToInt32(d.Target.Port))},
				State:  model.TargetState(d.TargetHealth.State), Reason: string(d.TargetHealth.Reason), Description: aws.ToString(d.TargetHealth.Description),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
