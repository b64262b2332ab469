package contract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// call is a line for the AWS CLI, words separated by spaces, and what it
// prints: exactly that, or for a call that fails something of it.
type call struct {
	line, want string
	fails      bool
	out        *string // gets what is printed, instead of a look at it
}

// line runs a line of words for the AWS CLI that must succeed.
func (c cli) line(t *testing.T, format string, args ...any) string {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	out, ok := c.run(t, strings.Fields(line)...)
	if !ok {
		t.Fatalf("aws %s: %s", line, out)
	}
	return out
}

// together runs lines at the same time, and goes on when all have ended as wanted.
func (c cli) together(t *testing.T, what string, calls ...call) {
	t.Helper()
	if !t.Run(what, func(t *testing.T) {
		for _, call := range calls {
			name, _, _ := strings.Cut(call.line, " --")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				out, ok := c.run(t, strings.Fields(call.line)...)
				if call.out != nil && ok {
					*call.out = out
					return
				}
				if ok == call.fails || ok && out != call.want || !strings.Contains(out, call.want) {
					t.Errorf("aws %s\n got (ok=%v): %s\nwant: %s", call.line, ok, out, call.want)
				}
			})
		}
	}) {
		t.FailNow()
	}
}

// asInstance is the CLI on an instance: it has no keys, and finds those of the role.
func (c cli) asInstance(endpoint string) cli {
	on := cli{python: c.python, env: []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + endpoint}}
	for _, e := range c.env {
		if !strings.HasPrefix(e, "AWS_ACCESS_KEY_ID=") && !strings.HasPrefix(e, "AWS_SECRET_ACCESS_KEY=") &&
			!strings.HasPrefix(e, "AWS_EC2_METADATA_DISABLED=") {
			on.env = append(on.env, e)
		}
	}
	return on
}

// The life of a small fleet, in the hands of a client that nobody here wrote: a
// balancer and a group are made, an instance waits in its launch hook, is
// registered, becomes healthy by a real check, goes into service and serves;
// another one is abandoned and replaced; all of it ends.
//
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
func TestTheStockCLIDrivesAWholeRegion(t *testing.T) {
	t.Parallel()
	interpreter, err := python("awscli")
	if err != nil {
		leaveOut(t, "the stock AWS CLI against a whole region", err)
	}
	l := newLaptop(t, interpreter)
	aws := newCLI(t, l.Region)
	front := freePort(t)

	const (
		shop = "--auto-scaling-group-name shop"
		boot = shop + " --lifecycle-hook-name boot"
	)
	var web, balancer string // ARNs
	aws.together(t, "a target group, a balancer and a fleet of one are made",
		call{line: "elbv2 create-target-group --name web --protocol HTTP --port 80 --vpc-id vpc-1 --health-check-interval-seconds 5 " +
			"--health-check-timeout-seconds 4 --query TargetGroups[0].TargetGroupArn", out: &web},
		call{line: "elbv2 create-load-balancer --name front --subnets subnet-1 subnet-2 --query LoadBalancers[0].LoadBalancerArn", out: &balancer},
		call{line: "autoscaling create-auto-scaling-group " + shop + " --min-size 0 --max-size 3 --desired-capacity 1 " +
			"--launch-template LaunchTemplateName=web --availability-zones us-east-1a us-east-1b --tags Key=app,Value=shop,PropagateAtLaunch=true " +
			"--lifecycle-hook-specification-list LifecycleHookName=boot,LifecycleTransition=autoscaling:EC2_INSTANCE_LAUNCHING,HeartbeatTimeout=300"},
	)
	first := l.instance("shop", 1, model.LifecyclePendingWait)
	port := l.port(first)

	aws.together(t, "the instance waits, and says who it is",
		call{line: fmt.Sprintf("elbv2 create-listener --load-balancer-arn %s --protocol HTTP --port %d "+
			"--default-actions Type=forward,TargetGroupArn=%s --query Listeners[0].Port", balancer, front, web), want: fmt.Sprint(front)},
		call{line: "autoscaling describe-auto-scaling-instances --query AutoScalingInstances[].[InstanceId,LifecycleState,HealthStatus]",
			want: first + "\tPending:Wait\tHEALTHY"},
		call{line: "autoscaling describe-lifecycle-hooks " + shop + " --query LifecycleHooks[].[LifecycleHookName,HeartbeatTimeout,DefaultResult]",
			want: "boot\t300\tABANDON"},
		call{line: "autoscaling record-lifecycle-action-heartbeat " + boot + " --instance-id " + first},
		call{line: "elbv2 register-targets --target-group-arn " + web + " --targets Id=i-00000000000000000",
			want: "(InvalidTarget) when calling the RegisterTargets operation", fails: true},
	)
	t.Run("its metadata are read as curl does", func(t *testing.T) { l.readMetadata(t, first) })

	on := aws.asInstance(l.host(first).metadata.Endpoint())
	on.together(t, "the instance registers itself with the keys of its role",
		call{line: "sts get-caller-identity --query Arn", want: "arn:aws:sts::123456789012:assumed-role/bootagent-instance/" + first},
		call{line: "ssm put-parameter --name /bootagent/shop/prod/release --type String --value v1 --query Version", want: "1"},
		call{line: fmt.Sprintf("elbv2 register-targets --target-group-arn %s --targets Id=%s,Port=%d", web, first, port)},
	)
	if n := len(l.Calls(wire.Filter{Operation: "RegisterTargets", Instance: first})); n != 1 {
		t.Errorf("the region remembers %d registrations by the instance, want 1", n)
	}
	l.until("the target is healthy", func() bool {
		state, err := l.balancers.Health(web, first)
		return err == nil && state == model.TargetHealthy
	})
	aws.together(t, "it is healthy, and its hook is completed",
		call{line: fmt.Sprintf("elbv2 wait target-in-service --target-group-arn %s --targets Id=%s,Port=%d", web, first, port)},
		call{line: "elbv2 describe-target-health --target-group-arn " + web + " --query TargetHealthDescriptions[].[Target.Id,Target.Port,TargetHealth.State]",
			want: fmt.Sprintf("%s\t%d\thealthy", first, port)},
		call{line: "autoscaling complete-lifecycle-action " + boot + " --lifecycle-action-result CONTINUE --instance-id " + first},
	)
	l.instance("shop", 1, model.LifecycleInService)
	if status, body := fetch(t, "GET", fmt.Sprintf("http://127.0.0.1:%d/", front), ""); status != 200 || !strings.Contains(body, "Directory listing") {
		t.Errorf("through the balancer: %d %s", status, body)
	}

	standby := shop + " --instance-ids " + first
	if got := aws.line(t, "autoscaling enter-standby %s --should-decrement-desired-capacity --query Activities[0].Description", standby); got != "Moving EC2 instance to Standby: "+first {
		t.Errorf("enter-standby: %s", got)
	}
	l.instance("shop", 1, model.LifecycleStandby)
	aws.together(t, "on standby it does not count, and nothing is launched in its place",
		call{line: "autoscaling describe-auto-scaling-groups --auto-scaling-group-names shop " +
			"--query AutoScalingGroups[0].[MinSize,DesiredCapacity,MaxSize,Instances[0].LifecycleState,length(Instances)]", want: "0\t0\t3\tStandby\t1"},
		call{line: "autoscaling enter-standby " + standby + " --should-decrement-desired-capacity",
			want: "(ValidationError) when calling the EnterStandby operation: The instance " + first + " is not in InService", fails: true},
	)
	if got := aws.line(t, "autoscaling exit-standby %s --query Activities[0].Description", standby); got != "Moving EC2 instance out of Standby: "+first {
		t.Errorf("exit-standby: %s", got)
	}
	l.instance("shop", 1, model.LifecycleInService) // by way of Pending, not of the hook

	aws.together(t, "it stops serving, another one is asked for",
		call{line: fmt.Sprintf("elbv2 deregister-targets --target-group-arn %s --targets Id=%s,Port=%d", web, first, port)},
		call{line: "autoscaling set-desired-capacity " + shop + " --desired-capacity 2"},
		call{line: "autoscaling set-desired-capacity " + shop + " --desired-capacity 4",
			want: "(ValidationError) when calling the SetDesiredCapacity operation", fails: true},
		call{line: "autoscaling complete-lifecycle-action " + boot + " --lifecycle-action-result CONTINUE --instance-id " + first,
			want: "No active Lifecycle Action found with instance ID " + first, fails: true},
		call{line: "elbv2 modify-target-group-attributes --target-group-arn " + web + " --attributes Key=deregistration_delay.timeout_seconds,Value=120 " +
			"--query Attributes[0].Value", want: "120"},
	)
	second := l.instance("shop", 2, model.LifecyclePendingWait)
	aws.line(t, "autoscaling complete-lifecycle-action "+boot+" --lifecycle-action-result ABANDON --instance-id %s", second)
	l.until("the abandoned instance is gone and replaced", func() bool {
		all := l.groups.Instances("shop")
		return l.host(second) == nil && len(all) == 2 && all[1].ID != second && all[1].Lifecycle == model.LifecyclePendingWait
	})
	aws.together(t, "the first one drains, the history tells of the second",
		call{line: "elbv2 describe-target-health --target-group-arn " + web + " --query TargetHealthDescriptions[].[TargetHealth.State,TargetHealth.Reason]",
			want: "draining\tTarget.DeregistrationInProgress"},
		call{line: "autoscaling describe-scaling-activities " + shop + " --query Activities[?StatusCode=='Cancelled'].Description",
			want: "Launching a new EC2 instance: " + second},
	)
	aws.together(t, "the first one is ended, the balancer deleted",
		call{line: "autoscaling terminate-instance-in-auto-scaling-group --instance-id " + first + " --should-decrement-desired-capacity --query Activity.StatusCode",
			want: "InProgress"},
		call{line: "elbv2 delete-load-balancer --load-balancer-arn " + balancer},
	)
	l.until("the machine of the first instance is gone", func() bool {
		_, runs := l.machines.Machine(first)
		return !runs && l.host(first) == nil
	})
	aws.together(t, "the rest is deleted",
		call{line: "autoscaling delete-auto-scaling-group " + shop + " --force-delete"},
		call{line: "elbv2 delete-target-group --target-group-arn " + web},
	)
	l.until("no instance is left", func() bool { return l.groups.Instances("shop") == nil })
}

// readMetadata reads an instance's metadata as AWS's pages do it with curl.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func (l *laptop) readMetadata(t *testing.T, id string) {
	if status, _ := l.curl(id, "GET latest/meta-data/instance-id", ""); status != 401 {
		t.Errorf("without a token: %d, want 401", status)
	}
	status, token := l.curl(id, "PUT latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600")
	if status != 200 {
		t.Fatalf("a token: %d", status)
	}
	for path, want := range map[string]string{
		"meta-data/instance-id":                        id,
		"meta-data/placement/region":                   "us-east-1",
		"meta-data/autoscaling/target-lifecycle-state": "InService", // where it goes, not where it is
		"meta-data/tags/instance/app":                  "shop",
		"meta-data/iam/security-credentials/":          "bootagent-instance",
	} {
		if status, body := l.curl(id, "GET latest/"+path, "X-aws-ec2-metadata-token: "+token); status != 200 || body != want {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
	}
	if status, _ := l.curl(id, "GET latest/meta-data/spot/instance-action", "X-aws-ec2-metadata-token: "+token); status != 404 {
		t.Errorf("a spot interruption that is not announced: %d, want 404", status)
	}
}
