package contract

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/rollout"
	"github.com/bootagent/bootagent/rollout/storetest"
)

const table = "bootagent"

// makeTable makes the table of records on a server, through AWS's own SDK.
func makeTable(t *testing.T, endpoint string) {
	t.Helper()
	client := sdk.NewFromConfig(awstest.Session(t, endpoint).Config)
	name, partition, sort := table, dynamodb.PartitionKey, dynamodb.SortKey
	_, err := client.CreateTable(t.Context(), &sdk.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: &partition, AttributeType: types.ScalarAttributeTypeS}, {AttributeName: &sort, AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{{AttributeName: &partition, KeyType: types.KeyTypeHash}, {AttributeName: &sort, KeyType: types.KeyTypeRange}},
	})
	if err != nil {
		t.Fatalf("make the table: %v", err)
	}
	if err := sdk.NewTableExistsWaiter(client).Wait(t.Context(), &sdk.DescribeTableInput{TableName: &name}, time.Minute); err != nil {
		t.Fatalf("wait for the table: %v", err)
	}
}

// tableOn is the adapter on a server's table; each place is an env of its own.
func tableOn(t *testing.T, endpoint string) storetest.Adapter {
	t.Helper()
	s := awstest.Session(t, endpoint)
	s.Timeout = 2 * time.Minute // hundreds ask at once, however slow the server is
	open := func(table, env string) rollout.Store {
		return dynamodb.New(s, dynamodb.Options{Table: table, App: "shop", Env: env})
	}
	return storetest.Adapter{
		Open: func(testing.TB) func() rollout.Store {
			env := rand.Text()
			return func() rollout.Store { return open(table, env) }
		},
		WithoutTable: func(testing.TB) rollout.Store { return open("another", "prod") },
	}
}

// oneByOne is a server that hands requests on to another, one after the other. moto looks at a condition
// and writes in two steps, and takes back a transaction by restoring the whole table: requests that overlap lose each other's writes.
func oneByOne(t *testing.T, endpoint string) string {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	var turn sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		turn.Lock()
		defer turn.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestMotoKeepsTheRecords(t *testing.T) {
	t.Parallel()
	// A server of its own: whoever had the shared one's turn while its parallel tests wait for a slot would wait for ever, as
	// the slots may all be with tests that wait for the turn.
	moto, stop, err := startMoto()
	if err != nil {
		leaveOut(t, "what moto says", err)
	}
	t.Cleanup(stop)
	endpoint := oneByOne(t, moto)
	makeTable(t, endpoint)
	adapter := tableOn(t, endpoint)
	adapter.Writers = 40 // each request takes it some 50 ms
	adapter.Narrow = "moto fails (500) at a condition of 120 parts"
	storetest.Contract(t, adapter)
}

func TestTheRegionKeepsTheRecords(t *testing.T) {
	t.Parallel()
	r := smallRegion(t)
	makeTable(t, r.endpoint)
	storetest.Contract(t, tableOn(t, r.endpoint))
}
