package trial

import (
	"context"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/local"
)

// Status asks an instance's agent; false while it does not answer.
func (i *Instance) Status(ctx context.Context) (agent.Status, bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var s agent.Status
	return s, local.Get(ctx, i.Socket, &s) == nil
}

// Tell tells an instance's agent to do something: "drain" or "undrain".
func (i *Instance) Tell(ctx context.Context, verb string) error {
	return local.Post(ctx, i.Socket, verb)
}

// Watch calls changed with every status of every instance in which a person
// would see something new, until ctx ends.
func (t *Trial) Watch(ctx context.Context, changed func(id string, s agent.Status)) {
	type seen struct {
		state     string
		inService int64
		deploying int64
		problems  int
		failed    int
	}
	last := map[string]seen{}
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		for _, i := range t.Instances() {
			s, ok := i.Status(ctx)
			if !ok {
				continue
			}
			now := seen{s.State, s.InService.Number, s.Deploying.Number, len(s.Problems), len(s.Failed)}
			if last[i.ID] != now {
				last[i.ID] = now
				changed(i.ID, s)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
