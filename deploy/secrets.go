package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bootagent/bootagent/deploy/build"
)

// Secrets are the app's variables in Parameter Store.
type Secrets interface {
	// Environment gives their values by name.
	Environment(ctx context.Context) (map[string]string, error)
}

// secrets reads the secrets that a build names. That one is missing is mended in Parameter Store, so it is not the revision's fault.
func (m *Machine) secrets(ctx context.Context, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if m.Secrets == nil {
		return nil, fmt.Errorf("the recipe's build.secrets names %s, and this agent reads no secrets", strings.Join(names, ", "))
	}
	ctx, cancel := context.WithTimeout(ctx, secretsPatience)
	defer cancel()
	all, err := m.Secrets.Environment(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the build's secrets: %w", err)
	}
	out := make(map[string]string, len(names))
	for _, name := range names {
		value, ok := all[name]
		parameter := strings.TrimRight(m.SecretsPath, "/") + "/" + name
		switch {
		case !ok:
			return nil, fmt.Errorf("the build wants the secret %s (build.secrets), and there is no parameter %s: make it, with "+
				"aws ssm put-parameter --name %s --type SecureString --value file:///dev/stdin", name, parameter, parameter)
		case len(value) < build.MinSecret:
			return nil, fmt.Errorf("the build's secret %s has less than %d bytes, too few to tell it from chance in what the build made: "+
				"put a longer value into %s, or, if it is no secret, into build.environment", name, build.MinSecret, parameter)
		}
		out[name] = value
	}
	return out, nil
}

// secretsPatience bounds the reading of secrets, the SDK's retries included.
const secretsPatience = time.Minute
