package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// unreachable is a machine whose git server can't be reached.
type unreachable struct {
	*box
	tries atomic.Int64
}

func (u *unreachable) Resolve(context.Context, string) (string, error) {
	u.tries.Add(1)
	return "", errors.New("connection refused")
}

// byHand is Parameter Store with one version, which a person wrote.
type byHand struct{ parameters }

func (byHand) Read(context.Context) (model.Published, error) {
	return model.Published{Newest: model.Version{Number: 1, Value: "main"}}, nil
}

// A git server that is down for an hour is asked a few times, and not as often as the table can be read.
func TestARefThatCannotBeResolvedIsTriedAgainLaterEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &unreachable{box: &box{}}
		a := New(Options{
			Rules: Rules{App: "shop", FirstPort: 8080, LastPort: 8081}, Identity: model.Identity{InstanceID: "i-1", BootID: "b"}, Metadata: b,
			Parameters: byHand{}, Group: &groupOf{}, Records: kept{records: map[string]rollout.Record{}}, Shared: true, Policy: rollout.DefaultPolicy(),
			Preparer: b, Runner: b, Sockets: b, Store: b, Log: zap.NewNop(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		for range 3600 { // in steps, so that a loop without a pause is seen and not waited for
			if time.Sleep(time.Second); b.tries.Load() > 200 {
				break
			}
		}
		if n := b.tries.Load(); n < 10 || n > 120 {
			t.Errorf("it was asked %d times", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
