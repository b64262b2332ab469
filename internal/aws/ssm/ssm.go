// Package ssm reads the intent from Parameter Store, puts it there, and keeps its mirror:
// the release parameter, its label stable, and the app's environment and secrets.
package ssm

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// label is the mirror of the stable release.
const label = "stable"

// Options name the parameters.
type Options struct {
	// Release is the release parameter's name, "/bootagent/shop/prod/release".
	Release string
	// Environment is the path of the app's variables, "/bootagent/shop/prod/env"; empty means none.
	Environment string
}

// Parameters is Parameter Store.
type Parameters struct {
	session *session.Session
	client  *sdk.Client
	options Options
	// apart is set once one request for a name and its label did not work.
	apart atomic.Bool
}

// New makes the adapter; it asks nothing yet.
func New(s *session.Session, o Options) *Parameters {
	return &Parameters{session: s, client: sdk.NewFromConfig(s.Config), options: o}
}

// Read gives the release parameter's newest version and the one labelled
// stable. A missing parameter is model.ErrNoRelease; a missing label leaves Stable nil.
func (p *Parameters) Read(ctx context.Context) (model.Published, error) {
	name, labelled := p.options.Release, p.options.Release+":"+label
	if !p.apart.Load() {
		out, err := p.get(ctx, name, labelled)
		switch {
		// GetParameters takes ten names, selectors among them; whether the same name twice is documented nowhere.
		case refused(err), err == nil && len(out.Parameters)+len(out.InvalidParameters) != 2:
			p.apart.Store(true)
		case err != nil:
			return model.Published{}, err
		default:
			return p.published(sorted(out.Parameters))
		}
	}
	newest, err := p.get(ctx, name)
	if err != nil {
		return model.Published{}, err
	}
	stable, err := p.get(ctx, labelled)
	if err != nil {
		return model.Published{}, err
	}
	return p.published(first(newest.Parameters), first(stable.Parameters))
}

func (p *Parameters) get(ctx context.Context, names ...string) (*sdk.GetParametersOutput, error) {
	return session.Do(ctx, p.session, p.call("ssm:GetParameters"),
		func(ctx context.Context) (*sdk.GetParametersOutput, error) {
			return p.client.GetParameters(ctx, &sdk.GetParametersInput{Names: names})
		})
}

func first(all []types.Parameter) *types.Parameter {
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

// sorted tells the newest version from the labelled one: by the selector, or, for servers
// that don't repeat it (moto), by the number, since no label is on a version newer than the newest.
func sorted(all []types.Parameter) (newest, stable *types.Parameter) {
	for i := range all {
		switch one := &all[i]; {
		case aws.ToString(one.Selector) != "":
			stable = one
		case newest == nil:
			newest = one
		case one.Version > newest.Version:
			newest, stable = one, newest
		default:
			stable = one
		}
	}
	return newest, stable
}

// refused says whether AWS did not like the request itself.
func refused(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationException"
}

func (p *Parameters) published(newest, stable *types.Parameter) (model.Published, error) {
	if newest == nil {
		return model.Published{}, p.missing()
	}
	if newest.Type == types.ParameterTypeSecureString {
		return model.Published{}, &session.Error{Kind: session.Configuration, Sentence: fmt.Sprintf(
			"parameter %s is a SecureString, but a release is no secret: delete it and make it anew with --type String", p.options.Release)}
	}
	out := model.Published{Newest: version(newest)}
	if stable != nil {
		v := version(stable)
		out.Stable = &v
	}
	return out, nil
}

func (p *Parameters) missing() error {
	return fmt.Errorf("parameter %s does not exist in %s: make it, with aws ssm put-parameter --name %s --type String --value <branch, tag or SHA>: %w",
		p.options.Release, p.session.Config.Region, p.options.Release, model.ErrNoRelease)
}

func version(p *types.Parameter) model.Version {
	return model.Version{Number: p.Version, Value: aws.ToString(p.Value)}
}

// Label moves the label stable to that version of the release parameter. The version is
// always named: without one AWS labels whatever is newest by then.
func (p *Parameters) Label(ctx context.Context, version int64) error {
	if version < 1 {
		return fmt.Errorf("label version %d of %s: versions start at 1", version, p.options.Release)
	}
	out, err := session.Do(ctx, p.session, p.call("ssm:LabelParameterVersion"),
		func(ctx context.Context) (*sdk.LabelParameterVersionOutput, error) {
			return p.client.LabelParameterVersion(ctx, &sdk.LabelParameterVersionInput{
				Name: &p.options.Release, ParameterVersion: &version, Labels: []string{label},
			})
		})
	var noVersion *types.ParameterVersionNotFound
	var noParameter *types.ParameterNotFound
	switch {
	case errors.As(err, &noVersion):
		return fmt.Errorf("version %d of parameter %s is gone (was it deleted and made anew, or a hundred versions put since?): %w",
			version, p.options.Release, err)
	case errors.As(err, &noParameter):
		return fmt.Errorf("label version %d: parameter %s is gone: %w: %w", version, p.options.Release, model.ErrNoRelease, err)
	case err != nil:
		return err
	case len(out.InvalidLabels) > 0:
		return fmt.Errorf("label version %d of parameter %s: AWS refuses the label %q", version, p.options.Release, out.InvalidLabels)
	}
	return nil
}

func (p *Parameters) call(action string) session.Call {
	return session.Call{Action: action, Resource: "parameter " + p.options.Release}
}
