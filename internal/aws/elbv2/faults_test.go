package elbv2_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	server "github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/fault"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("throttled, then fine", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.Faults.Add(fault.Rule{Operation: "RegisterTargets", Count: 1, Effect: fault.Throttle()})
		if err := w.adapter("web").Register(t.Context(), instance, 80); err != nil {
			t.Error(err)
		}
	})
	t.Run("the answer is lost", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		port := app(t)
		for _, operation := range []string{"RegisterTargets", "DeregisterTargets"} {
			w.Faults.Add(fault.Rule{Operation: operation, Count: 1, Effect: fault.CutAfter()})
		}
		b := w.adapter("web")
		if err := b.Register(t.Context(), instance, port); err != nil {
			t.Fatal(err)
		}
		state(t, b, port, model.TargetHealthy)
		if err := b.Deregister(t.Context(), instance, port); err != nil {
			t.Fatal(err)
		}
		state(t, b, port, model.TargetDraining, model.TargetUnused)
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.Faults.Add(fault.Rule{Service: server.SigningName, Effect: fault.Deny()})
		b := w.adapter(w.web)
		for operation, err := range map[string]error{
			"DescribeTargetGroups": second(b.Groups(t.Context())),
			"DescribeTargetHealth": errors.Join(second(b.Health(t.Context(), instance, []int{80})), second(b.Targets(t.Context()))),
			"RegisterTargets":      b.Register(t.Context(), instance, 80),
			"DeregisterTargets":    b.Deregister(t.Context(), instance, 80),
		} {
			isConfiguration(t, err)
			says(t, err, fmt.Sprintf("may not elasticloadbalancing:%s on target group %s", operation, w.web))
		}
	})
	t.Run("no answer", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.session.Timeout = 300 * time.Millisecond
		w.Faults.Add(fault.Rule{Operation: "DescribeTargetHealth", Effect: fault.Hang()})
		_, err := w.adapter(w.web).Health(t.Context(), instance, []int{80})
		says(t, err, "elasticloadbalancing:DescribeTargetHealth on target group "+w.web, "got no answer within")
	})
}
