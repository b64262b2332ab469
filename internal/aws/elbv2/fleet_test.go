package elbv2_test

import (
	"slices"
	"testing"

	"github.com/bootagent/bootagent/internal/model"
)

func TestAllTargetsOfAllGroupsAreSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.adapter("web", w.group(t, "api"))
	one, two := app(t), app(t)
	if err := b.Register(t.Context(), instance, one); err != nil {
		t.Fatal(err)
	}
	if err := w.adapter("web").Register(t.Context(), instance, two); err != nil {
		t.Fatal(err)
	}
	all, err := b.Targets(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("got %+v, %v", all, err)
	}
	others := slices.DeleteFunc(slices.Clone(all), func(h model.TargetHealth) bool { return h.Port == one })
	if len(others) != 1 || others[0].Group != w.web || others[0].InstanceID != instance || others[0].Port != two || !others[0].State.Registered() {
		t.Errorf("beside the port that both groups have: %+v", others)
	}
	_, err = w.adapter("none").Targets(t.Context())
	says(t, err, "none")
}
