package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// groupOf is an Auto Scaling group as one instance sees it.
type groupOf struct {
	membership model.Membership
	completed  []model.HookResult
}

func (g *groupOf) Membership(context.Context, string) (model.Membership, error) {
	return g.membership, nil
}
func (g *groupOf) Heartbeat(context.Context, model.Membership, string) error { return nil }
func (g *groupOf) SetUnhealthy(context.Context, string) error                { return nil }
func (g *groupOf) Complete(_ context.Context, _ model.Membership, _ string, result model.HookResult) error {
	g.completed = append(g.completed, result)
	return nil
}

// TestAGroupThatRegistersInstancesItselfIsRefusedOnceItsHookIsOpen: an agent
// that ended before could not complete the hook, which would then time out.
func TestAGroupThatRegistersInstancesItselfIsRefusedOnceItsHookIsOpen(t *testing.T) {
	t.Parallel()
	for lifecycle, want := range map[model.Lifecycle]struct {
		ends      bool
		completed int
	}{
		model.LifecyclePending: {false, 0}, model.LifecyclePendingWait: {true, 1}, model.LifecyclePendingProceed: {true, 0},
	} {
		group := &groupOf{membership: model.Membership{Group: "shop", Lifecycle: lifecycle, LaunchHook: "boot", TargetGroups: []string{"arn:shop"}}}
		a := New(Options{Group: group, Log: zap.NewNop()})
		var ended error
		_, err := a.watchMembership(t.Context(), model.Identity{InstanceID: "i-1"}, make(chan model.Membership, 1), func(cause error) { ended = cause })
		if err == nil || !strings.Contains(err.Error(), "arn:shop") || !strings.Contains(err.Error(), "detach them") {
			t.Errorf("%s: got %v", lifecycle, err)
		}
		var terminal *TerminalError
		if errors.As(ended, &terminal) != want.ends || len(group.completed) != want.completed {
			t.Errorf("%s: it ended with %v, and completed the hook with %v", lifecycle, ended, group.completed)
		}
		for _, result := range group.completed {
			if result != model.HookAbandon {
				t.Errorf("%s: the hook was completed with %s", lifecycle, result)
			}
		}
	}
}
