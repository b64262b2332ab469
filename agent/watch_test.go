package agent

import (
	"context"
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// asked is a balancer that notes what it is asked for.
type asked struct{ calls []string }

func (b *asked) Groups(context.Context) ([]model.TargetGroup, error) {
	b.calls = append(b.calls, "groups")
	return []model.TargetGroup{{Name: "shop", Port: 9000}}, nil
}

func (b *asked) Health(context.Context, string, []int) ([]model.TargetHealth, error) {
	b.calls = append(b.calls, "health")
	return nil, nil
}

func (b *asked) Register(context.Context, string, int) error   { return nil }
func (b *asked) Deregister(context.Context, string, int) error { return nil }

// With a thousand others that boot the answer to each question is long in coming: who knows its targets can be registered.
func TestAnInstanceThatBootsAsksForItsTargetsFirst(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rules Rules
		want  []string
	}{
		{Rules{Balanced: true, FirstPort: 8080, LastPort: 8080}, []string{"health", "groups", "health", "health"}},
		{Rules{Attached: true}, []string{"groups", "health", "health", "health"}}, // there the groups say on which port
	} {
		balancer := &asked{}
		a := New(Options{Balancer: balancer, Rules: test.rules, Log: zap.NewNop()})
		w := &world{desired: Desired{Rules: test.rules}, problems: map[string]string{}}
		ctx, cancel := context.WithCancel(t.Context())
		a.goes(func() {
			for {
				select {
				case update := <-a.updates:
					update(w)
				case <-ctx.Done():
					return
				}
			}
		})
		for range 3 {
			if _, err := a.watchTargets(ctx, model.Identity{InstanceID: "i-1"}); err != nil {
				t.Error(err)
			}
		}
		cancel()
		a.wait.Wait()
		if !slices.Equal(balancer.calls, test.want) || len(w.groups) != 1 {
			t.Errorf("%+v: it asks for %v", test.rules, balancer.calls)
		}
	}
}
