package dynamodb

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/rollout"
)

// transact makes the changes in one transaction. All attempts of the call carry one token, by which DynamoDB
// knows for ten minutes a request that it has carried out. The token is not made of the changes: the same ones may
// rightly be made again a moment later.
func (s *Store) transact(ctx context.Context, changes []rollout.Change) error {
	items := make([]types.TransactWriteItem, len(changes))
	for i, change := range changes {
		items[i] = s.item(change)
	}
	token := rand.Text()
	c := s.call("TransactWriteItems", "record "+changes[0].Key)
	_, err := session.Do(ctx, s.session, c, func(ctx context.Context) (*sdk.TransactWriteItemsOutput, error) {
		return s.client.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: &token})
	})
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) || !hasReason(cancelled, "ConditionalCheckFailed") || len(cancelled.CancellationReasons) != len(changes) {
		return s.explain(err, c)
	}
	return s.settleAll(ctx, cancelled, c, changes)
}

func (s *Store) item(change rollout.Change) types.TransactWriteItem {
	const old = types.ReturnValuesOnConditionCheckFailureAllOld
	e := newExpression()
	condition := e.condition(change)
	switch {
	case change.Delete:
		return types.TransactWriteItem{Delete: &types.Delete{
			TableName: &s.table, Key: s.key(change.Key), ConditionExpression: condition,
			ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values, ReturnValuesOnConditionCheckFailure: old,
		}}
	case !change.Writes():
		if condition == nil { // nothing is expected: a condition that always holds
			condition = aws.String("attribute_exists(" + e.name(SortKey) + ") OR attribute_not_exists(" + e.name(SortKey) + ")")
		}
		return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
			TableName: &s.table, Key: s.key(change.Key), ConditionExpression: condition,
			ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values, ReturnValuesOnConditionCheckFailure: old,
		}}
	}
	update := e.update(change)
	return types.TransactWriteItem{Update: &types.Update{
		TableName: &s.table, Key: s.key(change.Key), UpdateExpression: update, ConditionExpression: condition,
		ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values, ReturnValuesOnConditionCheckFailure: old,
	}}
}

// settleAll decides whether a transaction whose conditions failed was made before. DynamoDB shows
// the items whose condition failed; the others are read.
func (s *Store) settleAll(ctx context.Context, cancelled *types.TransactionCanceledException, c session.Call, changes []rollout.Change) error {
	now := make(map[string]rollout.Record, len(changes))
	for i, reason := range cancelled.CancellationReasons {
		if r := record(changes[i].Key, reason.Item); r.Attributes != nil {
			if !changes[i].Made(r) {
				return conflict(cancelled, c, r.Key)
			}
			now[r.Key] = r
		}
	}
	for _, change := range changes {
		if _, seen := now[change.Key]; seen {
			continue
		}
		r, err := s.Get(ctx, change.Key)
		if err != nil {
			return err
		}
		now[change.Key] = r
	}
	if left, err := rollout.MakeAll(now, changes); err != nil || left != nil {
		return conflict(cancelled, c, changes[0].Key)
	}
	return nil
}

func hasReason(cancelled *types.TransactionCanceledException, code string) bool {
	return slices.ContainsFunc(cancelled.CancellationReasons, func(r types.CancellationReason) bool { return aws.ToString(r.Code) == code })
}
