package contract

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
)

// Target groups, their targets, and what sends requests to them. What moto does
// not have, health that comes from real checks, is in the region's own tests.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeAccountLimits.html
// plainGroup is the line of a target group "web" as it is made by default.
const plainGroup = "web HTTP:8080 instance, check HTTP / on traffic-port each 30s within 5s, 5 up 2 down, wants 200"

var balancerStories = []fleetStory{
	{
		name: "a target group has documented defaults",
		tell: func(s *fleetTeller) { s.targetGroup("web") },
		want: []string{plainGroup},
	},
	{
		name: "the same target group may be created twice, another one of its name may not",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.targetGroup("web")
			s.targetGroup("web", func(in *elb.CreateTargetGroupInput) { in.Port = aws.Int32(81) })
		},
		want: []string{
			plainGroup,
			plainGroup,
			"! DuplicateTargetGroupName",
		},
		motoIsWrong: `"This operation is idempotent", says CreateTargetGroup; moto looks at the name alone`,
	},
	{
		name: "a target group needs a legal name, a port and a VPC",
		tell: func(s *fleetTeller) {
			s.targetGroup(strings.Repeat("x", 33))
			s.targetGroup("a_b")
			s.targetGroup("-web")
			s.targetGroup("web", func(in *elb.CreateTargetGroupInput) { in.Port = nil })
			s.targetGroup("web", func(in *elb.CreateTargetGroupInput) { in.VpcId = nil })
		},
		want: []string{"! ValidationError", "! ValidationError", "! ValidationError", "! ValidationError", "! ValidationError"},
	},
	{
		name: "a health check is changed in part",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.changeGroup("web", func(in *elb.ModifyTargetGroupInput) {
				in.HealthCheckPath, in.HealthCheckIntervalSeconds = aws.String("/up"), aws.Int32(10)
			})
			s.changeGroup("none", func(in *elb.ModifyTargetGroupInput) { in.HealthCheckPath = aws.String("/up") })
		},
		want: []string{
			plainGroup,
			"web HTTP:8080 instance, check HTTP /up on traffic-port each 10s within 5s, 5 up 2 down, wants 200",
			"! TargetGroupNotFound",
		},
	},
	{
		name: "attributes have defaults and are changed one by one",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			keys := []string{"deregistration_delay.timeout_seconds", "load_balancing.algorithm.type", "stickiness.enabled", "slow_start.duration_seconds"}
			s.attributes("web", keys...)
			s.setAttribute("web", keys[0], "20")
			s.setAttribute("web", keys[0], "3601")
			s.attributes("web", keys...)
			s.attributes("none", keys...)
		},
		want: []string{
			plainGroup, "deregistration_delay.timeout_seconds=300 load_balancing.algorithm.type=round_robin slow_start.duration_seconds=0 stickiness.enabled=false", "set", "! ValidationError",
			"deregistration_delay.timeout_seconds=20 load_balancing.algorithm.type=round_robin slow_start.duration_seconds=0 stickiness.enabled=false",
			"! TargetGroupNotFound",
		},
	},
	{
		name: "an attribute that does not exist can't be set",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.setAttribute("web", "speed", "high")
		},
		want:        []string{plainGroup, "! ValidationError"},
		motoIsWrong: "moto keeps every key that it is given",
	},
	{
		name: "target groups are described in pages",
		tell: func(s *fleetTeller) {
			for _, name := range []string{"a", "b", "c"} {
				s.targetGroup(name)
			}
			s.lines = nil
			s.targetGroups(2, nil)
		},
		want:        []string{"2 pages [a[] b[] c[]]"},
		motoIsWrong: "moto does not look at PageSize",
	},
	{
		name: "target groups are found by name and by load balancer",
		tell: func(s *fleetTeller) {
			for _, name := range []string{"a", "b", "c"} {
				s.targetGroup(name)
			}
			s.loadBalancer("front", 2)
			s.listen("front", 80, "b")
			s.lines = nil
			s.targetGroups(10, nil)
			s.targetGroups(10, func(in *elb.DescribeTargetGroupsInput) { in.Names = []string{"c", "a"} })
			s.targetGroups(10, func(in *elb.DescribeTargetGroupsInput) { in.LoadBalancerArn = s.arn("front") })
			s.targetGroups(10, func(in *elb.DescribeTargetGroupsInput) { in.Names = []string{"a", "none"} })
			s.targetGroups(10, func(in *elb.DescribeTargetGroupsInput) { in.TargetGroupArns = []string{*s.arn("none")} })
		},
		want: []string{"1 pages [a[] b[front] c[]]", "1 pages [a[] c[]]", "1 pages [b[front]]", "! TargetGroupNotFound", "! TargetGroupNotFound"},
	},
	{
		name: "targets of a group that no load balancer uses are unused",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.register("web", "i-1")
			s.health("web")
		},
		want:        []string{plainGroup, "registered", "[i-1:8080 unused Target.NotInUse]"},
		motoIsWrong: "moto says healthy at once",
	},
	{
		name: "an instance stands several times with different ports",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.register("web", "i-1:8080", "i-1:8081")
			s.register("web", "i-1:8080")
			s.health("web")
			s.deregister("web", "i-1:8080")
			s.health("web")
		},
		want: []string{
			plainGroup, "registered", "registered", "[i-1:8080 unused Target.NotInUse i-1:8081 unused Target.NotInUse]", "deregistered",
			"[i-1:8081 unused Target.NotInUse]",
		},
		motoIsWrong: "moto keys targets by the instance alone",
	},
	{
		name: "what is not registered is told to be so",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.health("web", "i-1:8080")
			s.health("web")
			s.health("none")
		},
		want: []string{plainGroup, "[i-1:8080 unused Target.NotRegistered]", "[]", "! TargetGroupNotFound"},
	},
	{
		name: "deregistering is idempotent",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.register("web", "i-1")
			s.deregister("web", "i-1")
			s.deregister("web", "i-1")
		},
		want:        []string{plainGroup, "registered", "deregistered", "deregistered"},
		motoIsWrong: "moto answers InvalidTarget; the reference: \"if the specified target does not exist, the action returns successfully\"",
	},
	{
		name: "only running instances are registered",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.register("web", "i-none")
		},
		want:        []string{plainGroup, "! InvalidTarget"},
		motoIsWrong: "moto registers instances that it does not know",
	},
	{
		name: "a target group that does not exist takes no targets",
		tell: func(s *fleetTeller) { s.register("none", "i-1"); s.deregister("none", "i-1") },
		want: []string{"! TargetGroupNotFound", "! TargetGroupNotFound"},
	},
	{
		name: "the account's limits have documented names and defaults",
		tell: func(s *fleetTeller) {
			s.limits(400, "target-groups", "listeners-per-application-load-balancer", "rules-per-application-load-balancer")
		},
		want: []string{"1 pages [listeners-per-application-load-balancer=50 rules-per-application-load-balancer=100 target-groups=3000]"},
	},
	{
		name: "a thousand targets are allowed, of a group and of a load balancer",
		tell: func(s *fleetTeller) {
			s.limits(400, "targets-per-application-load-balancer", "targets-per-network-load-balancer", "targets-per-target-group")
		},
		want:        []string{"1 pages [targets-per-application-load-balancer=1000 targets-per-network-load-balancer=3000 targets-per-target-group=1000]"},
		motoIsWrong: "moto has limits of its own, 30 and 200, and none on a target group",
	},
	{
		name:        "limits are described in pages",
		tell:        func(s *fleetTeller) { s.limits(10, "target-groups") },
		want:        []string{"3 pages [target-groups=3000]"},
		motoIsWrong: "moto does not look at PageSize",
	},
	{
		name: "a target group takes no more targets than its quota",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			var ports []string
			for port := 1; port <= 1000; port++ {
				ports = append(ports, fmt.Sprintf("i-1:%d", port))
			}
			s.register("web", ports...)
			s.register("web", "i-2:1")
			s.register("web", "i-1:1")
			s.deregister("web", "i-1:1")
			s.register("web", "i-2:1")
		},
		want:        []string{plainGroup, "registered", "! TooManyTargets", "registered", "deregistered", "registered"},
		motoIsWrong: "moto registers as many as it is told to",
	},
	{
		name: "a load balancer is there until it is deleted",
		tell: func(s *fleetTeller) {
			s.loadBalancer("front", 2)
			s.loadBalancers("front")
			s.loadBalancers("none")
			s.deleteBalancer("front")
			s.loadBalancers()
		},
		want: []string{"front application", "[front active]", "! LoadBalancerNotFound", "deleted", "[]"},
	},
	{
		name:        "a load balancer needs two subnets",
		tell:        func(s *fleetTeller) { s.loadBalancer("front", 1) },
		want:        []string{"! ValidationError"},
		motoIsWrong: "moto takes one",
	},
	{
		name: "a port of a load balancer has one listener",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.targetGroup("other")
			s.loadBalancer("front", 2)
			s.lines = nil
			s.listen("front", 80, "web")
			s.listen("front", 80, "other")
		},
		want:        []string{"HTTP 80 → web", "! DuplicateListener"},
		motoIsWrong: "moto makes a second one",
	},
	{
		name: "a listener forwards to a group",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.loadBalancer("front", 2)
			s.lines = nil
			s.listen("front", 80, "web")
			s.listen("front", 81, "none")
			s.listeners("front")
			s.deleteListener("front:80")
			s.deleteListener("front:80")
			s.listeners("front")
		},
		want: []string{
			"HTTP 80 → web", "! TargetGroupNotFound", "[HTTP 80 → web]", "deleted", "! ListenerNotFound", "[]",
		},
	},
	{
		name: "a target group belongs to one load balancer",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.loadBalancer("front", 2)
			s.loadBalancer("back", 2)
			s.lines = nil
			s.listen("front", 80, "web")
			s.listen("back", 81, "web")
		},
		want:        []string{"HTTP 80 → web", "! TargetGroupAssociationLimit"},
		motoIsWrong: "moto lets two load balancers have one target group",
	},
	{
		name: "a target group is in use while a listener forwards to it",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.loadBalancer("front", 2)
			s.listen("front", 80, "web")
			s.lines = nil
			s.deleteGroup("web")
			s.deleteListener("front:80")
			s.deleteGroup("web")
			s.targetGroups(10, nil)
		},
		want: []string{"! ResourceInUse", "deleted", "deleted", "1 pages []"},
	},
	{
		name: "resources have tags",
		tell: func(s *fleetTeller) {
			s.targetGroup("web")
			s.tag("web", "app", "shop")
			s.tag("web", "app", "blog")
			s.tag("web", "env", "prod")
			s.tags("web")
			s.untag("web", "app")
			s.tags("web")
			s.tag("none", "app", "shop")
		},
		want: []string{plainGroup, "tagged", "tagged", "tagged", "[app=blog env=prod]", "untagged", "[env=prod]", "! TargetGroupNotFound"},
	},
}
