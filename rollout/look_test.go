package rollout

import (
	"testing"

	"github.com/bootagent/bootagent/internal/model"
)

func TestAnInstanceIsHealthyWhereEveryTargetGroupSendsItRequests(t *testing.T) {
	t.Parallel()
	group := model.ScalingGroup{Desired: 4, Instances: []model.ScalingInstance{
		{ID: "i-both", Lifecycle: model.LifecycleInService, Healthy: true},
		{ID: "i-one", Lifecycle: model.LifecycleInService, Healthy: true},
		{ID: "i-boots", Lifecycle: model.LifecyclePendingWait, Healthy: true},
		{ID: "i-ends", Lifecycle: model.LifecycleTerminatingWait, Healthy: true},
	}}
	at := func(id, group string, port int, state model.TargetState) model.TargetHealth {
		return model.TargetHealth{Target: model.Target{Group: group, InstanceID: id, Port: port}, State: state}
	}
	targets := []model.TargetHealth{
		at("i-both", "a", 8080, model.TargetDraining), at("i-both", "a", 8081, model.TargetHealthy), at("i-both", "b", 8081, model.TargetHealthy),
		at("i-one", "a", 8080, model.TargetHealthy), at("i-one", "b", 8080, model.TargetUnhealthy),
		at("i-boots", "a", 8080, model.TargetInitial),
	}
	g := Look(group, targets, 2, 7)
	want := []Member{{ID: "i-both", InService: true, Healthy: true}, {ID: "i-one", InService: true}, {ID: "i-boots"}}
	if !g.Known || g.At != 7 || g.Desired != 4 || len(g.Members) != len(want) {
		t.Fatalf("got %+v", g)
	}
	for i, m := range g.Members {
		if m != want[i] {
			t.Errorf("got %+v, want %+v", m, want[i])
		}
	}
	if g := Look(group, nil, 0, 7); !g.Members[1].Healthy || g.Members[2].Healthy {
		t.Errorf("without a balancer the group's word counts, for who is in service: %+v", g.Members)
	}
}
