package operator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/operator"
)

// quota lets so many targets into the target group, and as many into each of these load balancers, which it shares with another group.
func (f *fleet) quota(most int, balancers ...string) {
	f.limits = []model.TargetLimit{{On: "target group web", Quota: "Targets per Target Group per Region (L-A0D0B863)", Most: most, Groups: []string{"arn:web"}}}
	for _, name := range balancers {
		f.limits = append(f.limits, model.TargetLimit{On: "load balancer " + name, Quota: "Targets per Application Load Balancer (L-7E6692B2)", Most: most, Groups: []string{"arn:web", "arn:api"}})
	}
}

func policy(changes string) func(*operator.Request) {
	return func(r *operator.Request) { r.Policy = json.RawMessage(changes) }
}

// target is one that is not of the group's instances.
func (f *fleet) target(group string, state model.TargetState) {
	f.more = append(f.more, model.TargetHealth{Target: model.Target{Group: group, InstanceID: "i-other", Port: 8080 + len(f.more)}, State: state})
}

func TestARolloutThatFitsIntoTheQuotaGoesOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.quota(4)
	f.most = 3
	f.target("arn:web", model.TargetDraining) // which goes by itself
	f.target("arn:elsewhere", model.TargetHealthy)
	f.good("v2")
	if strings.Contains(f.said(), "warning") {
		t.Error(f.said())
	}
}

// All groups of a load balancer count, whoever is in them.
func TestTheQuotaOfALoadBalancerIsOnAllItsGroups(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.quota(6, "front")
	f.target("arn:api", model.TargetUnhealthy)
	f.target("arn:api", model.TargetHealthy)
	_, err := f.deploy("v2")
	f.wants(err, operator.Wrong, "needs up to 7 targets in load balancer front, 5 now and 2 more", "L-7E6692B2) allows 6: have it raised, or set switch: restart")
	f.quota(7, "front")
	f.good("v2")
}

func TestAForcedDeployAndARollbackAreWarnedOfTheQuotaOnly(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.good("v2")
	f.quota(3)
	if _, err := f.deploy("v3", force); err != nil {
		t.Errorf("forced: %v", err)
	}
	const warning = "warning: the rollout needs up to 4 targets in target group web"
	f.says(warning, "an instance that finds no room waits until there is some")
	f.lines = nil
	if _, err := f.operator().Rollback(t.Context(), operator.Back{}); err != nil {
		t.Errorf("back: %v", err)
	}
	f.says(warning)
}

func TestAGroupThatMayOutgrowTheQuotaIsWarnedOf(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.quota(13)
	f.most = 12
	f.target("arn:web", model.TargetHealthy) // of somebody else
	f.good("v2")
	f.says("warning: the Auto Scaling group shop-asg may grow to 12 instances, and a rollout would then need 16 targets in target group web, of which the quota Targets per Target Group per Region (L-A0D0B863) allows 13: have it raised before")
}

// They are looked at as a favour: a policy that is older than this look, or an emulator that has no limits, holds nothing up.
func TestQuotasThatCanNotBeLookedAtHoldNothingUp(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"denied":   fmt.Errorf("arn:aws:iam::123456789012:user/ann may not elasticloadbalancing:DescribeAccountLimits on the account: add that action to its policy: %w", model.ErrConfiguration),
		"not done": errors.New("elasticloadbalancing:DescribeAccountLimits on the account was refused: NotImplemented"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			f.limitErr = err
			f.good("v2")
			f.says("warning: whether the targets of this rollout fit into the account's quotas is not known", err.Error())
		})
	}
}

func TestWhereNothingMoreIsRegisteredNoQuotaIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fleet, *operator.Options){
		"switch: restart":        func(_ *fleet, o *operator.Options) { o.Policy.Restart = true },
		"balancer.mode: asg":     func(f *fleet, o *operator.Options) { o.Standby, f.minimum = true, 1 },
		"no balancer":            func(_ *fleet, o *operator.Options) { o.Balancer, o.TargetGroups, o.Group = nil, 0, "shop-asg" },
		"nothing was registered": func(f *fleet, _ *operator.Options) { f.nodes = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			f.quota(0)
			o := f.options()
			change(f, &o)
			p, err := operator.New(o).Plan(t.Context(), operator.Request{Ref: "v2"})
			if err != nil || f.asked != 0 || len(p.Targets) != 0 {
				t.Errorf("asked %d times: %+v, %v", f.asked, p.Targets, err)
			}
		})
	}
}

func TestADryRunShowsTheRoomForTargets(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 9)
	f.quota(20)
	p, err := f.operator().Plan(t.Context(), operator.Request{Ref: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "The target group web: 9 targets now, at most 11 while instances switch, of 20 that the quota Targets per Target Group per Region (L-A0D0B863) allows."; !strings.Contains(p.Text(), want) {
		t.Errorf("it does not say %q:\n%s", want, p.Text())
	}
	if text, err := json.Marshal(p); err != nil || !strings.Contains(string(text), `"quota":"Targets per Target Group per Region (L-A0D0B863)","most":20,"groups":["arn:web"],"registered":9,"needed":11,"at_max_size":12`) {
		t.Errorf("%s, %v", text, err)
	}
	if f.asked != 1 {
		t.Errorf("it asked %d times", f.asked)
	}
}
