package autoscaling

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"github.com/bootagent/bootagent/internal/aws/session"
)

// GroupOf gives the name of the group that an instance is in, "" for none: for who does not run on it, in one request.
func (g *Group) GroupOf(ctx context.Context, instanceID string) (string, error) {
	out, err := session.Do(ctx, g.session, session.Call{Action: "autoscaling:DescribeAutoScalingInstances", Resource: "instance " + instanceID},
		func(ctx context.Context) (*sdk.DescribeAutoScalingInstancesOutput, error) {
			return g.client.DescribeAutoScalingInstances(ctx, &sdk.DescribeAutoScalingInstancesInput{InstanceIds: []string{instanceID}})
		})
	if err != nil || len(out.AutoScalingInstances) == 0 {
		return "", err
	}
	return aws.ToString(out.AutoScalingInstances[0].AutoScalingGroupName), nil
}
