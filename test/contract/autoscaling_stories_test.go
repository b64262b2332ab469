package contract

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	asg "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// Groups and their hooks as they are configured. moto has no lifecycle but standby:
// what else instances go through is in the region's own tests.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateAutoScalingGroup.html
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_UpdateAutoScalingGroup.html
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html
var groupStories = []fleetStory{
	{
		name: "a group is what it was made",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.groups(10, "shop")
			s.details("shop")
			s.groups(10, "none")
		},
		want: []string{"launchable", "created", "1 pages [shop 0≤0≤2]",
			"EC2 check, 300s cooldown, [Default], zones [us-east-1a us-east-1b], from web", "1 pages []"},
	},
	{
		name:        "a group that the API makes has no grace period",
		tell:        func(s *fleetTeller) { s.launchable(); s.group("shop"); s.grace("shop") },
		want:        []string{"launchable", "created", "0s"},
		motoIsWrong: "300 s is what the console proposes; \"Default: 0 seconds\", says the reference",
	},
	{
		name:        "a group's name is taken",
		tell:        func(s *fleetTeller) { s.launchable(); s.group("shop"); s.group("shop") },
		want:        []string{"launchable", "created", "! AlreadyExists"},
		motoIsWrong: "moto replaces the group",
	},
	{
		name: "a group's sizes make sense",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop", sized(0, 2, 3))
			s.group("shop", sized(2, 1, 1))
		},
		want:        []string{"launchable", "! ValidationError", "! ValidationError"},
		motoIsWrong: "moto takes any sizes",
	},
	{
		name: "the desired capacity is set",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.desire("shop", 2)
			s.groups(10, "shop")
		},
		want: []string{"launchable", "created", "desired", "1 pages [shop 0≤2≤2]"},
	},
	{
		name: "the desired capacity stays within bounds",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop", sized(1, 2, 1))
			s.desire("shop", 3)
			s.desire("shop", 0)
			s.groups(10, "shop")
		},
		want:        []string{"launchable", "created", "! ValidationError", "! ValidationError", "1 pages [shop 1≤1≤2]"},
		motoIsWrong: "moto takes any number",
	},
	{
		name: "new bounds move the desired capacity",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.update("shop", func(in *asg.UpdateAutoScalingGroupInput) { in.MinSize = aws.Int32(1) })
			s.groups(10, "shop")
			s.update("shop", func(in *asg.UpdateAutoScalingGroupInput) { in.MinSize, in.MaxSize = aws.Int32(0), aws.Int32(0) })
			s.groups(10, "shop")
		},
		want: []string{"launchable", "created", "updated", "1 pages [shop 1≤1≤2]", "updated", "1 pages [shop 0≤0≤0]"},
	},
	{
		name: "a group with instances is deleted by force",
		tell: func(s *fleetTeller) { s.launchable(); s.group("shop", sized(1, 2, 1)); s.deleteFleet("shop", true) },
		want: []string{"launchable", "created", "deleted"},
	},
	{
		name:        "a group with instances is deleted by force alone",
		tell:        func(s *fleetTeller) { s.launchable(); s.group("shop", sized(1, 2, 1)); s.deleteFleet("shop", false) },
		want:        []string{"launchable", "created", "! ResourceInUse"},
		motoIsWrong: "moto never wants force",
	},
	{
		name: "a group without instances is deleted",
		tell: func(s *fleetTeller) { s.launchable(); s.group("shop"); s.deleteFleet("shop", false); s.groups(10) },
		want: []string{"launchable", "created", "deleted", "1 pages []"},
	},
	{
		name: "a group that does not exist can't be changed or deleted",
		tell: func(s *fleetTeller) {
			s.update("none", func(in *asg.UpdateAutoScalingGroupInput) { in.MinSize = aws.Int32(1) })
			s.deleteFleet("none", true)
		},
		want: []string{"! ValidationError", "! ValidationError"},
	},
	{
		name: "a group that does not exist has no capacity, hooks, processes and targets",
		tell: func(s *fleetTeller) {
			s.desire("none", 1)
			s.hook("none", "boot", launching)
			s.suspend("none", "Launch")
			s.attached("none")
		},
		want:        []string{"! ValidationError", "! ValidationError", "! ValidationError", "! ValidationError"},
		motoIsWrong: "moto falls over: a 500 in HTML",
	},
	{
		name: "a launch configuration is kept until it is deleted",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.launchConfigurations()
			s.deleteLaunchConfiguration("web")
			s.launchConfigurations()
		},
		want: []string{"launchable", "[web ami-12c6146b t3.micro]", "deleted", "[]"},
	},
	{
		name: "a launch configuration is not made twice, nor deleted while a group has it",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.launchable()
			s.group("shop")
			s.deleteLaunchConfiguration("web")
			s.deleteLaunchConfiguration("none")
		},
		want:        []string{"launchable", "! AlreadyExists", "created", "! ResourceInUse", "! ValidationError"},
		motoIsWrong: "moto looks at none of that",
	},
	{
		name: "a hook has documented defaults, and is deleted",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.hook("shop", "boot", launching)
			s.hook("shop", "bye", func(in *asg.PutLifecycleHookInput) {
				in.LifecycleTransition = aws.String("autoscaling:EC2_INSTANCE_TERMINATING")
			})
			s.hooks("shop")
			s.hooks("shop", "bye")
			s.unhook("shop", "boot")
			s.hooks("shop")
		},
		want: []string{"launchable", "created", "put", "put", "[boot at LAUNCHING, 3600s, else ABANDON bye at TERMINATING, 3600s, else ABANDON]",
			"[bye at TERMINATING, 3600s, else ABANDON]", "unhooked", "[bye at TERMINATING, 3600s, else ABANDON]"},
	},
	{
		name: "a hook is there from the group's creation",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop", func(in *asg.CreateAutoScalingGroupInput) {
				in.LifecycleHookSpecificationList = []types.LifecycleHookSpecification{{LifecycleHookName: aws.String("boot"),
					LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"), HeartbeatTimeout: aws.Int32(60)}}
			})
			s.hooks("shop")
		},
		want:        []string{"launchable", "created", "[boot at LAUNCHING, 60s, else ABANDON]"},
		motoIsWrong: "moto drops the hooks of a creation",
	},
	{
		name: "a hook is changed in part",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.hook("shop", "boot", launching)
			s.hook("shop", "boot", func(in *asg.PutLifecycleHookInput) {
				in.HeartbeatTimeout, in.DefaultResult = aws.Int32(120), aws.String("CONTINUE")
			})
			s.hooks("shop")
		},
		want:        []string{"launchable", "created", "put", "put", "[boot at LAUNCHING, 120s, else CONTINUE]"},
		motoIsWrong: "moto replaces all of it, with a hook without a transition",
	},
	{
		name: "a group without a desired capacity wants its minimum",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop", func(in *asg.CreateAutoScalingGroupInput) { in.MinSize = aws.Int32(1) })
			s.groups(10, "shop")
		},
		want: []string{"launchable", "created", "1 pages [shop 1≤1≤2]"},
	},
	{
		name: "a group needs something to launch and a place for it",
		tell: func(s *fleetTeller) {
			s.group("shop", func(in *asg.CreateAutoScalingGroupInput) { in.LaunchConfigurationName = nil })
			s.launchable()
			s.group("shop", func(in *asg.CreateAutoScalingGroupInput) { in.AvailabilityZones = nil })
		},
		want: []string{"! ValidationError", "launchable", "! ValidationError"},
	},
	{
		name: "groups are described in pages",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("a")
			s.group("b")
			s.group("c")
			s.groups(2)
		},
		want: []string{"launchable", "created", "created", "created", "2 pages [a 0≤0≤2 b 0≤0≤2 c 0≤0≤2]"},
	},
	{
		name: "a hook needs a transition that exists and a time within bounds",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.hook("shop", "boot", func(*asg.PutLifecycleHookInput) {})
			s.hook("shop", "boot", func(in *asg.PutLifecycleHookInput) { in.LifecycleTransition = aws.String("autoscaling:LUNCH") })
			s.hook("shop", "boot", func(in *asg.PutLifecycleHookInput) { launching(in); in.HeartbeatTimeout = aws.Int32(29) })
			s.hook("shop", "boot", func(in *asg.PutLifecycleHookInput) { launching(in); in.DefaultResult = aws.String("RETRY") })
			s.unhook("shop", "boot")
		},
		want: []string{"launchable", "created", "! ValidationError", "! ValidationError", "! ValidationError", "! ValidationError",
			"! ValidationError"},
		motoIsWrong: "moto takes whatever it is given",
	},
	{
		name: "processes are suspended and resumed",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.suspend("shop", "Launch", "AZRebalance")
			s.suspend("shop", "Launch")
			s.suspended("shop")
			s.resume("shop", "Launch")
			s.suspended("shop")
			s.suspend("shop")
			s.resume("shop")
			s.suspended("shop")
		},
		want: []string{"launchable", "created", "suspended", "suspended", "[AZRebalance Launch]", "resumed", "[AZRebalance]",
			"suspended", "resumed", "[]"},
	},
	{
		name: "target groups are attached and detached",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.targetGroup("web")
			s.group("shop")
			s.attach("shop", "web")
			s.attach("shop", "web")
			s.attached("shop")
			s.detach("shop", "web")
		},
		want: []string{"launchable", plainGroup, "created", "attached", "attached", "[web]", "detached"},
	},
	{
		name:        "a process that does not exist can't be suspended",
		tell:        func(s *fleetTeller) { s.launchable(); s.group("shop"); s.suspend("shop", "Lunch") },
		want:        []string{"launchable", "created", "! ValidationError"},
		motoIsWrong: "moto suspends it",
	},
	{
		name: "a target group that does not exist can't be attached",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop")
			s.attach("shop", "none")
			s.group("blog", func(in *asg.CreateAutoScalingGroupInput) { in.TargetGroupARNs = []string{*s.arn("none")} })
		},
		want:        []string{"launchable", "created", "! ValidationError", "! ValidationError"},
		motoIsWrong: "moto answers with ELBv2's error, TargetGroupNotFound, which Auto Scaling does not have",
	},
	{
		name: "an instance that no group has is not described",
		tell: func(s *fleetTeller) { s.instances("i-none") },
		want: []string{"0 instances"},
	},
	{
		name:        "an instance that no group has can't be marked or terminated",
		tell:        func(s *fleetTeller) { s.mark("i-none"); s.terminate("i-none") },
		want:        []string{"! ValidationError", "! ValidationError"},
		motoIsWrong: "moto asks EC2, and answers with its error or falls over",
	},
}
