package autoscaling_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/model"
	server "github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/fault"
)

const web = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"

func (w world) describe(t *testing.T) model.ScalingGroup {
	t.Helper()
	g, err := w.Describe(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAGroupAsAWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Min: 1, Desired: 1, TargetGroups: []string{web}, Hooks: []server.Hook{
		{Name: "farewell", Transition: server.Terminating, Heartbeat: time.Minute}}})
	id := w.wait(t, model.LifecycleInService)
	want := model.ScalingGroup{Name: "shop", Least: 1, Desired: 1, Most: 4, TargetGroups: []string{web},
		Instances: []model.ScalingInstance{{ID: id, Lifecycle: model.LifecycleInService, Healthy: true}}}
	if diff := cmp.Diff(want, w.describe(t)); diff != "" {
		t.Error(diff)
	}
	if m := w.membership(t, id); m.Desired != 1 || m.Most != 4 {
		t.Errorf("%+v", m)
	}

	if err := w.SetUnhealthy(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.wait(t, model.LifecycleTerminatingWait)
	for _, i := range w.describe(t).Instances {
		if i.Healthy != (i.ID != id) {
			t.Errorf("%+v", i)
		}
	}
}

func TestAGroupThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{})
	for _, name := range []string{"shpo", ""} {
		_, err := w.Describe(t.Context(), name)
		if !errors.Is(err, model.ErrConfiguration) {
			t.Errorf("%q: no model.ErrConfiguration: %v", name, err)
		}
		says(t, err, "there is no Auto Scaling group "+name, "us-east-1")
	}
	for _, act := range []error{w.EnterStandby(t.Context(), "shpo", "i-0aaaaaaaaaaaaaaaa"), w.ExitStandby(t.Context(), "shpo", "i-0aaaaaaaaaaaaaaaa")} {
		if !errors.Is(act, model.ErrConfiguration) {
			t.Errorf("no model.ErrConfiguration: %v", act)
		}
		says(t, act, "there is no Auto Scaling group shpo")
	}
}

func TestIntoStandbyAndBackAsOftenAsOneLikes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1})
	id := w.wait(t, model.LifecycleInService)
	for range 2 {
		if err := w.EnterStandby(t.Context(), "shop", id); err != nil {
			t.Fatal(err)
		}
	}
	w.wait(t, model.LifecycleStandby)
	if err := w.EnterStandby(t.Context(), "shop", id); err != nil {
		t.Error(err)
	}
	if g := w.describe(t); g.Desired != 0 || len(g.Instances) != 1 {
		t.Errorf("on standby: %+v", g)
	}
	for range 2 {
		if err := w.ExitStandby(t.Context(), "shop", id); err != nil {
			t.Fatal(err)
		}
	}
	w.wait(t, model.LifecycleInService)
	if err := w.ExitStandby(t.Context(), "shop", id); err != nil {
		t.Error(err)
	}
	if g := w.describe(t); g.Desired != 1 || len(g.Instances) != 1 {
		t.Errorf("back again: %+v", g)
	}
}

// The SDK asks again, and is told that the instance is not in service: that it is where it was to go counts.
func TestAStandbyWhoseAnswerIsLostCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 2})
	id := w.wait(t, model.LifecycleInService)
	enter := w.Faults.Add(fault.Rule{Operation: "EnterStandby", Count: 1, Effect: fault.CutAfter()})
	if err := w.EnterStandby(t.Context(), "shop", id); err != nil {
		t.Fatal(err)
	}
	w.wait(t, model.LifecycleStandby)
	exit := w.Faults.Add(fault.Rule{Operation: "ExitStandby", Count: 1, Effect: fault.CutAfter()})
	if err := w.ExitStandby(t.Context(), "shop", id); err != nil {
		t.Fatal(err)
	}
	if g := w.describe(t); g.Desired != 2 {
		t.Errorf("%+v", g)
	}
	if enter.Hits() != 1 || exit.Hits() != 1 {
		t.Error("nothing was cut")
	}
}

func TestStandbyIsRefusedInWords(t *testing.T) {
	t.Parallel()
	t.Run("below the minimum", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, server.GroupConfig{Min: 1, Desired: 1})
		err := w.EnterStandby(t.Context(), "shop", w.wait(t, model.LifecycleInService))
		if !errors.Is(err, model.ErrConfiguration) {
			t.Errorf("no model.ErrConfiguration: %v", err)
		}
		says(t, err, "group shop wants 1 in service, and its MinSize is 1: lower MinSize to 0")
	})
	t.Run("above the maximum", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, server.GroupConfig{Desired: 1})
		id := w.wait(t, model.LifecycleInService)
		if err := w.EnterStandby(t.Context(), "shop", id); err != nil {
			t.Fatal(err)
		}
		w.wait(t, model.LifecycleStandby)
		_, err := sdk.NewFromConfig(w.session.Config).SetDesiredCapacity(t.Context(), &sdk.SetDesiredCapacityInput{
			AutoScalingGroupName: aws.String("shop"), DesiredCapacity: aws.Int32(4)})
		if err != nil {
			t.Fatal(err)
		}
		err = w.ExitStandby(t.Context(), "shop", id)
		if !errors.Is(err, model.ErrConfiguration) {
			t.Errorf("no model.ErrConfiguration: %v", err)
		}
		says(t, err, "group shop wants 4 in service without it, and its MaxSize is 4")
	})
	t.Run("in another state", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, server.GroupConfig{Desired: 1, Hooks: []server.Hook{hook(time.Minute)}})
		id := w.wait(t, model.LifecyclePendingWait)
		err := w.EnterStandby(t.Context(), "shop", id)
		if errors.Is(err, model.ErrConfiguration) {
			t.Errorf("it passes by itself: %v", err)
		}
		says(t, err, id+" of group shop is Pending:Wait", "InService")
	})
	t.Run("of another group", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, server.GroupConfig{})
		says(t, w.EnterStandby(t.Context(), "shop", "i-0aaaaaaaaaaaaaaaa"), "i-0aaaaaaaaaaaaaaaa is not in group shop")
		says(t, w.ExitStandby(t.Context(), "shop", "i-0aaaaaaaaaaaaaaaa"), "i-0aaaaaaaaaaaaaaaa is not in group shop")
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, server.GroupConfig{})
		w.Faults.Add(fault.Rule{Service: server.Name, Effect: fault.Deny()})
		_, describe := w.Describe(t.Context(), "shop")
		for action, err := range map[string]error{
			"DescribeAutoScalingGroups on group shop":                    describe,
			"EnterStandby on instance i-0aaaaaaaaaaaaaaaa of group shop": w.EnterStandby(t.Context(), "shop", "i-0aaaaaaaaaaaaaaaa"),
			"ExitStandby on instance i-0aaaaaaaaaaaaaaaa of group shop":  w.ExitStandby(t.Context(), "shop", "i-0aaaaaaaaaaaaaaaa"),
		} {
			if !errors.Is(err, model.ErrConfiguration) {
				t.Errorf("no model.ErrConfiguration: %v", err)
			}
			says(t, err, "may not autoscaling:"+action)
		}
	})
}

func TestTheGroupOfAnInstance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1})
	for id, want := range map[string]string{w.wait(t, model.LifecycleInService): "shop", "i-00000000000000000": ""} {
		if got, err := w.GroupOf(t.Context(), id); got != want || err != nil {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
}
