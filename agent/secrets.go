package agent

import (
	"context"
	"fmt"

	"github.com/bootagent/bootagent/internal/mask"
)

// masked is what the app said, fit for a log, an error or the memory: without
// the values that its environment has from Parameter Store. Where these can't
// be read, what the app said is withheld.
func (a *Agent) masked(ctx context.Context, said string) string {
	a.secrets.Lock()
	known := a.secrets.known
	a.secrets.Unlock()
	if !known {
		if _, err := a.readSecrets(ctx); err != nil {
			return fmt.Sprintf("the app failed; what it said is in its log on the instance, and not shown because the secrets to be masked in it can't be read: %s", err)
		}
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
	a.secrets.known = true
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
