package contract

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	asg "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// launchable makes the launch configuration "web", from which the story's groups launch.
func (s *fleetTeller) launchable() {
	_, err := s.asg.CreateLaunchConfiguration(s.ctx, &asg.CreateLaunchConfigurationInput{
		LaunchConfigurationName: aws.String("web"), ImageId: aws.String("ami-12c6146b"), InstanceType: aws.String("t3.micro")})
	s.write(err, "launchable")
}

func (s *fleetTeller) launchConfigurations() {
	out, err := s.asg.DescribeLaunchConfigurations(s.ctx, &asg.DescribeLaunchConfigurationsInput{})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.LaunchConfigurations, func(c types.LaunchConfiguration) string {
		return aws.ToString(c.LaunchConfigurationName) + " " + aws.ToString(c.ImageId) + " " + aws.ToString(c.InstanceType)
	}))
}

func (s *fleetTeller) deleteLaunchConfiguration(name string) {
	_, err := s.asg.DeleteLaunchConfiguration(s.ctx, &asg.DeleteLaunchConfigurationInput{LaunchConfigurationName: &name})
	s.write(err, "deleted")
}

// group creates a group of 0 to 2 instances that wants none.
func (s *fleetTeller) group(name string, changes ...func(*asg.CreateAutoScalingGroupInput)) {
	in := &asg.CreateAutoScalingGroupInput{AutoScalingGroupName: &name, LaunchConfigurationName: aws.String("web"),
		MinSize: aws.Int32(0), MaxSize: aws.Int32(2), AvailabilityZones: []string{"us-east-1a", "us-east-1b"}}
	for _, change := range changes {
		change(in)
	}
	_, err := s.asg.CreateAutoScalingGroup(s.ctx, in)
	s.write(err, "created")
}

// sized is a change of the sizes that a group is created with.
func sized(low, high, desired int32) func(*asg.CreateAutoScalingGroupInput) {
	return func(in *asg.CreateAutoScalingGroupInput) {
		in.MinSize, in.MaxSize, in.DesiredCapacity = &low, &high, &desired
	}
}

// groups writes the groups of those names, all without names, in pages of at most size.
func (s *fleetTeller) groups(size int32, names ...string) {
	pages := asg.NewDescribeAutoScalingGroupsPaginator(s.asg, &asg.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: names, MaxRecords: &size})
	found, n, err := all(pages.HasMorePages, func() (*asg.DescribeAutoScalingGroupsOutput, error) { return pages.NextPage(s.ctx) },
		func(page *asg.DescribeAutoScalingGroupsOutput) (lines []string) {
			for _, g := range page.AutoScalingGroups {
				lines = append(lines, fmt.Sprintf("%s %d≤%d≤%d", aws.ToString(g.AutoScalingGroupName), aws.ToInt32(g.MinSize),
					aws.ToInt32(g.DesiredCapacity), aws.ToInt32(g.MaxSize)))
			}
			return lines
		})
	s.write(err, "%d pages %v", n, found)
}

// described is one group; ok is false, and a line written, where there is none.
func (s *fleetTeller) described(name string) (g types.AutoScalingGroup, ok bool) {
	out, err := s.asg.DescribeAutoScalingGroups(s.ctx, &asg.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil || len(out.AutoScalingGroups) != 1 {
		s.write(err, "not one group")
		return g, false
	}
	return out.AutoScalingGroups[0], true
}

// details writes what else a group is.
func (s *fleetTeller) details(name string) {
	if g, ok := s.described(name); ok {
		slices.Sort(g.AvailabilityZones)
		s.write(nil, "%s check, %ds cooldown, %v, zones %v, from %s", aws.ToString(g.HealthCheckType), aws.ToInt32(g.DefaultCooldown),
			g.TerminationPolicies, g.AvailabilityZones, aws.ToString(g.LaunchConfigurationName))
	}
}

func (s *fleetTeller) grace(name string) {
	if g, ok := s.described(name); ok {
		s.write(nil, "%ds", aws.ToInt32(g.HealthCheckGracePeriod))
	}
}

func (s *fleetTeller) update(name string, change func(*asg.UpdateAutoScalingGroupInput)) {
	in := &asg.UpdateAutoScalingGroupInput{AutoScalingGroupName: &name}
	change(in)
	_, err := s.asg.UpdateAutoScalingGroup(s.ctx, in)
	s.write(err, "updated")
}

func (s *fleetTeller) desire(name string, n int32) {
	_, err := s.asg.SetDesiredCapacity(s.ctx, &asg.SetDesiredCapacityInput{AutoScalingGroupName: &name, DesiredCapacity: &n})
	s.write(err, "desired")
}

func (s *fleetTeller) deleteFleet(name string, force bool) {
	_, err := s.asg.DeleteAutoScalingGroup(s.ctx, &asg.DeleteAutoScalingGroupInput{AutoScalingGroupName: &name, ForceDelete: &force})
	s.write(err, "deleted")
}

func (s *fleetTeller) hook(group, name string, change func(*asg.PutLifecycleHookInput)) {
	in := &asg.PutLifecycleHookInput{AutoScalingGroupName: &group, LifecycleHookName: &name}
	change(in)
	_, err := s.asg.PutLifecycleHook(s.ctx, in)
	s.write(err, "put")
}

func launching(in *asg.PutLifecycleHookInput) {
	in.LifecycleTransition = aws.String("autoscaling:EC2_INSTANCE_LAUNCHING")
}

func (s *fleetTeller) hooks(group string, names ...string) {
	out, err := s.asg.DescribeLifecycleHooks(s.ctx, &asg.DescribeLifecycleHooksInput{AutoScalingGroupName: &group, LifecycleHookNames: names})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.LifecycleHooks, func(h types.LifecycleHook) string {
		return fmt.Sprintf("%s at %s, %ds, else %s", aws.ToString(h.LifecycleHookName),
			strings.TrimPrefix(aws.ToString(h.LifecycleTransition), "autoscaling:EC2_INSTANCE_"), aws.ToInt32(h.HeartbeatTimeout), aws.ToString(h.DefaultResult))
	}))
}

func (s *fleetTeller) unhook(group, name string) {
	_, err := s.asg.DeleteLifecycleHook(s.ctx, &asg.DeleteLifecycleHookInput{AutoScalingGroupName: &group, LifecycleHookName: &name})
	s.write(err, "unhooked")
}

func (s *fleetTeller) suspend(group string, processes ...string) {
	_, err := s.asg.SuspendProcesses(s.ctx, &asg.SuspendProcessesInput{AutoScalingGroupName: &group, ScalingProcesses: processes})
	s.write(err, "suspended")
}

func (s *fleetTeller) resume(group string, processes ...string) {
	_, err := s.asg.ResumeProcesses(s.ctx, &asg.ResumeProcessesInput{AutoScalingGroupName: &group, ScalingProcesses: processes})
	s.write(err, "resumed")
}

func (s *fleetTeller) suspended(group string) {
	if g, ok := s.described(group); ok {
		s.write(nil, "%v", sorted(g.SuspendedProcesses, func(p types.SuspendedProcess) string { return aws.ToString(p.ProcessName) }))
	}
}

func (s *fleetTeller) attach(group, targetGroup string) {
	_, err := s.asg.AttachLoadBalancerTargetGroups(s.ctx, &asg.AttachLoadBalancerTargetGroupsInput{AutoScalingGroupName: &group,
		TargetGroupARNs: []string{*s.arn(targetGroup)}})
	s.write(err, "attached")
}

func (s *fleetTeller) detach(group, targetGroup string) {
	_, err := s.asg.DetachLoadBalancerTargetGroups(s.ctx, &asg.DetachLoadBalancerTargetGroupsInput{AutoScalingGroupName: &group,
		TargetGroupARNs: []string{*s.arn(targetGroup)}})
	s.write(err, "detached")
}

func (s *fleetTeller) attached(group string) {
	out, err := s.asg.DescribeLoadBalancerTargetGroups(s.ctx, &asg.DescribeLoadBalancerTargetGroupsInput{AutoScalingGroupName: &group})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.LoadBalancerTargetGroups, func(g types.LoadBalancerTargetGroupState) string {
		return aws.ToString(g.LoadBalancerTargetGroupARN)
	}))
}

func (s *fleetTeller) mark(instance string) {
	_, err := s.asg.SetInstanceHealth(s.ctx, &asg.SetInstanceHealthInput{InstanceId: &instance, HealthStatus: aws.String("Unhealthy")})
	s.write(err, "marked")
}

func (s *fleetTeller) terminate(instance string) {
	_, err := s.asg.TerminateInstanceInAutoScalingGroup(s.ctx, &asg.TerminateInstanceInAutoScalingGroupInput{InstanceId: &instance,
		ShouldDecrementDesiredCapacity: aws.Bool(false)})
	s.write(err, "terminated")
}

func (s *fleetTeller) instances(ids ...string) {
	out, err := s.asg.DescribeAutoScalingInstances(s.ctx, &asg.DescribeAutoScalingInstancesInput{InstanceIds: ids})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%d instances", len(out.AutoScalingInstances))
}

// until waits until the group's instances, one at least, are all in that state, and writes the states that they are in.
func (s *fleetTeller) until(group string, state types.LifecycleState) {
	for {
		g, ok := s.described(group)
		if !ok {
			return
		}
		elsewhere := slices.ContainsFunc(g.Instances, func(i types.Instance) bool { return i.LifecycleState != state })
		if len(g.Instances) > 0 && !elsewhere || s.ctx.Err() != nil {
			s.write(s.ctx.Err(), "%v", sorted(g.Instances, func(i types.Instance) string { return string(i.LifecycleState) }))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// first is the id of the group's first instance, as a list.
func (s *fleetTeller) first(group string) []string {
	if g, ok := s.described(group); ok && len(g.Instances) > 0 {
		return []string{aws.ToString(g.Instances[0].InstanceId)}
	}
	return []string{"i-none"}
}

func (s *fleetTeller) enterStandby(group string, decrement bool) {
	out, err := s.asg.EnterStandby(s.ctx, &asg.EnterStandbyInput{AutoScalingGroupName: &group, InstanceIds: s.first(group),
		ShouldDecrementDesiredCapacity: &decrement})
	if err != nil {
		s.write(err, "")
		return
	}
	s.moving(out.Activities)
}

func (s *fleetTeller) exitStandby(group string) {
	out, err := s.asg.ExitStandby(s.ctx, &asg.ExitStandbyInput{AutoScalingGroupName: &group, InstanceIds: s.first(group)})
	if err != nil {
		s.write(err, "")
		return
	}
	s.moving(out.Activities)
}

// moving writes what an activity is about, without the instance; moto spells it StandBy.
func (s *fleetTeller) moving(activities []types.Activity) {
	for _, a := range activities {
		what, _, _ := strings.Cut(aws.ToString(a.Description), ":")
		s.write(nil, "%s", strings.ToLower(what))
	}
}
