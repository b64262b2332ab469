package dynamodb_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/rollout"
)

type attributes = map[string]string

// shop is a region with a table, and the records of shop/prod in it.
func shop(t *testing.T) (*region.Region, *session.Session, *dynamodb.Store) {
	t.Helper()
	r := awstest.Region(t)
	if err := r.DynamoDB.MakeTable("bootagent", dynamodb.PartitionKey, dynamodb.SortKey, dynamodb.Expiry); err != nil {
		t.Fatal(err)
	}
	s := awstest.Session(t, r.Endpoint())
	return r, s, dynamodb.New(s, dynamodb.Options{Table: "bootagent", App: "shop", Env: "prod"})
}

func apply(t *testing.T, s rollout.Store, changes ...rollout.Change) {
	t.Helper()
	if err := s.Apply(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
}

func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

var (
	beat = rollout.Change{Key: "rollout", Expect: attributes{"beat": "1"}, Set: attributes{"beat": "2"}}
	open = []rollout.Change{
		{Key: "lock", Expect: attributes{"nonce": "1"}, Delete: true},
		{Key: "rollout", Expect: attributes{"beat": "1"}, Set: attributes{"beat": "2"}},
	}
)

func TestAWriteWhoseAnswerIsLostIsMadeOnce(t *testing.T) {
	t.Parallel()
	for operation, changes := range map[string][]rollout.Change{
		"UpdateItem":         {beat},
		"DeleteItem":         {{Key: "lock", Expect: attributes{"nonce": "1"}, Delete: true}},
		"TransactWriteItems": open,
	} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			r, _, s := shop(t)
			apply(t, s, rollout.Change{Key: "rollout", Set: attributes{"beat": "1"}}, rollout.Change{Key: "lock", Set: attributes{"nonce": "1"}})
			cut := r.Faults.Add(fault.Rule{Operation: operation, Count: 1, Effect: fault.CutAfter()})
			apply(t, s, changes...)
			if cut.Hits() != 1 {
				t.Error("nothing was cut")
			}
		})
	}
}

// Ten minutes later DynamoDB has forgotten the token, and what the records say has to do.
func TestATransactionIsKnownByWhatItLeft(t *testing.T) {
	t.Parallel()
	r, _, s := shop(t)
	apply(t, s, rollout.Change{Key: "rollout", Set: attributes{"beat": "1"}}, rollout.Change{Key: "lock", Set: attributes{"nonce": "1"}})
	apply(t, s, open...)
	before := r.Counts()["dynamodb:GetItem"]
	apply(t, s, open...)
	if reads := r.Counts()["dynamodb:GetItem"] - before; reads != 1 {
		t.Errorf("%d records were read that DynamoDB had shown, want the one that is gone", reads)
	}
}

func TestAConflictIsToldWithoutTheRecordsValues(t *testing.T) {
	t.Parallel()
	_, _, s := shop(t)
	apply(t, s, rollout.Change{Key: "rollout", Set: attributes{"beat": "7", "by": `"a-secret"`}})
	for _, err := range []error{
		s.Apply(t.Context(), beat),
		s.Apply(t.Context(), append(open[1:], rollout.Change{Key: "log/1", Set: attributes{"x": "1"}})...),
	} {
		if !errors.Is(err, rollout.ErrConflict) || errors.Is(err, model.ErrConfiguration) {
			t.Errorf("%v is no conflict", err)
		}
		says(t, err, "table bootagent", "record rollout was changed by somebody else")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("a value is in the error: %v", err)
		}
	}
}

func TestAMissingTableIsToldWithTheLineThatMakesIt(t *testing.T) {
	t.Parallel()
	_, session, _ := shop(t)
	s := dynamodb.New(session, dynamodb.Options{Table: "fleet", App: "shop", Env: "prod"})
	_, err := s.Get(t.Context(), "stable")
	if !errors.Is(err, rollout.ErrNoTable) || !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("%v", err)
	}
	says(t, err, "there is no table fleet in us-east-1", "aws dynamodb create-table --region us-east-1 --table-name fleet --billing-mode PAY_PER_REQUEST",
		"AttributeName=_fleet,KeyType=HASH AttributeName=_key,KeyType=RANGE", "update-time-to-live", "AttributeName=_ttl")
}

func TestATableWithOtherKeysIsRefused(t *testing.T) {
	t.Parallel()
	r, session, _ := shop(t)
	if err := r.DynamoDB.MakeTable("orders", "id", "", ""); err != nil {
		t.Fatal(err)
	}
	s := dynamodb.New(session, dynamodb.Options{Table: "orders", App: "shop", Env: "prod"})
	_, get := s.Get(t.Context(), "stable")
	_, list := s.List(t.Context(), "", 0, false)
	for _, err := range []error{get, list, s.Apply(t.Context(), beat)} {
		if !errors.Is(err, model.ErrConfiguration) || errors.Is(err, rollout.ErrNoTable) {
			t.Errorf("%v", err)
		}
		says(t, err, "table orders was made with other keys", "create-table")
	}
}

func TestDeniedNamesActionAndTable(t *testing.T) {
	t.Parallel()
	r, _, s := shop(t)
	r.Faults.Add(fault.Rule{Service: "dynamodb", Effect: fault.Deny()})
	err := s.Apply(t.Context(), beat)
	if !errors.Is(err, model.ErrConfiguration) || errors.Is(err, rollout.ErrNoTable) {
		t.Errorf("%v", err)
	}
	says(t, err, "may not dynamodb:UpdateItem on table bootagent", "add that action to its policy")
}

func TestReadsAreConsistent(t *testing.T) {
	t.Parallel()
	r, _, s := shop(t)
	stale := r.Faults.Add(fault.Rule{Service: "dynamodb", Effect: fault.Fail(wire.Errorf("ValidationException", "a read may be stale")),
		When: func(c wire.Call) bool {
			var in struct{ ConsistentRead bool }
			return (c.Operation == "GetItem" || c.Operation == "Query") && (json.Unmarshal(c.Body, &in) != nil || !in.ConsistentRead)
		}})
	_, get := s.Get(t.Context(), "stable")
	_, list := s.List(t.Context(), "", 0, false)
	if err := errors.Join(get, list); err != nil || stale.Hits() != 0 {
		t.Error(err)
	}
}

func TestThrottledThenFine(t *testing.T) {
	t.Parallel()
	r, _, s := shop(t)
	apply(t, s, rollout.Change{Key: "rollout", Set: attributes{"beat": "1"}})
	r.Faults.Add(fault.Rule{Operation: "UpdateItem", Count: 2,
		Effect: fault.Fail(wire.Errorf("ProvisionedThroughputExceededException", "The level of configured provisioned throughput for the table was exceeded."))})
	apply(t, s, beat)
}

func TestADeadlineNamesTheLastCause(t *testing.T) {
	t.Parallel()
	r, session, _ := shop(t)
	session.Timeout = 2 * time.Second
	s := dynamodb.New(session, dynamodb.Options{Table: "bootagent", App: "shop", Env: "prod"})
	r.Faults.Add(fault.Rule{Operation: "GetItem", Count: 1, Effect: fault.ServerError()})
	r.Faults.Add(fault.Rule{Operation: "GetItem", Effect: fault.Hang()})
	_, err := s.Get(t.Context(), "stable")
	says(t, err, "dynamodb:GetItem on table bootagent (record stable of shop/prod)", "HTTP 500", "the last cause")
}

// What meets another write of the same item is no broken expectation: AWS says so in two ways, and both are tried again.
func TestATransactionThatMeetsAnotherIsTriedAgain(t *testing.T) {
	t.Parallel()
	cancelled := func(codes ...string) *wire.Error {
		var reasons []map[string]string
		for _, code := range codes {
			reasons = append(reasons, map[string]string{"Code": code})
		}
		e := wire.Errorf("TransactionCanceledException", "Transaction cancelled, please refer cancellation reasons for specific reasons")
		e.Members = map[string]any{"CancellationReasons": reasons}
		return e
	}
	for name, one := range map[string]struct {
		rule    fault.Rule
		changes []rollout.Change
	}{
		"single": {fault.Rule{Operation: "UpdateItem", Effect: fault.Fail(wire.Errorf("TransactionConflictException", "Transaction is ongoing for the item"))},
			[]rollout.Change{beat}},
		"both": {fault.Rule{Operation: "TransactWriteItems", Effect: fault.Fail(cancelled("None", "TransactionConflict"))}, open},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _, s := shop(t)
			apply(t, s, rollout.Change{Key: "rollout", Set: attributes{"beat": "1"}})
			apply(t, s, rollout.Change{Key: "lock", Set: attributes{"nonce": "1"}})
			one.rule.Count = 2
			hits := r.Faults.Add(one.rule)
			apply(t, s, one.changes...)
			if hits.Hits() != 2 {
				t.Errorf("%d conflicts", hits.Hits())
			}
		})
	}
	t.Run("in vain", func(t *testing.T) {
		t.Parallel()
		r, _, s := shop(t)
		r.Faults.Add(fault.Rule{Operation: "TransactWriteItems", Effect: fault.Fail(cancelled("TransactionConflict", "None"))})
		err := s.Apply(t.Context(), open...)
		if errors.Is(err, rollout.ErrConflict) {
			t.Errorf("%v is a conflict", err)
		}
		says(t, err, "was cancelled (TransactionConflict)", "it is safe to try again")
	})
}

// Other tools, and people, may add what is no text.
func TestAttributesOfOtherTypesSurvive(t *testing.T) {
	t.Parallel()
	_, session, s := shop(t)
	apply(t, s, rollout.Change{Key: "rollout", Set: attributes{"beat": "1"}})
	key := map[string]types.AttributeValue{
		dynamodb.PartitionKey: &types.AttributeValueMemberS{Value: "shop/prod"}, dynamodb.SortKey: &types.AttributeValueMemberS{Value: "rollout"},
	}
	client := sdk.NewFromConfig(session.Config)
	_, err := client.UpdateItem(t.Context(), &sdk.UpdateItemInput{
		TableName: aws.String("bootagent"), Key: key, UpdateExpression: aws.String("SET tries = :n"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":n": &types.AttributeValueMemberN{Value: "3"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, s, beat)
	got, err := s.Get(t.Context(), "rollout")
	if err != nil || len(got.Attributes) != 1 || got.Attributes["beat"] != "2" {
		t.Errorf("%v, %v", got, err)
	}
	out, err := client.GetItem(t.Context(), &sdk.GetItemInput{TableName: aws.String("bootagent"), Key: key})
	if err != nil || out.Item["tries"] == nil {
		t.Errorf("what was added by hand is gone: %v, %v", out.Item, err)
	}
}
