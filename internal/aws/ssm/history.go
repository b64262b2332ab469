package ssm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// History gives the versions of the release parameter, the newest first, limit at most (0: all; AWS keeps a hundred), each
// with who wrote it and when. A missing parameter is model.ErrNoRelease.
func (p *Parameters) History(ctx context.Context, limit int) ([]model.Version, error) {
	var all []model.Version // AWS gives the oldest first
	input := &sdk.GetParameterHistoryInput{Name: &p.options.Release, MaxResults: aws.Int32(50)}
	for {
		out, err := session.Do(ctx, p.session, p.call("ssm:GetParameterHistory"),
			func(ctx context.Context) (*sdk.GetParameterHistoryOutput, error) {
				return p.client.GetParameterHistory(ctx, input)
			})
		var missing *types.ParameterNotFound
		if errors.As(err, &missing) {
			return nil, fmt.Errorf("parameter %s: %w", p.options.Release, model.ErrNoRelease)
		}
		if err != nil {
			return nil, err
		}
		for _, v := range out.Parameters {
			all = append(all, model.Version{Number: v.Version, Value: aws.ToString(v.Value), At: aws.ToTime(v.LastModifiedDate), By: aws.ToString(v.LastModifiedUser)})
		}
		if input.NextToken = out.NextToken; aws.ToString(out.NextToken) == "" {
			break
		}
	}
	slices.SortFunc(all, func(a, b model.Version) int { return int(b.Number - a.Number) })
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, nil
}

// Put writes a new version of the release parameter, which it makes where there is none, and gives its number. The value is
// to be like no other: where it is not known whether it was written, a newest version with this very value says that it was.
func (p *Parameters) Put(ctx context.Context, value string) (int64, error) {
	const tries = 3
	for try := 1; ; try++ {
		out, err := session.Do(ctx, p.session, p.call("ssm:PutParameter"), func(ctx context.Context) (*sdk.PutParameterOutput, error) {
			return p.client.PutParameter(ctx, &sdk.PutParameterInput{
				Name: &p.options.Release, Value: &value, Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
			}, func(o *sdk.Options) { o.Retryer = aws.NopRetryer{} }) // a second try may be a second version
		})
		if err == nil {
			return out.Version, nil
		}
		var full *types.ParameterMaxVersionLimitExceeded
		if errors.As(err, &full) {
			return 0, fmt.Errorf("parameter %s has a hundred versions, and the oldest can't go while a label is on it: move the label stable, or delete the others (aws ssm unlabel-parameter-version): %w", p.options.Release, err)
		}
		if errors.Is(err, model.ErrConfiguration) || try == tries || ctx.Err() != nil || !ambiguous(err) {
			return 0, err
		}
		read, failed := p.Read(ctx)
		switch {
		case failed == nil && read.Newest.Value == value:
			return read.Newest.Number, nil
		case failed != nil && !errors.Is(failed, model.ErrNoRelease):
			return 0, errors.Join(fmt.Errorf("whether %s was written is unknown: look before you do it again: %w", p.options.Release, err), failed)
		}
	}
}

// ambiguous says whether another try is of use: AWS may have done it, or was too busy.
func ambiguous(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return true // no answer came
	}
	switch api.ErrorCode() {
	case "ThrottlingException", "TooManyUpdates", "InternalServerError", "InternalFailure", "ServiceUnavailable", "RequestTimeout":
		return true
	}
	return api.ErrorFault() == smithy.FaultServer
}
