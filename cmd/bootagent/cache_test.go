package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/fault"
	regionwire "github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/rollout"
)

// artifacts is a region with a bucket and a table.
type artifacts struct {
	t       *testing.T
	region  *region.Region
	session *session.Session
	records rollout.Store
	tree    string
}

func newArtifacts(t *testing.T) *artifacts {
	t.Helper()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.S3.MakeBucket("artifacts"); err != nil {
		t.Fatal(err)
	}
	s := awstest.Session(t, r.Endpoint())
	client := sdk.NewFromConfig(s.Config)
	table, pk, sk := "bootagent", "_fleet", "_key"
	if _, err := client.CreateTable(t.Context(), &sdk.CreateTableInput{
		TableName: &table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: &pk, AttributeType: "S"}, {AttributeName: &sk, AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: &pk, KeyType: "HASH"}, {AttributeName: &sk, KeyType: "RANGE"}},
	}); err != nil {
		t.Fatal(err)
	}
	a := &artifacts{t: t, region: r, session: s, records: dynamodb.New(s, dynamodb.Options{Table: table, App: "shop", Env: "prod"}), tree: t.TempDir()}
	noise := make([]byte, 9<<20) // three pieces
	chance := rand.NewChaCha8([32]byte{1})
	_, _ = chance.Read(noise)
	if err := errors.Join(os.WriteFile(filepath.Join(a.tree, "noise"), noise, 0o644), os.WriteFile(filepath.Join(a.tree, "server"), []byte("server"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *artifacts) cache() *artifact.Cache {
	a.t.Helper()
	c, err := openCache(config.Config{App: "shop", Env: "prod", Cache: config.Cache{URL: "s3://artifacts/built/here"}}, "i-1", a.session, a.records, a.t.TempDir())
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *artifacts) wanted() artifact.Wanted {
	return artifact.Wanted{Revision: strings.Repeat("a", 40), Inputs: artifact.Inputs{"system": "debian 12"}, Home: "/var/lib/bootagent/trees/7/app"}
}

func (a *artifacts) keep(c *artifact.Cache) artifact.Kept {
	a.t.Helper()
	k, err := c.Keep(a.t.Context(), a.wanted(), artifact.Built{Instance: "i-0123456789"}, artifact.Packing{Dir: a.tree}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return k
}

func (a *artifacts) boot(c *artifact.Cache) error {
	a.t.Helper()
	f, err := c.Find(a.t.Context(), a.wanted())
	if err != nil {
		return err
	}
	to := a.t.TempDir()
	err = c.Unpack(a.t.Context(), f, to)
	if entries, readErr := os.ReadDir(to); readErr != nil || err != nil && len(entries) > 0 || err == nil && len(entries) != 2 {
		a.t.Errorf("after %v there is %v, %v", err, entries, readErr)
	}
	return err
}

func TestArtifactsGoThroughS3AndTheTableKnowsTheRightOne(t *testing.T) {
	t.Parallel()
	a := newArtifacts(t)
	if err := a.boot(a.cache()); !errors.Is(err, artifact.ErrMiss) {
		t.Fatalf("before anything was built: %v", err)
	}
	if k := a.keep(a.cache()); !strings.HasPrefix(k.Name, "shop/prod/aaaa") {
		t.Errorf("kept %+v", k)
	}
	if err := a.boot(a.cache()); err != nil {
		t.Error(err)
	}
	if k := a.keep(a.cache()); !k.Already {
		t.Errorf("kept a second time: %+v", k)
	}
	list, err := a.records.List(t.Context(), "artifact/", 0, false)
	if err != nil || len(list) != 1 || list[0].Attributes["generation"] != "0" {
		t.Errorf("recorded: %v, %v", list, err)
	}
	if err := a.records.Apply(t.Context(), rollout.Change{Key: list[0].Key, Set: map[string]string{"schema": "99"}}); err != nil {
		t.Fatal(err)
	}
	if err := a.boot(a.cache()); err == nil || !strings.Contains(err.Error(), "upgrade it") {
		t.Errorf("a record of a later version: %v", err)
	}
}

// Who builds is said in the table, word for word, and one of two is first.
func TestOnlyOneOfTwoClaimsTheBuildOfAnArtifact(t *testing.T) {
	t.Parallel()
	a := newArtifacts(t)
	c := claims{a.records, time.Now}
	none, one, two := artifact.Claim{}, artifact.Claim{Instance: "i-1", Serial: 1}, artifact.Claim{Instance: "i-2", Serial: 1}
	swap := func(was, is artifact.Claim, first bool) {
		t.Helper()
		if err := c.Swap(t.Context(), "key", was, is); (err == nil) != first || !first && !errors.Is(err, fs.ErrExist) {
			t.Errorf("%+v in place of %+v: %v", is, was, err)
		}
		if got, err := c.Claim(t.Context(), "key"); first && got != is || err != nil {
			t.Errorf("after %+v in place of %+v there is %+v, %v", is, was, got, err)
		}
	}
	if got, err := c.Claim(t.Context(), "key"); got != none || err != nil {
		t.Errorf("at first there is %+v, %v", got, err)
	}
	swap(none, one, true)
	swap(none, two, false)
	swap(two, none, false)
	more := artifact.Claim{Instance: "i-1", Serial: 2, Useless: "\"id\" " + strings.Repeat("é", 200)}
	swap(one, more, true)
	swap(one, two, false)
	swap(more, none, true)
	swap(none, two, true)
	long := artifact.Claim{Instance: "i-2", Serial: 2, Useless: strings.Repeat("é", 1000)}
	if err := c.Swap(t.Context(), "key", two, long); err != nil {
		t.Fatal(err)
	}
	cut, err := c.Claim(t.Context(), "key")
	if err != nil || len([]rune(cut.Useless)) != 301 {
		t.Errorf("%d characters, %v", len([]rune(cut.Useless)), err)
	}
	swap(cut, none, true)
	swap(none, none, true)
}

func TestOnlyOneOfTwoRecordsOfAnArtifact(t *testing.T) {
	t.Parallel()
	a := newArtifacts(t)
	l := ledger{a.records, time.Now}
	one, two := artifact.Entry{Digest: "1"}, artifact.Entry{Digest: "2", Generation: 1}
	if err := l.Record(t.Context(), "key", artifact.Entry{}, one); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), "key", artifact.Entry{}, two); !errors.Is(err, os.ErrExist) {
		t.Errorf("the second: %v", err)
	}
	if err := l.Record(t.Context(), "key", one, two); err != nil {
		t.Error(err)
	}
	if err := l.Record(t.Context(), "key", one, two); err != nil && !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	if e, err := l.Entry(t.Context(), "key"); err != nil || e != two {
		t.Errorf("recorded %+v, %v", e, err)
	}
}

// cut lets so many bytes of an object through, and breaks the connection.
func cut(after int64) fault.Effect {
	return func(_ context.Context, _ regionwire.Call, next func() (any, error)) (any, error) {
		result, err := next()
		if resp, ok := result.(*regionwire.Response); ok && resp.Body != nil && resp.Size > after {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(resp.Body, after), resp.Body}
		}
		return result, err
	}
}

func TestFaultsOnTheWayFromS3(t *testing.T) {
	t.Parallel()
	a := newArtifacts(t)
	a.keep(a.cache())
	expired := fault.Fail(&regionwire.Error{Code: "ExpiredToken", Message: "The provided token has expired.", Status: http.StatusBadRequest})
	slow := fault.Fail(&regionwire.Error{Code: "SlowDown", Message: "Please reduce your request rate.", Status: http.StatusServiceUnavailable})
	var flips atomic.Int32
	flip := func(_ context.Context, _ regionwire.Call, next func() (any, error)) (any, error) {
		result, err := next()
		if resp, ok := result.(*regionwire.Response); ok && resp.Body != nil && resp.Size > 1<<20 && flips.Add(1) == 1 {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(strings.NewReader("x"), &skipping{resp.Body, 1}), resp.Body}
		}
		return result, err
	}
	for name, c := range map[string]struct {
		rule fault.Rule
		says string // "" for a boot that succeeds all the same
	}{
		"a connection that breaks now and then": {fault.Rule{Operation: "GetObject", Count: 3, Effect: cut(1 << 20)}, ""},
		"a connection that always breaks":       {fault.Rule{Operation: "GetObject", Skip: 1, Effect: cut(1000)}, "unexpected EOF"},
		"a flip on the way":                     {fault.Rule{Operation: "GetObject", Effect: flip}, ""},
		"throttling":                            {fault.Rule{Operation: "GetObject", Count: 2, Effect: slow}, ""},
		"credentials that expire in mid-read":   {fault.Rule{Operation: "GetObject", Skip: 3, Effect: expired}, "expired"},
		"no permission to list":                 {fault.Rule{Operation: "ListObjectsV2", Effect: fault.Deny()}, "may not s3:ListBucket"},
		"no permission to read":                 {fault.Rule{Operation: "GetObject", Effect: fault.Deny()}, "may not s3:GetObject"},
		"no permission to read records":         {fault.Rule{Service: "dynamodb", Effect: fault.Deny()}, "dynamodb:"},
	} {
		rule := a.region.Faults.Add(c.rule)
		cache := a.cache()
		err := a.boot(cache)
		rule.Remove()
		switch {
		case rule.Hits() == 0:
			t.Errorf("%s: nothing happened", name)
		case c.says == "" && err != nil, c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v", name, err)
		}
		if err := a.boot(cache); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

// skipping is a reader without its first bytes.
type skipping struct {
	r    io.Reader
	skip int64
}

func (s *skipping) Read(p []byte) (int, error) {
	if s.skip > 0 {
		n, err := io.CopyN(io.Discard, s.r, s.skip)
		if s.skip -= n; err != nil {
			return 0, err
		}
	}
	return s.r.Read(p)
}

func TestACacheThatTakesNothingIsSaid(t *testing.T) {
	t.Parallel()
	a := newArtifacts(t)
	rule := a.region.Faults.Add(fault.Rule{Operation: "PutObject", Effect: fault.Deny()})
	_, err := a.cache().Keep(t.Context(), a.wanted(), artifact.Built{Instance: "i-0123456789"}, artifact.Packing{Dir: a.tree}, nil)
	rule.Remove()
	if err == nil || !strings.Contains(err.Error(), "may not s3:PutObject on s3://artifacts/built/here/shop/prod/") {
		t.Errorf("the error is %v", err)
	}
	// An answer that is lost is no other's object.
	a.region.Faults.Add(fault.Rule{Operation: "PutObject", Count: 1, Effect: fault.CutAfter()})
	if k := a.keep(a.cache()); k.Name == "" {
		t.Errorf("kept %+v", k)
	}
	if err := a.boot(a.cache()); err != nil {
		t.Error(err)
	}
}
