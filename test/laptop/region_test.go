package laptop_test

import (
	"net"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/trial"
)

// In these tests the region misbehaves; an instance comes into service all the same, only later.
func TestABootEndsInServiceAlthoughTheRegionMisbehaves(t *testing.T) {
	t.Parallel()
	const elb, asg = "elasticloadbalancing", "autoscaling"
	cases := []struct {
		name  string
		rules []fault.Rule
	}{
		{"Parameter Store throttles", []fault.Rule{{Service: "ssm", Count: 8, Effect: fault.Throttle()}}},
		{"Parameter Store hangs once", []fault.Rule{{Service: "ssm", Count: 1, Effect: fault.Delay(4 * time.Second)}}},
		{"RegisterTargets is cut after its effect", []fault.Rule{{Service: elb, Operation: "RegisterTargets", Count: 4, Effect: fault.CutAfter()}}},
		{"DescribeTargetHealth fails for a while", []fault.Rule{{Service: elb, Operation: "DescribeTargetHealth", Count: 10, Effect: fault.ServerError()}}},
		{"DescribeTargetHealth fails while the target is waited for", []fault.Rule{{Service: elb, Operation: "DescribeTargetHealth", Skip: 1, Count: 10, Effect: fault.ServerError()}}},
		{"DescribeTargetGroups is denied at first", []fault.Rule{{Service: elb, Operation: "DescribeTargetGroups", Count: 2, Effect: fault.Deny()}}},
		{"the hook's completion is cut after its effect", []fault.Rule{{Service: asg, Operation: "CompleteLifecycleAction", Count: 4, Effect: fault.CutAfter()}}},
		{"Auto Scaling throttles", []fault.Rule{{Service: asg, Count: 8, Effect: fault.Throttle()}}},
		{"every third call fails", []fault.Rule{
			{Probability: 0.2, Seed: 1, Effect: fault.ServerError()},
			{Probability: 0.2, Seed: 2, Effect: fault.CutAfter()},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.put(l.commit("main"))
			hits := l.disturb(c.rules...)
			l.launch()
			i := l.only()
			l.until("in service, and stable", func() error { return l.stable(i, 1) })
			hits(t)
			if s := l.status(i); len(s.Failed) > 0 {
				t.Errorf("the revision is blamed for it: %v", s.Failed)
			}
		})
	}
}

// disturb puts rules in force for the calls of instances, not for those of the test. What it returns says whether each
// disturbed something.
func (l *lab) disturb(rules ...fault.Rule) (hits func(*testing.T)) {
	var active []*fault.Active
	for _, rule := range rules {
		rule.When = func(c wire.Call) bool { return c.Principal.Instance != "" }
		active = append(active, l.Region.Faults.Add(rule))
	}
	return func(t *testing.T) {
		t.Helper()
		for n, a := range active {
			if a.Hits() == 0 {
				t.Errorf("rule %d disturbed no call", n)
			}
		}
	}
}

func TestAHandoverLosesNothingAlthoughTheRegionMisbehaves(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	traffic := l.startLoad()
	hits := l.disturb(
		fault.Rule{Probability: 0.15, Seed: 1, Effect: fault.Throttle()},
		fault.Rule{Probability: 0.15, Seed: 2, Effect: fault.ServerError()},
		fault.Rule{Probability: 0.15, Seed: 3, Effect: fault.CutBefore()},
		fault.Rule{Probability: 0.15, Seed: 4, Effect: fault.CutAfter()},
	)
	l.commit("main")
	l.put("main")
	l.until("on release 2", func() error { return l.settled(i, 2) })
	l.until("labelled", func() error { return l.labelled(2) })
	hits(t)
	if answers := traffic.stop(); answers["1"] == 0 || answers["2"] == 0 {
		t.Errorf("both releases should have answered: %v", answers)
	}
	if s := l.status(i); len(s.Failed) > 0 {
		t.Errorf("the revision is blamed for it: %v", s.Failed)
	}
}

func TestABootWaitsForAMetadataServiceThatComesLate(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) {
		o.IMDS = func(i *imds.Options) { i.Addr, i.Delay = freeAddr(t), 3*time.Second }
	})
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	if n := l.machine(i).Starts(); n != 1 {
		t.Errorf("the agent did not wait: it was started %d times", n)
	}
}

// freeAddr is an address on loopback where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
