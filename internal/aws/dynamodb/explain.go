package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/rollout"
)

// settle decides what a conditional write's error means.
func (s *Store) settle(ctx context.Context, err error, c session.Call, change rollout.Change) error {
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		return s.explain(err, c)
	}
	r, err := s.asFound(ctx, change.Key, failed.Item)
	if err != nil {
		return err
	}
	if change.Made(r) {
		return nil // by an attempt whose answer was lost
	}
	return conflict(failed, c, change.Key)
}

// asFound is the record on which a condition failed. Where the answer shows no item there is none, or the server
// is one that never shows it: that is worth a look.
func (s *Store) asFound(ctx context.Context, key string, shown map[string]types.AttributeValue) (rollout.Record, error) {
	if len(shown) > 0 {
		return record(key, shown), nil
	}
	return s.Get(ctx, key)
}

func conflict(err error, c session.Call, key string) error {
	return &conflictError{fmt.Sprintf("%s: record %s was changed by somebody else", c.Resource, key), err}
}

// conflictError keeps what DynamoDB answered out of the text: it may quote the record.
type conflictError struct {
	sentence string
	err      error
}

func (e *conflictError) Error() string   { return e.sentence }
func (e *conflictError) Unwrap() []error { return []error{rollout.ErrConflict, e.err} }

// explain adds to the session's words what only a table can lack.
func (s *Store) explain(err error, c session.Call) error {
	var missing *types.ResourceNotFoundException
	var cancelled *types.TransactionCanceledException
	var api smithy.APIError
	where := c.Action + " on " + c.Resource
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return &session.Error{Kind: session.Configuration, Err: errors.Join(rollout.ErrNoTable, err), Sentence: fmt.Sprintf(
			"%s: there is no table %s in %s, or it is still being made: make it, with %s", where, s.table, s.session.Config.Region, s.recipe())}
	case errors.As(err, &cancelled):
		if reason, ok := tooLarge(cancelled); ok {
			return fmt.Errorf("%s: the record is larger than DynamoDB's 400 KB: it was left as it is; keep less in it (%s)", where, reason)
		}
		return s.explainCancelled(err, cancelled, where)
	case errors.As(err, &api) && strings.Contains(api.ErrorMessage(), sizeExceeded):
		return fmt.Errorf("%s: the record is larger than DynamoDB's 400 KB: it was left as it is; keep less in it (%w)", where, err)
	case errors.As(err, &api) && otherKeys(api.ErrorMessage()):
		return &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
			"%s: table %s was made with other keys than bootagent's (%s): name another one, made with %s", where, s.table, api.ErrorMessage(), s.recipe())}
	}
	return err
}

// sizeExceeded is in DynamoDB's words for an item that would be too large; it has no code of its own.
const sizeExceeded = "maximum allowed size"

// otherKeys recognises DynamoDB's words for a key that the table does not have.
func otherKeys(message string) bool {
	return strings.Contains(message, "does not match the schema") || strings.Contains(message, "Missing the key") ||
		strings.Contains(message, "Query condition missed key schema element")
}

func tooLarge(cancelled *types.TransactionCanceledException) (string, bool) {
	for _, r := range cancelled.CancellationReasons {
		if strings.Contains(aws.ToString(r.Message), sizeExceeded) {
			return aws.ToString(r.Message), true
		}
	}
	return "", false
}

// explainCancelled says why a transaction was cancelled, other than by a condition.
func (s *Store) explainCancelled(err error, cancelled *types.TransactionCanceledException, where string) error {
	var reasons []string
	for _, r := range cancelled.CancellationReasons {
		if code := aws.ToString(r.Code); code != "" && code != "None" && !slices.Contains(reasons, code) {
			reasons = append(reasons, code)
		}
	}
	kind, hint := session.Refused, ""
	if retryable(cancelled) {
		kind, hint = session.Throttled, ": too many write the same records; it is safe to try again"
	}
	return &session.Error{Kind: kind, Err: err, Sentence: fmt.Sprintf("%s was cancelled (%s)%s", where, strings.Join(reasons, ", "), hint)}
}

// recipe is how a person makes the table.
func (s *Store) recipe() string { return Recipe(s.session.Config.Region, s.table) }

// Recipe are the lines that make a table for fleets' records, for a person to type.
func Recipe(region, table string) string {
	return fmt.Sprintf("aws dynamodb create-table --region %s --table-name %s --billing-mode PAY_PER_REQUEST "+
		"--attribute-definitions AttributeName=%s,AttributeType=S AttributeName=%s,AttributeType=S "+
		"--key-schema AttributeName=%[3]s,KeyType=HASH AttributeName=%[4]s,KeyType=RANGE, and then "+
		"aws dynamodb update-time-to-live --region %[1]s --table-name %[2]s --time-to-live-specification Enabled=true,AttributeName=%[5]s",
		region, table, PartitionKey, SortKey, Expiry)
}
