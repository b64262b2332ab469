package contract

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
)

// itemTeller tells a story of items in one partition: as with teller, each
// method makes one call and writes one line. Items and values are written "a=1 b=2"; all are strings.
type itemTeller struct {
	ctx    context.Context
	client *sdk.Client
	lines  []string
}

// itemStory is a story for an itemTeller; the fields are those of story. dynalite has no
// transactions, and is told no story with one; nor does it show the item on which a condition failed.
type itemStory struct {
	name         string
	tell         func(s *itemTeller)
	want         []string
	motoIsWrong  string
	transactions bool
}

func newItemTeller(t *testing.T, endpoint string) *itemTeller {
	t.Helper()
	makeTable(t, endpoint)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &itemTeller{ctx: ctx, client: sdk.NewFromConfig(awstest.Session(t, endpoint).Config, func(o *sdk.Options) { o.RetryMaxAttempts = 1 })}
}

func (s *itemTeller) write(err error, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	var api smithy.APIError
	if errors.As(err, &api) {
		line = "! " + api.ErrorCode()
	} else if err != nil {
		line = "! " + err.Error()
	}
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) && failed.Item != nil {
		line += " on " + said(failed.Item)
	}
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) {
		for _, r := range cancelled.CancellationReasons {
			line += " " + aws.ToString(r.Code)
			if r.Item != nil {
				line += " on " + said(r.Item)
			}
		}
	}
	s.lines = append(s.lines, line)
}

// strs reads "a=1 b=2"; nil for "".
func strs(text string) map[string]types.AttributeValue {
	if text == "" {
		return nil
	}
	out := map[string]types.AttributeValue{}
	for field := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(field, "=")
		out[name] = &types.AttributeValueMemberS{Value: value}
	}
	return out
}

func keyOf(key string) map[string]types.AttributeValue {
	return strs(dynamodb.PartitionKey + "=shop/prod " + dynamodb.SortKey + "=" + key)
}

// said is an item in words: its key, and its attributes in order.
func said(item map[string]types.AttributeValue) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(item)) {
		if v, ok := item[name].(*types.AttributeValueMemberS); ok && name == dynamodb.SortKey {
			out = append([]string{v.Value}, out...)
		} else if ok && name != dynamodb.PartitionKey {
			out = append(out, name+"="+v.Value)
		}
	}
	return strings.Join(out, " ")
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

const shown = types.ReturnValuesOnConditionCheckFailureAllOld

func (s *itemTeller) put(key, attributes, condition, values string) {
	item := keyOf(key)
	maps.Copy(item, strs(attributes))
	_, err := s.client.PutItem(s.ctx, &sdk.PutItemInput{TableName: aws.String(table), Item: item, ConditionExpression: optional(condition),
		ExpressionAttributeValues: strs(values)})
	s.write(err, "put")
}

// update writes the item that it leaves.
func (s *itemTeller) update(key, update, condition, values string) {
	out, err := s.client.UpdateItem(s.ctx, &sdk.UpdateItemInput{TableName: aws.String(table), Key: keyOf(key), UpdateExpression: optional(update),
		ConditionExpression: optional(condition), ExpressionAttributeValues: strs(values), ReturnValues: types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: shown})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%s", said(out.Attributes))
}

// remove writes the item that was there.
func (s *itemTeller) remove(key, condition, values string) {
	out, err := s.client.DeleteItem(s.ctx, &sdk.DeleteItemInput{TableName: aws.String(table), Key: keyOf(key), ConditionExpression: optional(condition),
		ExpressionAttributeValues: strs(values), ReturnValues: types.ReturnValueAllOld})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "removed [%s]", said(out.Attributes))
}

func (s *itemTeller) get(key string) {
	out, err := s.client.GetItem(s.ctx, &sdk.GetItemInput{TableName: aws.String(table), Key: keyOf(key), ConsistentRead: aws.Bool(true)})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "[%s]", said(out.Item))
}

// query reads all pages, each of at most limit, and writes where each ends.
func (s *itemTeller) query(condition, values string, limit int32, forward bool) {
	in := &sdk.QueryInput{TableName: aws.String(table), KeyConditionExpression: &condition, ExpressionAttributeValues: strs(values),
		ScanIndexForward: &forward, ConsistentRead: aws.Bool(true),
		ExpressionAttributeNames: map[string]string{"#p": dynamodb.PartitionKey}}
	if strings.Contains(condition, "#k") {
		in.ExpressionAttributeNames["#k"] = dynamodb.SortKey
	}
	if limit > 0 {
		in.Limit = &limit
	}
	var pages []string
	for {
		out, err := s.client.Query(s.ctx, in)
		if err != nil {
			s.write(err, "")
			return
		}
		var page []string
		for _, item := range out.Items {
			page = append(page, said(item))
		}
		pages = append(pages, fmt.Sprintf("%d [%s]", out.Count, strings.Join(page, ", ")))
		if len(out.LastEvaluatedKey) == 0 {
			break
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
	s.write(nil, "%s", strings.Join(pages, " then "))
}

func putting(key, attributes, condition, values string) types.TransactWriteItem {
	item := keyOf(key)
	maps.Copy(item, strs(attributes))
	return types.TransactWriteItem{Put: &types.Put{TableName: aws.String(table), Item: item, ConditionExpression: optional(condition),
		ExpressionAttributeValues: strs(values), ReturnValuesOnConditionCheckFailure: shown}}
}

func updating(key, update, condition, values string) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{TableName: aws.String(table), Key: keyOf(key), UpdateExpression: &update,
		ConditionExpression: optional(condition), ExpressionAttributeValues: strs(values), ReturnValuesOnConditionCheckFailure: shown}}
}

func checking(key, condition, values string) types.TransactWriteItem {
	return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: aws.String(table), Key: keyOf(key),
		ConditionExpression: &condition, ExpressionAttributeValues: strs(values)}}
}

func (s *itemTeller) transact(token string, items ...types.TransactWriteItem) {
	_, err := s.client.TransactWriteItems(s.ctx, &sdk.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: optional(token)})
	s.write(err, "done")
}

func TestTheRegionAndOthersTellTheSameStoriesOfItems(t *testing.T) {
	t.Parallel()
	tell := func(t *testing.T, story itemStory, who, endpoint, isWrong string) {
		s := newItemTeller(t, endpoint)
		story.tell(s)
		diff := cmp.Diff(story.want, s.lines)
		switch {
		case diff == "" && isWrong != "":
			t.Errorf("%s is right by now: take its reason out (%s)", who, isWrong)
		case diff != "" && isWrong == "":
			t.Errorf("%s differs, and nothing says why (-want +got):\n%s", who, diff)
		case diff != "":
			t.Logf("%s differs as expected (%s):\n%s", who, isWrong, diff)
		}
	}
	for _, story := range itemStories {
		t.Run("region/"+story.name, func(t *testing.T) {
			t.Parallel()
			tell(t, story, "the region", smallRegion(t).endpoint, "")
		})
		t.Run("moto/"+story.name, func(t *testing.T) {
			t.Parallel()
			tell(t, story, "moto", freshMoto(t), story.motoIsWrong)
		})
		if story.transactions {
			continue
		}
		t.Run("dynalite/"+story.name, func(t *testing.T) {
			t.Parallel()
			blind := story
			blind.want = slices.Clone(story.want)
			for i, line := range blind.want {
				if strings.HasPrefix(line, "! ConditionalCheckFailedException") {
					blind.want[i] = "! ConditionalCheckFailedException"
				}
			}
			tell(t, blind, "dynalite", startDynalite(t), "")
		})
	}
}
