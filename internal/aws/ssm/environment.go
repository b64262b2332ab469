package ssm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/bootagent/bootagent/internal/aws/session"
)

// The bounds of an environment: Linux starts no process with more than 2 MB of
// arguments and environment, by default; values themselves are 8 KB at most in SSM.
const (
	maxVariables   = 1000
	maxEnvironment = 1 << 20
	maxPages       = 4 * maxVariables / 10 // AWS fills pages of ten as it likes
)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Environment gives the variables below the app's path, by name, decrypted:
// the parameter <path>/DATABASE_URL is the variable DATABASE_URL. No path
// gives none. A parameter that is no variable is an error, not left out.
func (p *Parameters) Environment(ctx context.Context) (map[string]string, error) {
	variables := map[string]string{}
	path := strings.TrimRight(p.options.Environment, "/")
	if p.options.Environment == "" {
		return variables, nil
	}
	if !strings.HasPrefix(path, "/") {
		return nil, wrong("the path of the environment must start with / and name a folder, %q does not", p.options.Environment)
	}
	var size int
	var next *string
	for range maxPages {
		page, err := session.Do(ctx, p.session, session.Call{Action: "ssm:GetParametersByPath", Resource: "parameters below " + path},
			func(ctx context.Context) (*sdk.GetParametersByPathOutput, error) {
				return p.client.GetParametersByPath(ctx, &sdk.GetParametersByPathInput{
					Path: &path, Recursive: aws.Bool(true), WithDecryption: aws.Bool(true), MaxResults: aws.Int32(10), NextToken: next,
				})
			})
		if err != nil {
			return nil, err
		}
		for _, parameter := range page.Parameters {
			name, value := aws.ToString(parameter.Name), aws.ToString(parameter.Value)
			key := strings.TrimPrefix(name, path+"/")
			switch {
			case strings.Contains(key, "/"):
				return nil, wrong("parameter %s lies deeper than %s: variables lie directly below it, so move it", name, path)
			case !variable.MatchString(key):
				return nil, wrong("parameter %s can't be a variable: %q is no name for one (letters, digits and _, not beginning with a digit)", name, key)
			case strings.ContainsRune(value, 0):
				return nil, wrong("parameter %s can't be a variable: its value holds a NUL byte", name)
			}
			variables[key] = value
			size += len(key) + len(value) + 2
		}
		if len(variables) > maxVariables || size > maxEnvironment {
			return nil, wrong("there are too many parameters below %s for an environment: more than %d variables or %d KB",
				path, maxVariables, maxEnvironment>>10)
		}
		if aws.ToString(page.NextToken) == "" {
			return variables, nil
		}
		next = page.NextToken
	}
	return nil, fmt.Errorf("reading the parameters below %s does not end: more than %d pages", path, maxPages)
}

// Secret gives the value of one parameter, decrypted, for the agent's own use (a token for the git host).
// A missing one is model.ErrConfiguration.
func (p *Parameters) Secret(ctx context.Context, name string) (string, error) {
	out, err := session.Do(ctx, p.session, session.Call{Action: "ssm:GetParameter", Resource: "parameter " + name},
		func(ctx context.Context) (*sdk.GetParameterOutput, error) {
			return p.client.GetParameter(ctx, &sdk.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
		})
	var missing *types.ParameterNotFound
	var noVersion *types.ParameterVersionNotFound
	if errors.As(err, &missing) || errors.As(err, &noVersion) {
		return "", &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
			"parameter %s does not exist in %s: make it, with aws ssm put-parameter --name %s --type SecureString --value file:///dev/stdin",
			name, p.session.Config.Region, name)}
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Parameter.Value), nil
}

func wrong(format string, args ...any) error {
	return &session.Error{Kind: session.Configuration, Sentence: fmt.Sprintf(format, args...)}
}
