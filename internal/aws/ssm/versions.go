package ssm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

const (
	// puts is how often a release is put where it is not known what became of the attempt before.
	puts = 3
	// settle is how long is waited before the versions are looked through for one whose put had no answer: AWS
	// may be at work on it still, and reads of Parameter Store may be a moment behind.
	settle = time.Second

	// AWS keeps the newest hundred versions, and gives fifty in an answer at most.
	// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
	maxVersions     = 100
	historyPage     = 50
	maxHistoryPages = 10 // AWS fills pages as it likes
)

// Put makes a version of the release parameter, and the parameter where there is none yet, and gives the version's number.
//
// One call makes one version. Where it is not known what became of an attempt (no answer, or a failure inside AWS) the version
// is looked for by its value among those that were made since, and put again only if it is not there; where even that look
// fails, the error says that there may be one. A nonce in the value tells it from what others put at the same time.
func (p *Parameters) Put(ctx context.Context, value string) (int64, error) {
	before, err := p.get(ctx, p.options.Release)
	if err != nil {
		return 0, err
	}
	var newest int64
	if v := first(before.Parameters); v != nil {
		newest = v.Version
	}
	for attempt := 1; ; attempt++ {
		out, err := session.Do(ctx, p.session, p.call("ssm:PutParameter"),
			func(ctx context.Context) (*sdk.PutParameterOutput, error) {
				return p.client.PutParameter(ctx, &sdk.PutParameterInput{
					Name: &p.options.Release, Value: &value, Type: types.ParameterTypeString, Tier: types.ParameterTierStandard,
					Overwrite: aws.Bool(true),
				}, onlyUnapplied)
			})
		if err == nil {
			return out.Version, nil
		}
		if !ambiguous(err) {
			return 0, p.refusedPut(err)
		}
		number, look := p.madeSince(ctx, newest, value)
		switch {
		case look != nil:
			return 0, &session.Error{Kind: session.Reach, Err: err, Sentence: fmt.Sprintf(
				"%v; whether parameter %s has that version now is not known (%v): look at its history before you ask for it again",
				err, p.options.Release, look)}
		case number != 0:
			return number, nil
		case attempt == puts:
			return 0, fmt.Errorf("%w; it was tried %d times, and none of them made a version", err, puts)
		}
	}
}

// madeSince gives the number of the version that has this value, of those newer than newest; 0 for none.
func (p *Parameters) madeSince(ctx context.Context, newest int64, value string) (int64, error) {
	select {
	case <-ctx.Done():
		return 0, fmt.Errorf("the look for it was called off: %w", ctx.Err())
	case <-time.After(settle):
	}
	all, err := p.History(ctx, 0)
	if err != nil && !errors.Is(err, model.ErrNoRelease) {
		return 0, err
	}
	n := slices.IndexFunc(all, func(v model.Version) bool { return v.Number > newest && v.Value == value })
	if n < 0 {
		return 0, nil
	}
	return all[n].Number, nil
}

// ambiguous says whether a call may have been carried out although it failed.
func ambiguous(err error) bool {
	var e *session.Error
	return errors.Is(err, context.Canceled) || errors.As(err, &e) && e.Kind == session.Reach
}

// refusedPut explains what is to be done about a put that AWS refused.
func (p *Parameters) refusedPut(err error) error {
	var full *types.ParameterMaxVersionLimitExceeded
	var mismatch *types.HierarchyTypeMismatchException
	switch {
	case errors.As(err, &full):
		return &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
			"parameter %s has its %d versions, and the oldest can't make room because it carries a label, %s if nobody set another: "+
				"let a newer release become stable, which takes the label along, or take it off, with aws ssm unlabel-parameter-version "+
				"--name %s --labels %s --parameter-version <the oldest>: instances that launch then have no stable release until there is one (%s)",
			p.options.Release, maxVersions, label, p.options.Release, label, full.ErrorMessage())}
	case errors.As(err, &mismatch):
		return &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
			"parameter %s is no String (%s): delete it and make it anew with --type String", p.options.Release, mismatch.ErrorMessage())}
	}
	return err
}

// onlyUnapplied lets the SDK repeat a call only where AWS has said that it did not carry it out.
func onlyUnapplied(o *sdk.Options) { o.Retryer = unapplied{o.Retryer} }

// unapplied retries what was throttled, or met another update of the same parameter.
type unapplied struct{ aws.Retryer }

func (unapplied) IsErrorRetryable(err error) bool {
	var busy *types.TooManyUpdates
	var api smithy.APIError
	if errors.As(err, &busy) {
		return true
	}
	if !errors.As(err, &api) {
		return false
	}
	_, throttled := retry.DefaultThrottleErrorCodes[api.ErrorCode()]
	return throttled
}

// History gives the versions of the release parameter, the newest first: limit of them, all for 0. AWS keeps 100. A
// missing parameter is model.ErrNoRelease.
func (p *Parameters) History(ctx context.Context, limit int) ([]model.Version, error) {
	var all []model.Version
	var next *string
	for range maxHistoryPages {
		page, err := session.Do(ctx, p.session, p.call("ssm:GetParameterHistory"),
			func(ctx context.Context) (*sdk.GetParameterHistoryOutput, error) {
				return p.client.GetParameterHistory(ctx, &sdk.GetParameterHistoryInput{
					Name: &p.options.Release, MaxResults: aws.Int32(historyPage), NextToken: next,
				})
			})
		var missing *types.ParameterNotFound
		switch {
		case errors.As(err, &missing):
			return nil, p.missing()
		case err != nil:
			return nil, err
		}
		for _, v := range page.Parameters {
			all = append(all, model.Version{Number: v.Version, Value: aws.ToString(v.Value),
				At: aws.ToTime(v.LastModifiedDate), By: aws.ToString(v.LastModifiedUser)})
		}
		if aws.ToString(page.NextToken) != "" {
			next = page.NextToken
			continue
		}
		// AWS gives the oldest first, so that the newest few can't be had for less.
		slices.SortFunc(all, func(a, b model.Version) int { return cmp.Compare(b.Number, a.Number) })
		if limit > 0 && len(all) > limit {
			all = all[:limit]
		}
		return all, nil
	}
	return nil, fmt.Errorf("reading the history of parameter %s does not end: more than %d pages", p.options.Release, maxHistoryPages)
}
