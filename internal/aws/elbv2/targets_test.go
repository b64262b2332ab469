package elbv2_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/model"
)

func TestEveryTargetOfEveryGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api, good, bad := w.group(t, "api"), app(t), 1 // nothing serves on port 1
	if got, err := w.adapter("web", api).Targets(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("of empty groups: %v, %v", got, err)
	}
	b := w.adapter("web")
	for _, port := range []int{good, bad} {
		if err := b.Register(t.Context(), instance, port); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.adapter(api).Register(t.Context(), instance, good); err != nil {
		t.Fatal(err)
	}
	state(t, b, good, model.TargetHealthy)
	state(t, b, bad, model.TargetUnhealthy)
	before := w.Counts()["elasticloadbalancing:DescribeTargetHealth"]
	all, err := w.adapter(api, "web").Targets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := w.Counts()["elasticloadbalancing:DescribeTargetHealth"] - before; n != 2 {
		t.Errorf("%d requests", n)
	}
	got := map[model.Target]string{}
	for _, h := range all {
		got[h.Target] = fmt.Sprintf("%s %s", h.State, h.Reason)
	}
	want := map[model.Target]string{
		{Group: w.web, InstanceID: instance, Port: good}: "healthy ",
		{Group: w.web, InstanceID: instance, Port: bad}:  "unhealthy Target.FailedHealthChecks",
		{Group: api, InstanceID: instance, Port: good}:   "unused Target.NotInUse", // no listener forwards to it
	}
	if diff := cmp.Diff(want, got); diff != "" || len(all) != 3 || all[0].Group != api {
		t.Errorf("%v\n%s", all, diff)
	}
}

func TestTargetsOfAMissingGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.web[:len(w.web)-4] + "0000"
	for _, name := range []string{"wbe", gone} {
		got, err := w.adapter("web", name).Targets(t.Context())
		isConfiguration(t, err)
		says(t, err, "there is no target group "+name)
		if got != nil {
			t.Errorf("half an answer: %v", got)
		}
	}
}
