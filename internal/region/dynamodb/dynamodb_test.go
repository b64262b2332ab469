package dynamodb_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/dynamodb"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// call makes one call, and gives the answer as JSON or the error as "Code: message".
func call(t *testing.T, s *dynamodb.Service, operation, body string) string {
	t.Helper()
	out, err := s.Serve(t.Context(), wire.Call{Service: dynamodb.Name, Operation: operation, Body: []byte(body)})
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func withTable(t *testing.T, o dynamodb.Options) *dynamodb.Service {
	t.Helper()
	s := dynamodb.New(o)
	if err := s.MakeTable("fleet", "p", "k", "ttl"); err != nil {
		t.Fatal(err)
	}
	return s
}

func is(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWhatIsLeftOutIsRefusedByName(t *testing.T) {
	t.Parallel()
	s := withTable(t, dynamodb.Options{})
	const key = `"TableName":"fleet","Key":{"p":{"S":"a"},"k":{"S":"b"}}`
	for _, c := range []struct{ operation, body, names string }{
		{"Scan", `{"TableName":"fleet"}`, "dynamodb:Scan"},
		{"BatchGetItem", `{}`, "dynamodb:BatchGetItem"},
		{"GetItem", `{` + key + `,"ProjectionExpression":"a"}`, "ProjectionExpression"},
		{"Query", `{"TableName":"fleet","IndexName":"i"}`, "IndexName"},
		{"UpdateItem", `{` + key + `,"AttributeUpdates":{}}`, "AttributeUpdates"},
		{"UpdateItem", `{` + key + `,"UpdateExpression":"ADD a :n"}`, "ADD"},
		{"UpdateItem", `{` + key + `,"UpdateExpression":"SET a = if_not_exists(a, :n)"}`, "if_not_exists"},
		{"UpdateItem", `{` + key + `,"UpdateExpression":"SET a = a + :n","ExpressionAttributeValues":{":n":{"N":"1"}}}`, "arithmetic"},
		{"UpdateItem", `{` + key + `,"UpdateExpression":"SET a.b = :n"}`, "paths into maps and lists (a.…)"},
		{"UpdateItem", `{` + key + `,"ReturnValues":"UPDATED_NEW"}`, "UPDATED_NEW"},
		{"DeleteItem", `{` + key + `,"ConditionExpression":"a < b"}`, "no < in expressions"},
		{"DeleteItem", `{` + key + `,"ConditionExpression":"a BETWEEN b AND c"}`, "no BETWEEN in expressions"},
		{"DeleteItem", `{` + key + `,"ConditionExpression":"size(a) = b"}`, "no size in expressions"},
		{"PutItem", `{"TableName":"fleet","Item":{"p":{"S":"a"},"k":{"S":"b"},"s":{"SS":["x"]}}}`, "type SS"},
		{"CreateTable", `{"TableName":"other","KeySchema":[{"AttributeName":"p","KeyType":"HASH"}],` +
			`"AttributeDefinitions":[{"AttributeName":"p","AttributeType":"S"}]}`, "PAY_PER_REQUEST"},
		{"CreateTable", `{"TableName":"other","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"p","KeyType":"HASH"}],` +
			`"AttributeDefinitions":[{"AttributeName":"p","AttributeType":"N"}]}`, "type S only, not N"},
		{"CreateTable", `{"TableName":"other","StreamSpecification":{}}`, "StreamSpecification"},
		{"TransactWriteItems", `{"TransactItems":[{"Get":{}}]}`, "Get"},
	} {
		got := call(t, s, c.operation, c.body)
		if !strings.HasPrefix(got, "ValidationException: ") && !strings.HasPrefix(got, "UnknownOperationException: ") || !strings.Contains(got, c.names) {
			t.Errorf("%s %s\n got %s\nwant %q in a refusal", c.operation, c.body, got, c.names)
		}
	}
	is(t, call(t, s, "GetItem", `{`+key+`}`), "{}")
}

func TestValuesOfManyTypesComeBack(t *testing.T) {
	t.Parallel()
	s := withTable(t, dynamodb.Options{})
	const attributes = `"b":{"B":"AAEC"},"f":{"BOOL":false},"l":{"L":[{"S":"x"},{"L":[]}]},"m":{"M":{"x":{"NULL":true}}},"n":{"N":"%s"}`
	for text, want := range map[string]string{"007.50": "7.5", "-0": "0", "1e3": "1000", "-1.5E-3": "-0.0015", "340282366920938463463374607431768211456": ""} {
		got := call(t, s, "PutItem", `{"TableName":"fleet","Item":{"p":{"S":"a"},"k":{"S":"b"},`+fmt.Sprintf(attributes, text)+`}}`)
		if want == "" {
			if !strings.Contains(got, "38 significant digits") {
				t.Errorf("%s: %s", text, got)
			}
			continue
		}
		is(t, got, "{}")
		is(t, call(t, s, "GetItem", `{"TableName":"fleet","Key":{"p":{"S":"a"},"k":{"S":"b"}}}`),
			`{"Item":{`+strings.Replace(fmt.Sprintf(attributes, want), `"l":`, `"k":{"S":"b"},"l":`, 1)+`,"p":{"S":"a"}}}`)
	}
}

// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
func TestCapacityIsCountedAsAWSDoes(t *testing.T) {
	t.Parallel()
	s := withTable(t, dynamodb.Options{})
	// 5 KB with names and keys: 5 to write it, 10 in a transaction, 2 to read it, 1 where the answer may be stale.
	item := `{"p":{"S":"a"},"k":{"S":"b"},"x":{"S":"` + strings.Repeat("x", 5<<10-5) + `"}}`
	const key = `"TableName":"fleet","ReturnConsumedCapacity":"TOTAL"`
	consumed := func(units string) string {
		return `{"ConsumedCapacity":{"TableName":"fleet","CapacityUnits":` + units + `}}`
	}
	is(t, call(t, s, "PutItem", `{`+key+`,"Item":`+item+`}`), consumed("5"))
	is(t, call(t, s, "PutItem", `{`+key+`,"Item":{"p":{"S":"a"},"k":{"S":"b"}}}`), consumed("5")) // the larger of before and after
	is(t, call(t, s, "TransactWriteItems", `{"ReturnConsumedCapacity":"TOTAL","TransactItems":[{"Put":{"TableName":"fleet","Item":`+item+`}}]}`),
		`{"ConsumedCapacity":[{"TableName":"fleet","CapacityUnits":10}]}`)
	for body, units := range map[string]string{`,"ConsistentRead":true`: "2", ``: "1"} {
		got := call(t, s, "GetItem", `{`+key+`,"Key":{"p":{"S":"a"},"k":{"S":"b"}}`+body+`}`)
		if !strings.HasSuffix(got, `"CapacityUnits":`+units+`}}`) {
			t.Errorf("%s: %s", body, got[len(got)-80:])
		}
	}
}

func TestAnItemHas400KBWithItsNamesAndNoMore(t *testing.T) {
	t.Parallel()
	s := withTable(t, dynamodb.Options{})
	put := func(n int) string {
		return call(t, s, "PutItem", `{"TableName":"fleet","Item":{"p":{"S":"a"},"k":{"S":"b"},"x":{"S":"`+strings.Repeat("x", n)+`"}}}`)
	}
	is(t, put(400<<10-5), "{}")
	is(t, put(400<<10-4), "ValidationException: Item size has exceeded the maximum allowed size")
}

func TestATokenIsForgottenAfterTenMinutes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	s := withTable(t, dynamodb.Options{Clock: func() time.Time { return now }})
	const once = `{"ClientRequestToken":"t","TransactItems":[{"Put":{"TableName":"fleet","Item":{"p":{"S":"a"},"k":{"S":"b"}},"ConditionExpression":"attribute_not_exists(k)"}}]}`
	is(t, call(t, s, "TransactWriteItems", once), "{}")
	now = now.Add(10 * time.Minute)
	is(t, call(t, s, "TransactWriteItems", once), "{}")
	now = now.Add(time.Second)
	is(t, call(t, s, "TransactWriteItems", once),
		"TransactionCanceledException: Transaction cancelled, please refer cancellation reasons for specific reasons [ConditionalCheckFailed]")
}

func TestATableIsDescribedAsItWasMade(t *testing.T) {
	t.Parallel()
	s := withTable(t, dynamodb.Options{Region: "eu-west-1", Clock: func() time.Time { return time.Unix(1000, 0) }})
	got := call(t, s, "DescribeTable", `{"TableName":"fleet"}`)
	for _, words := range []string{`"TableStatus":"ACTIVE"`, `"TableArn":"arn:aws:dynamodb:eu-west-1:123456789012:table/fleet"`, `"CreationDateTime":1000`,
		`"KeySchema":[{"AttributeName":"p","KeyType":"HASH"},{"AttributeName":"k","KeyType":"RANGE"}]`, `"BillingMode":"PAY_PER_REQUEST"`} {
		if !strings.Contains(got, words) {
			t.Errorf("no %s in %s", words, got)
		}
	}
	is(t, call(t, s, "DescribeTimeToLive", `{"TableName":"fleet"}`), `{"TimeToLiveDescription":{"TimeToLiveStatus":"ENABLED","AttributeName":"ttl"}}`)
	is(t, call(t, s, "ListTables", `{}`), `{"TableNames":["fleet"]}`)
	is(t, call(t, s, "DescribeTable", `{"TableName":"none"}`), "ResourceNotFoundException: Requested resource not found")
	if err := s.MakeTable("fleet", "p", "k", ""); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Error(err)
	}
}

// What a parser does not understand it must refuse, and never hang or crash on.
func FuzzExpressions(f *testing.F) {
	for _, text := range []string{"a = :v", "(a = b) OR NOT attribute_exists(#n)", "SET a = :v, b = c REMOVE d", "NOT NOT (((a", "begins_with(a,:v)", "a.b[0] = :v", "🚀 = é", "SET", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := withTable(t, dynamodb.Options{})
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Skip()
		}
		for _, member := range []string{"UpdateExpression", "ConditionExpression"} {
			got := call(t, s, "UpdateItem", `{"TableName":"fleet","Key":{"p":{"S":"a"},"k":{"S":"b"}},"`+member+`":`+string(quoted)+`}`)
			if !strings.HasPrefix(got, "{") && !strings.HasPrefix(got, "ValidationException: ") && !strings.HasPrefix(got, "ConditionalCheckFailedException: ") {
				t.Errorf("%s %q: %s", member, text, got)
			}
		}
	})
}
