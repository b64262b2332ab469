package autoscaling_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"
)

// The codes are those of each operation's page in the API reference, the messages as users quote them in bug reports.
func TestSDKErrors(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	l.create(0)
	group, hook := aws.String("shop"), aws.String("boot")
	template := &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web")}
	zones := []string{"us-east-1a"}
	ctx := t.Context()
	for _, c := range []struct {
		name, code, message string
		call                func() error
	}{
		{"a name that is taken", "AlreadyExists", "A group with the name shop already exists", func() error {
			_, err := l.CreateAutoScalingGroup(ctx, &sdk.CreateAutoScalingGroupInput{AutoScalingGroupName: group, MinSize: aws.Int32(0), MaxSize: aws.Int32(1),
				LaunchTemplate: template, AvailabilityZones: zones})
			return err
		}},
		{"nothing to launch", "ValidationError", "must contain either LaunchTemplate, LaunchConfigurationName", func() error {
			_, err := l.CreateAutoScalingGroup(ctx, &sdk.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("x"), MinSize: aws.Int32(0),
				MaxSize: aws.Int32(1), AvailabilityZones: zones})
			return err
		}},
		{"a target group that does not exist", "ValidationError", "Provided Target Groups may not be valid", func() error {
			_, err := l.CreateAutoScalingGroup(ctx, &sdk.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("x"), MinSize: aws.Int32(0),
				MaxSize: aws.Int32(1), AvailabilityZones: zones, LaunchTemplate: template, TargetGroupARNs: []string{"arn:aws:none"}})
			return err
		}},
		{"desired out of bounds", "ValidationError", "Desired capacity:9 must be between the specified min size:0 and max size:4", func() error {
			_, err := l.UpdateAutoScalingGroup(ctx, &sdk.UpdateAutoScalingGroupInput{AutoScalingGroupName: group, DesiredCapacity: aws.Int32(9)})
			return err
		}},
		{"a parameter that would do nothing", "ValidationError", "does not implement the parameter MaxInstanceLifetime", func() error {
			_, err := l.UpdateAutoScalingGroup(ctx, &sdk.UpdateAutoScalingGroupInput{AutoScalingGroupName: group, MaxInstanceLifetime: aws.Int32(86400)})
			return err
		}},
		{"no such group", "ValidationError", "AutoScalingGroup name not found", func() error {
			_, err := l.SetDesiredCapacity(ctx, &sdk.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("x"), DesiredCapacity: aws.Int32(1)})
			return err
		}},
		{"no such instance", "ValidationError", "No managed instance found for instance ID: i-0", func() error {
			_, err := l.SetInstanceHealth(ctx, &sdk.SetInstanceHealthInput{InstanceId: aws.String("i-0"), HealthStatus: aws.String("Unhealthy")})
			return err
		}},
		{"a heartbeat time-out below 30 s", "ValidationError", "between 30 and 7200", func() error {
			_, err := l.PutLifecycleHook(ctx, &sdk.PutLifecycleHookInput{AutoScalingGroupName: group, LifecycleHookName: hook, HeartbeatTimeout: aws.Int32(29)})
			return err
		}},
		{"a new hook without a transition", "ValidationError", "Invalid Lifecycle Transition", func() error {
			_, err := l.PutLifecycleHook(ctx, &sdk.PutLifecycleHookInput{AutoScalingGroupName: group, LifecycleHookName: aws.String("new")})
			return err
		}},
		{"no such token", "ValidationError", "No active Lifecycle Action found with token 1b2c", func() error {
			_, err := l.RecordLifecycleActionHeartbeat(ctx, &sdk.RecordLifecycleActionHeartbeatInput{AutoScalingGroupName: group, LifecycleHookName: hook,
				LifecycleActionToken: aws.String("1b2c")})
			return err
		}},
		{"more records than a page holds", "ValidationError", "MaxRecords", func() error {
			_, err := l.DescribeAutoScalingGroups(ctx, &sdk.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(101)})
			return err
		}},
		{"an operation that this region lacks", "InvalidAction", "StartInstanceRefresh", func() error {
			_, err := l.StartInstanceRefresh(ctx, &sdk.StartInstanceRefreshInput{AutoScalingGroupName: group})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, c.call(), c.code, c.message)
		})
	}
}

// wantError compares the code and the message that a client sees of an error.
func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) {
		t.Errorf("got %v, want %s: %s", err, code, message)
		return
	}
	if e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), message) {
		t.Errorf("got %s: %s\nwant %s: %s", e.ErrorCode(), e.ErrorMessage(), code, message)
	}
}
