package agent

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// A port may be taken while one release serves and nobody looks: the turn in which another is wanted has to know.
func TestWhoListensIsSeenInTheTurnThatMayStartSomething(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		a := b.agent()
		ctx, cancel := context.WithCancel(t.Context())
		defer a.wait.Wait()
		defer cancel()
		w := a.recall()
		w.fleet.known = true
		wants := func(r model.Release) {
			w.fleet.decision.Goal = rollout.Release{ID: rollout.ID{Number: r.Number}, Revision: r.Revision}
			a.turn(ctx, w)
		}
		b.deaf = io.ErrUnexpectedEOF
		wants(two)
		if w.problems["sockets"] == "" {
			t.Error("nobody was told that it is not known who listens")
		}
		wants(one)
		if said := w.problems["sockets"]; said != "" {
			t.Errorf("it is a problem yet, and nobody asks: %s", said)
		}
		b.ports, b.deaf = map[int]bool{8081: true}, nil
		wants(two)
		if !w.observed.Listening[8081] {
			t.Errorf("somebody listens on 8081, and the plan knew of %v", w.observed.Listening)
		}
	})
}
