package elbv2_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/model"
	server "github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
)

const balancerQuota = "Targets per Application Load Balancer (L-7E6692B2)"

// One request tells them all; that of the load balancer is known for a group that is found by its name.
func TestTheQuotasOfTheTargetsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.service.SetLimits(server.Limits{PerGroup: 1200, PerBalancer: 1500})
	spare, api := w.group(t, "spare"), w.group(t, "api")
	found, err := w.service.CreateLoadBalancer(server.BalancerSpec{Name: "front", Subnets: "subnet-1,subnet-2"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.CreateListener(found, 0, api); err != nil {
		t.Fatal(err)
	}
	got, err := w.adapter("web", spare, "api").Limits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []model.TargetLimit{
		{On: "target group web", Quota: groupQuota, Most: 1200, Groups: []string{w.web}},
		{On: "target group spare", Quota: groupQuota, Most: 1200, Groups: []string{spare}},
		{On: "target group api", Quota: groupQuota, Most: 1200, Groups: []string{api}},
		{On: "load balancer front", Quota: balancerQuota, Most: 1500, Groups: []string{w.web, api}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if counts := w.Counts(); counts["elasticloadbalancing:DescribeAccountLimits"] != 1 || counts["elasticloadbalancing:DescribeLoadBalancers"] != 0 {
		t.Errorf("it asks for more than it must: %v", counts)
	}
	if got, err = w.adapter(w.web).Limits(t.Context()); err != nil || len(got) != 1 || got[0].On != "target group web" {
		t.Errorf("by ARN: %v, %v", got, err)
	}
}

// limits are what AWS answers, in pages.
type limits struct {
	Limits     wire.Members[entry]
	NextMarker string `xml:",omitempty"`
}

type entry struct{ Name, Max string }

func TestLimitsAreReadToTheLastPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page := func(next string, entries ...entry) fault.Effect {
		return func(context.Context, wire.Call, func() (any, error)) (any, error) {
			return limits{wire.ListOf(entries...), next}, nil
		}
	}
	w.Faults.Add(fault.Rule{Operation: "DescribeAccountLimits", When: func(c wire.Call) bool { return c.Form.Get("Marker") == "" },
		Effect: page("more", entry{"targets-per-application-load-balancer", "30"})})
	w.Faults.Add(fault.Rule{Operation: "DescribeAccountLimits", When: func(c wire.Call) bool { return c.Form.Get("Marker") == "more" },
		Effect: page("", entry{"targets-per-target-group", "20"}, entry{"geneve-target-groups", "none"})})
	got, err := w.adapter("web").Limits(t.Context())
	if err != nil || len(got) != 2 || got[0].Most != 20 || got[1].Most != 30 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What AWS's reference does not name may be missing: then the default holds for a group, and nothing is known of a load balancer.
func TestALimitThatIsNotToldIsTheDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Faults.Add(fault.Rule{Operation: "DescribeAccountLimits", Effect: func(context.Context, wire.Call, func() (any, error)) (any, error) {
		return limits{Limits: wire.ListOf(entry{"target-groups", "3000"})}, nil
	}})
	got, err := w.adapter("web").Limits(t.Context())
	if err != nil || len(got) != 1 || got[0].Most != 1000 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhoMayNotAskForLimitsIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Faults.Add(fault.Rule{Operation: "DescribeAccountLimits", Effect: fault.Deny()})
	_, err := w.adapter("web").Limits(t.Context())
	isConfiguration(t, err)
	says(t, err, "may not elasticloadbalancing:DescribeAccountLimits on the account", "add that action to its policy")
	_, err = w.adapter("web", "wbe").Limits(t.Context())
	says(t, err, "DescribeAccountLimits")
}
