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

// labelled is a parameter with a history, and with what was labelled.
type labelled struct {
	Parameters
	history []model.Version
	err     error
	at      int64
}

func (p *labelled) History(context.Context, int) ([]model.Version, error) { return p.history, p.err }
func (p *labelled) Label(_ context.Context, version int64) error          { p.at = version; return nil }

// A parameter that was deleted and made anew has other versions with the same numbers.
func TestOnlyTheVersionThatStableCameFromIsLabelled(t *testing.T) {
	t.Parallel()
	stable := rollout.Release{ID: rollout.ID{Number: 3}, Revision: strings.Repeat("a", 40), Ref: "main"}
	say := func(revision string) string { return `{"schema":1,"ref":"main","revision":"` + revision + `"}` }
	for name, c := range map[string]struct {
		says  string
		err   error
		wrong string
	}{
		"the deploy that it came from": {says: say(stable.Revision)},
		"the ref that it came from":    {says: "main"},
		"another revision":             {says: say(strings.Repeat("b", 40)), wrong: "made anew"},
		"another ref":                  {says: "v1", wrong: "made anew"},
		"no release":                   {says: "{", wrong: "made anew"},
		"the history can't be read":    {says: "main", err: errors.New("no way"), wrong: "no way"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &labelled{history: []model.Version{{Number: 4, Value: "v9"}, {Number: 3, Value: c.says}}, err: c.err}
			a := New(Options{Log: zap.NewNop(), Parameters: p})
			err := a.keepMirror(t.Context(), stable)
			switch {
			case c.wrong == "" && (err != nil || p.at != 3):
				t.Errorf("version %d is labelled, %v", p.at, err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong) || p.at != 0):
				t.Errorf("version %d is labelled, %v", p.at, err)
			}
		})
	}
}
