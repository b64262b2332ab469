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
	secrets, err := a.Parameters.Environment(ctx)
	if err != nil {
		return fmt.Sprintf("the app failed; what it said is in its log on the instance, and not shown because the secrets to be masked in it can't be read: %s", err)
	}
	for name, value := range secrets {
		if len(value) >= shortest {
			said = strings.ReplaceAll(said, value, "["+name+"]")
		}
	}
	return said
}
