// Package dynamodb keeps the fleet's records in one table: rollout.Store over
// conditional writes.
//
// An item is a record. Its partition key is "<app>/<env>", so that IAM can let
// an app at its own records alone (dynamodb:LeadingKeys), its sort key the
// record's key, and each attribute of the record a string attribute. Attributes of other types, which
// somebody may have added by hand, are not shown and survive.
package dynamodb

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/rollout"
)

// The table's own attributes. No record's begins with an underscore.
const (
	PartitionKey = "_fleet" // "<app>/<env>"
	SortKey      = "_key"
	Expiry       = "_ttl" // the TTL attribute, in seconds since 1970
)

// Options name the table and what is in it.
type Options struct {
	Table string // "bootagent"
	App   string
	Env   string
}

// Store is the records of one app in one env.
type Store struct {
	session *session.Session
	client  *sdk.Client
	table   string
	fleet   string
}

var _ rollout.Store = (*Store)(nil)

// New makes the adapter; it asks nothing yet.
func New(s *session.Session, o Options) *Store {
	client := sdk.NewFromConfig(s.Config, func(o *sdk.Options) {
		if r, ok := o.Retryer.(aws.RetryerV2); ok {
			o.Retryer = contended{r}
		}
	})
	return &Store{session: s, client: client, table: o.Table, fleet: o.App + "/" + o.Env}
}

// Get reads one record, consistently.
func (s *Store) Get(ctx context.Context, key string) (rollout.Record, error) {
	if err := rollout.CheckKey(key); err != nil {
		return rollout.Record{}, err
	}
	c := s.call("GetItem", "record "+key)
	out, err := session.Do(ctx, s.session, c, func(ctx context.Context) (*sdk.GetItemOutput, error) {
		return s.client.GetItem(ctx, &sdk.GetItemInput{TableName: &s.table, Key: s.key(key), ConsistentRead: aws.Bool(true)})
	})
	if err != nil {
		return rollout.Record{}, s.explain(err, c)
	}
	return record(key, out.Item), nil
}

// List reads the records below prefix, consistently: a page of them (1 MB, or limit) a request.
func (s *Store) List(ctx context.Context, prefix string, limit int, newestFirst bool) ([]rollout.Record, error) {
	e := newExpression()
	condition := e.name(PartitionKey) + " = " + e.value(s.fleet)
	if prefix != "" { // DynamoDB has no empty strings in conditions on keys
		condition += " AND begins_with(" + e.name(SortKey) + ", " + e.value(prefix) + ")"
	}
	in := &sdk.QueryInput{
		TableName: &s.table, KeyConditionExpression: &condition, ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
		ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(!newestFirst),
	}
	c := s.call("Query", strings.TrimSpace("records "+prefix))
	var all []rollout.Record
	for {
		if limit > 0 {
			in.Limit = aws.Int32(int32(min(limit-len(all), 1<<20)))
		}
		out, err := session.Do(ctx, s.session, c, func(ctx context.Context) (*sdk.QueryOutput, error) { return s.client.Query(ctx, in) })
		if err != nil {
			return nil, s.explain(err, c)
		}
		for _, item := range out.Items {
			key, _ := text(item[SortKey])
			all = append(all, record(key, item))
		}
		if len(out.LastEvaluatedKey) == 0 || limit > 0 && len(all) >= limit {
			return all, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// Apply makes all changes or none.
func (s *Store) Apply(ctx context.Context, changes ...rollout.Change) error {
	if err := rollout.CheckChanges(changes...); err != nil {
		return fmt.Errorf("write to table %s: %w", s.table, err)
	}
	switch c := changes[0]; {
	case len(changes) > 1, !c.Writes(): // a condition alone is one of a transaction's operations only
		return s.transact(ctx, changes)
	case c.Delete:
		return s.remove(ctx, c)
	default:
		return s.update(ctx, c)
	}
}

func (s *Store) update(ctx context.Context, change rollout.Change) error {
	e := newExpression()
	update, condition := e.update(change), e.condition(change)
	c := s.call("UpdateItem", "record "+change.Key)
	_, err := session.Do(ctx, s.session, c, func(ctx context.Context) (*sdk.UpdateItemOutput, error) {
		return s.client.UpdateItem(ctx, &sdk.UpdateItemInput{
			TableName: &s.table, Key: s.key(change.Key), UpdateExpression: update, ConditionExpression: condition,
			ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
	})
	return s.settle(ctx, err, c, change)
}

func (s *Store) remove(ctx context.Context, change rollout.Change) error {
	e := newExpression()
	condition := e.condition(change)
	c := s.call("DeleteItem", "record "+change.Key)
	_, err := session.Do(ctx, s.session, c, func(ctx context.Context) (*sdk.DeleteItemOutput, error) {
		return s.client.DeleteItem(ctx, &sdk.DeleteItemInput{
			TableName: &s.table, Key: s.key(change.Key), ConditionExpression: condition,
			ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
	})
	return s.settle(ctx, err, c, change)
}

func (s *Store) key(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		PartitionKey: &types.AttributeValueMemberS{Value: s.fleet}, SortKey: &types.AttributeValueMemberS{Value: key},
	}
}

func (s *Store) call(operation, what string) session.Call {
	return session.Call{Action: "dynamodb:" + operation, Resource: "table " + s.table + " (" + what + " of " + s.fleet + ")"}
}

// record is what an item says; no item is none.
func record(key string, item map[string]types.AttributeValue) rollout.Record {
	r := rollout.Record{Key: key}
	if len(item) == 0 {
		return r
	}
	r.Attributes = make(map[string]string, len(item))
	for name, value := range item {
		if s, ok := text(value); ok && !strings.HasPrefix(name, "_") {
			r.Attributes[name] = s
		}
	}
	return r
}

func text(value types.AttributeValue) (string, bool) {
	s, ok := value.(*types.AttributeValueMemberS)
	if !ok {
		return "", false
	}
	return s.Value, true
}

func seconds(t time.Time) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(t.Unix(), 10)}
}
