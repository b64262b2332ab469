package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// fullGroup is a balancer whose target group takes no more, until it does.
type fullGroup struct {
	asked
	err error
}

func (g *fullGroup) Register(context.Context, string, int) error { return g.err }

// A quota is the account's: the release is tried again, and whoever waits for the rollout is told what it waits for.
func TestATargetGroupThatIsFullHoldsAReleaseUpAndMarksNoRevision(t *testing.T) {
	t.Parallel()
	full := &fullGroup{err: errors.New("target group shop has no room for i-1:8081 (TooManyTargets)")}
	a := New(Options{Identity: model.Identity{InstanceID: "i-1"}, Store: &box{}, Balancer: full, Log: zap.NewNop()})
	o, d, m := scenery(settled(newest(two), prepared(two), runs(two, 8081), passed(two, 8081))...)
	w := &world{id: model.Identity{InstanceID: "i-1"}, observed: o, desired: d, memory: m, problems: map[string]string{}, doing: map[Step]*activity{}}
	register := func() rollout.Self {
		a.remember(w, w.memory.Before(Register{two, 8081}))
		a.begin(t.Context(), w, Register{two, 8081})
		for len(w.doing) > 0 {
			(<-a.updates)(w)
		}
		return a.self(w, FleetRelease(two), false)
	}
	for range 3 {
		self := register()
		if len(w.memory.Failed) != 0 || !self.Failed.Release.IsZero() || !strings.Contains(self.Hindered, "no room for i-1:8081") {
			t.Fatalf("the fleet is told %+v, and failed here are %v", self, w.memory.Failed)
		}
	}
	retry := w.memory.Retries[Register{two, 8081}.String()]
	if steps := Plan(w.observed, w.desired, w.memory, retry.NotBefore); len(steps) != 1 || steps[0] != (Register{two, 8081}) || w.memory.InService != one {
		t.Errorf("it is to %v", steps)
	}
	full.err = nil
	if self := register(); self.Hindered != "" || !w.observed.Targets[8081].Registered {
		t.Errorf("after there was room: %+v, the targets are %v", self, w.observed.Targets)
	}
}
