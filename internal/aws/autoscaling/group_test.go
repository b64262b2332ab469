package autoscaling_test

import (
	"errors"
	"testing"

	"github.com/bootagent/bootagent/internal/model"
	server "github.com/bootagent/bootagent/internal/region/autoscaling"
)

func TestAGroupIsDescribedWithAllItsInstances(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Min: 1, Desired: 2})
	id := w.wait(t, model.LifecycleInService)
	got, err := w.Describe(t.Context(), "shop")
	if err != nil || got.Name != "shop" || got.Least != 1 || got.Desired != 2 || got.Most != 4 || len(got.Instances) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	found := false
	for _, i := range got.Instances {
		found = found || i == model.ScalingInstance{ID: id, Lifecycle: model.LifecycleInService, Healthy: true}
	}
	if !found {
		t.Errorf("%s is not among %+v", id, got.Instances)
	}
	_, err = w.Describe(t.Context(), "shpo")
	if !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("got %v", err)
	}
	says(t, err, "no Auto Scaling group shpo", "describe-auto-scaling-groups")
}

func TestStandbyAndBackAreTheSameASecondTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1})
	id := w.wait(t, model.LifecycleInService)
	if err := w.ExitStandby(t.Context(), "shop", id); err != nil {
		t.Errorf("an instance that is in service already: %v", err)
	}
	for range 2 {
		if err := w.EnterStandby(t.Context(), "shop", id); err != nil {
			t.Fatal(err)
		}
	}
	w.wait(t, model.LifecycleStandby)
	if got, err := w.Describe(t.Context(), "shop"); err != nil || got.Desired != 0 {
		t.Errorf("no other is to be launched in its place: got %+v, %v", got, err)
	}
	for range 2 {
		if err := w.ExitStandby(t.Context(), "shop", id); err != nil {
			t.Fatal(err)
		}
	}
	w.wait(t, model.LifecycleInService)
	if got, err := w.Describe(t.Context(), "shop"); err != nil || got.Desired != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAGroupAtItsMinimumPutsNoneInStandby(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Min: 1, Desired: 1})
	id := w.wait(t, model.LifecycleInService)
	err := w.EnterStandby(t.Context(), "shop", id)
	says(t, err, "MinSize 1", "let MinSize be lower")
}
