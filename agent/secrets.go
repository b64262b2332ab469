package agent

import (
	"context"
	"fmt"
	"strings"
)

// shortest is the length in bytes from which a value of the environment is
// masked: a port or "true" is no secret, and masking it would garble a text.
const shortest = 6

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
	for value, name := range a.secrets.names {
		said = strings.ReplaceAll(said, value, "["+name+"]")
	}
	return said
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
	for name, value := range secrets {
		if len(value) >= shortest {
			a.secrets.names[value] = name
		}
	}
	return secrets, nil
}
