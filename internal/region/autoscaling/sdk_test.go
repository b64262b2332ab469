package autoscaling_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/machine"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// patience bounds every wait of these tests, which are on real time.
const patience = 30 * time.Second

// laptop is the service behind its wire, with real processes for machines and the SDK for a client.
type laptop struct {
	*sdk.Client
	t        *testing.T
	launcher *machine.Launcher
	service  *autoscaling.Service
}

func newLaptop(t *testing.T) *laptop {
	t.Helper()
	launcher := machine.NewLauncher(func(context.Context, autoscaling.Instance) (machine.Command, error) {
		return machine.Command{Argv: []string{"sleep", "600"}}, nil
	})
	service := autoscaling.New(autoscaling.Options{Launcher: launcher, BackoffBase: 10 * time.Millisecond})
	front := wire.NewServer(wire.Options{Region: "us-east-1"})
	front.Handle(autoscaling.Name, autoscaling.Namespace, service)
	server := httptest.NewServer(front)
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(service.Close(ctx), launcher.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	client := sdk.New(sdk.Options{Region: "us-east-1", BaseEndpoint: aws.String(server.URL), HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")})
	return &laptop{Client: client, t: t, launcher: launcher, service: service}
}

// create makes the group "shop" with a launch hook "boot".
func (l *laptop) create(desired int32) {
	l.t.Helper()
	_, err := l.CreateAutoScalingGroup(l.t.Context(), &sdk.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("shop"), MinSize: aws.Int32(0), MaxSize: aws.Int32(4), DesiredCapacity: aws.Int32(desired),
		AvailabilityZones: []string{"us-east-1a", "us-east-1b"},
		LaunchTemplate:    &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web"), Version: aws.String("$Latest")},
		LifecycleHookSpecificationList: []types.LifecycleHookSpecification{{LifecycleHookName: aws.String("boot"),
			LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"), HeartbeatTimeout: aws.Int32(300)}},
		Tags: []types.Tag{{Key: aws.String("app"), Value: aws.String("shop"), PropagateAtLaunch: aws.Bool(true)}},
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// group describes the group.
func (l *laptop) group() types.AutoScalingGroup {
	l.t.Helper()
	out, err := l.DescribeAutoScalingGroups(l.t.Context(), &sdk.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"shop"}})
	if err != nil {
		l.t.Fatal(err)
	}
	if len(out.AutoScalingGroups) != 1 {
		l.t.Fatalf("%d groups", len(out.AutoScalingGroups))
	}
	return out.AutoScalingGroups[0]
}

// until waits until the group has exactly these states, in order of launch, and gives its instances.
func (l *laptop) until(states ...types.LifecycleState) []types.Instance {
	l.t.Helper()
	return l.untilOk(func(list []types.Instance) bool {
		return slices.EqualFunc(list, states, func(i types.Instance, s types.LifecycleState) bool { return i.LifecycleState == s })
	})
}

func (l *laptop) untilOk(ok func([]types.Instance) bool) []types.Instance {
	l.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		list := l.group().Instances
		if ok(list) {
			return list
		}
		if time.Now().After(end) {
			l.t.Fatalf("after %v the instances are %+v", patience, list)
		}
	}
}

func (l *laptop) complete(id *string, result string) error {
	_, err := l.CompleteLifecycleAction(l.t.Context(), &sdk.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("shop"),
		LifecycleHookName: aws.String("boot"), InstanceId: id, LifecycleActionResult: aws.String(result)})
	return err
}

// exported lets cmp look into the SDK's structures, which have an unexported marker.
var exported = cmp.Exporter(func(reflect.Type) bool { return true })

// The way of an instance with a launch hook.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
func TestSDKInstanceGoesThroughItsLaunchHookIntoService(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	l.create(1)
	i := l.until(types.LifecycleStatePendingWait)[0]
	if id := aws.ToString(i.InstanceId); len(id) != 19 || !strings.HasPrefix(id, "i-0") {
		t.Errorf("instance id %q", id)
	}
	if _, err := l.RecordLifecycleActionHeartbeat(t.Context(), &sdk.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: aws.String("shop"), LifecycleHookName: aws.String("boot"), InstanceId: i.InstanceId}); err != nil {
		t.Error(err)
	}
	if err := l.complete(i.InstanceId, "CONTINUE"); err != nil {
		t.Fatal(err)
	}
	l.until(types.LifecycleStateInService)
	wantError(t, l.complete(i.InstanceId, "CONTINUE"), "ValidationError",
		"No active Lifecycle Action found with instance ID "+aws.ToString(i.InstanceId))

	out, err := l.DescribeAutoScalingInstances(t.Context(), &sdk.DescribeAutoScalingInstancesInput{InstanceIds: []string{*i.InstanceId, "i-nobody"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []types.AutoScalingInstanceDetails{{AutoScalingGroupName: aws.String("shop"), AvailabilityZone: aws.String("us-east-1a"),
		HealthStatus: aws.String("HEALTHY"), InstanceId: i.InstanceId, LifecycleState: aws.String("InService"), ProtectedFromScaleIn: aws.Bool(false),
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web"), Version: aws.String("$Latest")}}}
	if diff := cmp.Diff(want, out.AutoScalingInstances, exported); diff != "" {
		t.Errorf("DescribeAutoScalingInstances (-want +got):\n%s", diff)
	}

	hooks, err := l.DescribeLifecycleHooks(t.Context(), &sdk.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("shop")})
	if err != nil {
		t.Fatal(err)
	}
	// The global time-out is 100 times the heartbeat's, the default result ABANDON.
	wantHooks := []types.LifecycleHook{{AutoScalingGroupName: aws.String("shop"), LifecycleHookName: aws.String("boot"), DefaultResult: aws.String("ABANDON"),
		LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"), HeartbeatTimeout: aws.Int32(300), GlobalTimeout: aws.Int32(30000)}}
	if diff := cmp.Diff(wantHooks, hooks.LifecycleHooks, exported); diff != "" {
		t.Errorf("DescribeLifecycleHooks (-want +got):\n%s", diff)
	}
}

// ABANDON at launch terminates the instance, and the group launches another one.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/completing-lifecycle-hooks.html
func TestSDKAbandonedLaunchIsReplaced(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	l.create(1)
	first := l.until(types.LifecycleStatePendingWait)[0]
	m, _ := l.launcher.Machine(*first.InstanceId)
	if err := l.complete(first.InstanceId, "ABANDON"); err != nil {
		t.Fatal(err)
	}
	l.untilOk(func(list []types.Instance) bool {
		return len(list) == 1 && *list[0].InstanceId != *first.InstanceId && list[0].LifecycleState == types.LifecycleStatePendingWait
	})
	select {
	case <-m.Done():
	case <-time.After(patience):
		t.Error("the abandoned machine still runs")
	}
	out, err := l.DescribeScalingActivities(t.Context(), &sdk.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("shop"),
		Filters: []types.Filter{{Name: aws.String("Status"), Values: []string{"Cancelled"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Activities) != 1 || !strings.HasSuffix(aws.ToString(out.Activities[0].StatusMessage), "was abandoned: Lifecycle Action Completed with ABANDON Result") {
		t.Errorf("activities: %+v", out.Activities)
	}
}

// An instance that EC2 says is terminated is unhealthy at once, and replaced.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/health-checks-overview.html
func TestSDKKilledMachineIsReplaced(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	l.create(2)
	for _, i := range l.until(types.LifecycleStatePendingWait, types.LifecycleStatePendingWait) {
		if err := l.complete(i.InstanceId, "CONTINUE"); err != nil {
			t.Fatal(err)
		}
	}
	list := l.until(types.LifecycleStateInService, types.LifecycleStateInService)
	m, ok := l.launcher.Machine(*list[0].InstanceId)
	if !ok {
		t.Fatal("the launcher does not know its machine")
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	after := l.until(types.LifecycleStateInService, types.LifecycleStatePendingWait)
	if *after[0].InstanceId != *list[1].InstanceId || *after[1].AvailabilityZone != *list[0].AvailabilityZone {
		t.Errorf("before %+v, after %+v", list, after)
	}
	out, err := l.DescribeScalingActivities(t.Context(), &sdk.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("shop")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range out.Activities { // the newest first
		_, cause, _ := strings.Cut(*a.Cause, "Z ")
		got = append(got, string(a.StatusCode)+": "+strings.SplitN(*a.Description, ":", 2)[0]+": "+cause)
	}
	want := []string{
		"MidLifecycleAction: Launching a new EC2 instance: an instance was launched in response to an unhealthy instance needing to be replaced.",
		"Successful: Terminating EC2 instance: an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.",
	}
	if diff := cmp.Diff(want, got[:2]); diff != "" {
		t.Errorf("activities (-want +got):\n%s", diff)
	}
}

func TestSDKDesiredCapacityUpAndDown(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	l.create(1)
	if _, err := l.DeleteLifecycleHook(t.Context(), &sdk.DeleteLifecycleHookInput{AutoScalingGroupName: aws.String("shop"), LifecycleHookName: aws.String("boot")}); err != nil {
		t.Fatal(err)
	}
	set := func(n int32) error {
		_, err := l.SetDesiredCapacity(t.Context(), &sdk.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("shop"), DesiredCapacity: aws.Int32(n)})
		return err
	}
	if err := set(3); err != nil {
		t.Fatal(err)
	}
	all := l.until(types.LifecycleStateInService, types.LifecycleStateInService, types.LifecycleStateInService)
	wantError(t, set(5), "ValidationError", "New SetDesiredCapacity value 5 is above max value 4 for the AutoScalingGroup.")
	if _, err := l.SetInstanceProtection(t.Context(), &sdk.SetInstanceProtectionInput{AutoScalingGroupName: aws.String("shop"),
		InstanceIds: []string{*all[0].InstanceId}, ProtectedFromScaleIn: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	if err := set(1); err != nil {
		t.Fatal(err)
	}
	left := l.until(types.LifecycleStateInService)
	if *left[0].InstanceId != *all[0].InstanceId {
		t.Errorf("%s is left, not the protected %s", *left[0].InstanceId, *all[0].InstanceId)
	}
	out, err := l.TerminateInstanceInAutoScalingGroup(t.Context(), &sdk.TerminateInstanceInAutoScalingGroupInput{InstanceId: left[0].InstanceId,
		ShouldDecrementDesiredCapacity: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	if c := aws.ToString(out.Activity.Cause); !strings.HasSuffix(c, "was taken out of service in response to a user request, shrinking the capacity from 1 to 0.") {
		t.Error(c)
	}
	l.until()
	if _, err := l.DeleteAutoScalingGroup(t.Context(), &sdk.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("shop")}); err != nil {
		t.Error(err)
	}
}

func TestSDKPagesThroughGroups(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		if err := l.service.CreateGroup(autoscaling.GroupConfig{Name: name, Max: 1}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for pages := sdk.NewDescribeAutoScalingGroupsPaginator(l, &sdk.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(2)}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.AutoScalingGroups {
			got = append(got, *g.AutoScalingGroupName)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Error(diff)
	}
	_, err := l.DescribeAutoScalingGroups(t.Context(), &sdk.DescribeAutoScalingGroupsInput{NextToken: aws.String("nonsense")})
	wantError(t, err, "InvalidNextToken", "nonsense")
}

func TestSDKSuspendsAndResumesProcesses(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	l.create(0)
	if _, err := l.SuspendProcesses(t.Context(), &sdk.SuspendProcessesInput{AutoScalingGroupName: aws.String("shop"),
		ScalingProcesses: []string{"Launch", "AZRebalance"}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range l.group().SuspendedProcesses {
		got = append(got, *p.ProcessName)
	}
	if diff := cmp.Diff([]string{"Launch", "AZRebalance"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := l.ResumeProcesses(t.Context(), &sdk.ResumeProcessesInput{AutoScalingGroupName: aws.String("shop")}); err != nil {
		t.Fatal(err)
	}
	if left := l.group().SuspendedProcesses; len(left) != 0 {
		t.Errorf("still suspended: %+v", left)
	}
}

func TestSDKLaunchConfigurations(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	in := &sdk.CreateLaunchConfigurationInput{LaunchConfigurationName: aws.String("lc"), ImageId: aws.String("ami-1"), InstanceType: aws.String("t4g.nano")}
	if _, err := l.CreateLaunchConfiguration(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	_, err := l.CreateLaunchConfiguration(t.Context(), in)
	wantError(t, err, "AlreadyExists", "lc")
	out, err := l.DescribeLaunchConfigurations(t.Context(), &sdk.DescribeLaunchConfigurationsInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.LaunchConfigurations) != 1 || aws.ToString(out.LaunchConfigurations[0].InstanceType) != "t4g.nano" {
		t.Errorf("%+v", out.LaunchConfigurations)
	}
}
