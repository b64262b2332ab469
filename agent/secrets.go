package agent

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/mask"
	"github.com/bootagent/bootagent/internal/model"
)

// masked is what the app said, fit for a log, an error or the memory: without
// the values that its environment has from Parameter Store. Where these can't
// be read, what the app said is withheld.
func (a *Agent) masked(ctx context.Context, said string) string {
	if _, err := a.lastSecrets(ctx); err != nil {
		return fmt.Sprintf("the app failed; what it said is in its log on the instance, and not shown because the secrets to be masked in it can't be read: %s", err)
	}
	a.secrets.Lock()
	defer a.secrets.Unlock()
	return a.secrets.mask.Text(said)
}

// readSecrets reads the app's environment from Parameter Store, and keeps in
// mind what is to be masked from now on: also values that were changed since.
func (a *Agent) readSecrets(ctx context.Context) (map[string]string, error) {
	secrets, err := a.Parameters.Environment(ctx)
	if err != nil {
		return nil, err
	}
	a.secrets.Lock()
	defer a.secrets.Unlock()
	a.secrets.last = secrets
	more := false
	for name, value := range secrets {
		if _, had := a.secrets.names[value]; !had {
			a.secrets.names[value], more = name, true
		}
	}
	if more {
		a.secrets.mask = mask.New(a.secrets.names)
	}
	return secrets, nil
}

// ahead is for how long an environment that was read while a release was prepared is as good as one that is read when it starts.
const ahead = time.Minute

// readAhead reads the app's environment before it is needed. Where that fails the start reads it, and says why.
func (a *Agent) readAhead(ctx context.Context, rel model.Release) {
	ctx, cancel := context.WithTimeout(ctx, write)
	defer cancel()
	end := a.Spans.Begin("secrets", rel.Number)
	began := a.Now()
	_, err := a.readSecrets(ctx)
	end(err)
	if err == nil {
		a.secrets.Lock()
		defer a.secrets.Unlock()
		a.secrets.ahead, a.secrets.at = rel, began
	}
}

// readBefore gives what was read for a release while it was prepared, and false where that was too long ago.
func (a *Agent) readBefore(rel model.Release) (map[string]string, bool) {
	a.secrets.Lock()
	defer a.secrets.Unlock()
	return a.secrets.last, a.secrets.ahead == rel && a.Now().Sub(a.secrets.at) <= ahead
}

// secretsFor gives the app's environment for a start. What serves here, and crashed, gets it as it was read last where
// Parameter Store can't be reached: it must not stay down for that.
func (a *Agent) secretsFor(ctx context.Context, m Memory, rel model.Release) (map[string]string, error) {
	if secrets, ok := a.readBefore(rel); ok {
		return secrets, nil
	}
	secrets, err := a.readSecrets(ctx)
	if err == nil || ctx.Err() != nil || !m.Serving || m.InService.Number != rel.Number {
		return secrets, err
	}
	a.secrets.Lock()
	last := a.secrets.last
	a.secrets.Unlock()
	if last == nil {
		return nil, err
	}
	a.Log.Warn("the app's environment can't be read, so what serves is started again with what was read last", zap.Error(err))
	return last, nil
}

// lastSecrets gives the app's environment as it was read last, when a process was started. It is read where this agent
// has not read it yet. Don't change it.
func (a *Agent) lastSecrets(ctx context.Context) (map[string]string, error) {
	a.secrets.Lock()
	last := a.secrets.last
	a.secrets.Unlock()
	if last != nil {
		return last, nil
	}
	return a.readSecrets(ctx)
}
