package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/region/wire"
)

const signature = "AWS4-HMAC-SHA256 Credential=AKIA1/20260101/us-east-1/%s/aws4_request, SignedHeaders=host, Signature=00"

// echo answers every operation that does not begin with Fail.
func echo(_ context.Context, call wire.Call) (any, error) {
	switch call.Operation {
	case "Fail":
		return nil, wire.Errorf("NoSuchThing", "there is no %s", "<thing>")
	case "FailInside":
		return nil, errors.New("a bug")
	case "Empty":
		return nil, nil
	case "List":
		return struct{ Names wire.Members[string] }{wire.ListOf("a", "b")}, nil
	case "NoMembers":
		return struct{ Names wire.Members[string] }{}, nil
	}
	if call.Form != nil {
		return struct{ Echo string }{call.Form.Get("Word")}, nil
	}
	return map[string]string{"Echo": string(call.Body)}, nil
}

type front struct {
	url string
	log *wire.Log
}

func newFront(t *testing.T, opts wire.Options) front {
	t.Helper()
	opts.Log = wire.NewLog(100)
	server := wire.NewServer(opts)
	server.Handle("ssm", "", wire.HandlerFunc(echo))
	server.Handle("autoscaling", "http://example/doc", wire.HandlerFunc(echo))
	h := httptest.NewServer(server)
	t.Cleanup(h.Close)
	return front{h.URL, opts.Log}
}

type reply struct {
	status          int
	contentType     string
	errorType, body string
}

// call sends one request; service "" sends it unsigned.
func (f front) call(t *testing.T, service, target, contentType, body string) (reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if service != "" {
		req.Header.Set("Authorization", fmt.Sprintf(signature, service))
	}
	if target != "" {
		req.Header.Set("X-Amz-Target", target)
	}
	req.Header.Set("Content-Type", contentType)
	return do(req)
}

func do(req *http.Request) (reply, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	id := resp.Header.Get("X-Amzn-Requestid")
	if id == "" {
		return reply{}, errors.New("no request id")
	}
	return reply{
		status: resp.StatusCode, contentType: resp.Header.Get("Content-Type"),
		errorType: resp.Header.Get("X-Amzn-Errortype"), body: strings.ReplaceAll(string(raw), id, "ID"),
	}, nil
}

const (
	json11 = "application/x-amz-json-1.1"
	json10 = "application/x-amz-json-1.0"
	form   = "application/x-www-form-urlencoded"
)

func TestServerSpeaksBothProtocols(t *testing.T) {
	t.Parallel()
	f := newFront(t, wire.Options{Region: "us-east-1"})
	cases := []struct {
		name                               string
		service, target, contentType, body string
		want                               reply
	}{
		{"json", "ssm", "AmazonSSM.Get", json11, `{"a":1}`,
			reply{200, json11, "", `{"Echo":"{\"a\":1}"}`}},
		{"json 1.0 is answered in 1.0", "ssm", "AmazonSSM.Empty", json10, ``,
			reply{200, json10, "", `{}`}},
		{"json error", "ssm", "AmazonSSM.Fail", json11, `{}`,
			reply{400, json11, "NoSuchThing", `{"__type":"NoSuchThing","message":"there is no \u003cthing\u003e"}`}},
		{"any other error is a 500", "ssm", "AmazonSSM.FailInside", json11, `{}`,
			reply{500, json11, "InternalFailure", `{"__type":"InternalFailure","message":"a bug"}`}},
		{"query", "autoscaling", "", form, "Action=Say&Word=a%26b",
			reply{200, "text/xml", "", `<SayResponse xmlns="http://example/doc"><SayResult><Echo>a&amp;b</Echo></SayResult>` +
				`<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></SayResponse>`}},
		{"query list", "autoscaling", "", form + "; charset=utf-8", "Action=List",
			reply{200, "text/xml", "", `<ListResponse xmlns="http://example/doc"><ListResult><Names><member>a</member><member>b</member></Names>` +
				`</ListResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></ListResponse>`}},
		{"query list without members", "autoscaling", "", form, "Action=NoMembers",
			reply{200, "text/xml", "", `<NoMembersResponse xmlns="http://example/doc"><NoMembersResult><Names></Names>` +
				`</NoMembersResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></NoMembersResponse>`}},
		{"query without an answer", "autoscaling", "", form, "Action=Empty",
			reply{200, "text/xml", "", `<EmptyResponse xmlns="http://example/doc"><EmptyResult></EmptyResult>` +
				`<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></EmptyResponse>`}},
		{"query error", "autoscaling", "", form, "Action=Fail",
			reply{400, "text/xml", "NoSuchThing", `<ErrorResponse xmlns="http://example/doc"><Error><Type>Sender</Type><Code>NoSuchThing</Code>` +
				`<Message>there is no &lt;thing&gt;</Message></Error><RequestId>ID</RequestId></ErrorResponse>`}},
		{"unsigned json", "", "AmazonSSM.Get", json11, `{}`,
			reply{403, json11, "MissingAuthenticationToken", `{"__type":"MissingAuthenticationToken","message":"Request is missing Authentication Token"}`}},
		{"unsigned query", "", "", form, "Action=Say",
			reply{403, "text/xml", "MissingAuthenticationToken", `<ErrorResponse><Error><Type>Sender</Type><Code>MissingAuthenticationToken</Code>` +
				`<Message>Request is missing Authentication Token</Message></Error><RequestId>ID</RequestId></ErrorResponse>`}},
		{"a service that is not there", "ec2", "", form, "Action=DescribeInstances",
			reply{501, "text/xml", "NotImplemented", `<ErrorResponse><Error><Type>Receiver</Type><Code>NotImplemented</Code>` +
				`<Message>this region on a laptop has no service &#39;ec2&#39;, only autoscaling, ssm</Message></Error><RequestId>ID</RequestId></ErrorResponse>`}},
		{"a service in the wrong protocol", "autoscaling", "AutoScaling.Say", json11, `{}`,
			reply{400, json11, "InvalidRequest", `{"__type":"InvalidRequest","message":"the service 'autoscaling' does not speak the protocol of this request"}`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := f.call(t, c.service, c.target, c.contentType, c.body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(reply{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestServerRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	f := newFront(t, wire.Options{Region: "eu-central-1"})
	cases := []struct {
		name, authorization, contentType, query, body string
		status                                        int
		code, says                                    string
	}{
		{"another region", fmt.Sprintf(signature, "ssm"), form, "", "Action=Say", 403, "SignatureDoesNotMatch", "AWS_REGION"},
		{"half a credential", "AWS4-HMAC-SHA256 Credential=AKIA1/ssm, SignedHeaders=host, Signature=00", form, "", "Action=Say", 400, "IncompleteSignature", "5 slash-delimited"},
		{"no signature in it", "AWS4-HMAC-SHA256 Credential=A/1/r/ssm/aws4_request", form, "", "Action=Say", 400, "IncompleteSignature", "SignedHeaders"},
		{"another scheme", "Bearer x", form, "", "Action=Say", 400, "IncompleteSignature", "AWS4-HMAC-SHA256"},
		{"a presigned URL", "", form, "X-Amz-Credential=x", "Action=Say", 400, "IncompleteSignature", "presigned"},
		{"no action", fmt.Sprintf(signature, "autoscaling"), form, "", "Word=x", 400, "MissingAction", "Action"},
		{"a form that is none", fmt.Sprintf(signature, "autoscaling"), form, "", "Action=%zz", 400, "MalformedQueryString", "form"},
		{"another protocol", fmt.Sprintf(signature, "monitoring"), "application/cbor", "", "x", 400, "InvalidRequest", "application/cbor"},
		{"a body without end", fmt.Sprintf(signature, "autoscaling"), form, "", strings.Repeat("x", 17<<20), 413, "RequestEntityTooLarge", "too large"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/?"+c.query, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", c.authorization)
			req.Header.Set("Content-Type", c.contentType)
			got, err := do(req)
			if err != nil {
				t.Fatal(err)
			}
			if got.status != c.status || got.errorType != c.code || !strings.Contains(got.body, c.says) {
				t.Errorf("got %d %s %s, want %d %s with %q in it", got.status, got.errorType, got.body, c.status, c.code, c.says)
			}
		})
	}
}

func TestServerTakesAQueryCallInTheURL(t *testing.T) {
	t.Parallel()
	f := newFront(t, wire.Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/?Action=Say&Word=hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", fmt.Sprintf(signature, "autoscaling"))
	got, err := do(req)
	if err != nil || !strings.Contains(got.body, "<Echo>hello</Echo>") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEveryCallIsRecordedBeforeItIsAnswered(t *testing.T) {
	t.Parallel()
	f := newFront(t, wire.Options{Principal: func(key string) wire.Principal { return wire.Principal{Instance: "i-of-" + key} }})
	for range 3 {
		if _, err := f.call(t, "ssm", "AmazonSSM.Get", json11, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.call(t, "autoscaling", "", form, "Action=Fail"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"ssm:Get": 3, "autoscaling:Fail": 1}, f.log.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if n := len(f.log.Calls(wire.Filter{Operation: "Get", Instance: "i-of-AKIA1"})); n != 3 {
		t.Errorf("%d calls of Get by the instance, want 3", n)
	}
	failed := f.log.Calls(wire.Filter{Failed: true})
	if len(failed) != 1 || failed[0].Code != "NoSuchThing" || failed[0].Status != 400 || failed[0].AccessKey != "AKIA1" {
		t.Errorf("failed calls: %+v", failed)
	}
	if n := len(f.log.Calls(wire.Filter{Since: time.Now().Add(time.Hour)})); n != 0 {
		t.Errorf("%d calls from the future", n)
	}
}

func TestACutCallHasNoAnswerButARecord(t *testing.T) {
	t.Parallel()
	f := newFront(t, wire.Options{Intercept: func(context.Context, wire.Call, func() (any, error)) (any, error) { return nil, wire.ErrCut }})
	if got, err := f.call(t, "ssm", "AmazonSSM.Get", json11, "{}"); err == nil {
		t.Errorf("the cut call was answered: %+v", got)
	}
	if n := len(f.log.Calls(wire.Filter{Code: wire.CodeCut})); n != 1 {
		t.Errorf("%d cut calls recorded, want 1", n)
	}
}

func TestTheLogForgetsTheOldestAndCountsAll(t *testing.T) {
	t.Parallel()
	log := wire.NewLog(3)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { log.Add(wire.Record{Service: "s", Operation: "o"}) })
	}
	wg.Wait()
	for i := range 4 {
		log.Add(wire.Record{Service: "s", Operation: "last", ID: fmt.Sprint(i)})
	}
	var ids []string
	for _, r := range log.Calls(wire.Filter{}) {
		ids = append(ids, r.ID)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, ids); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	if n := log.Counts()["s:o"]; n != 50 {
		t.Errorf("counted %d, want 50", n)
	}
}

func TestQueryReaders(t *testing.T) {
	t.Parallel()
	f := url.Values{
		"Names.member.1": {"a"}, "Names.member.2": {"b"}, "Names.member.10": {"c"}, "NamesMore.member.1": {"no"},
		"Targets.member.1.Id": {"i-1"}, "Targets.member.1.Port": {"80"}, "Targets.member.2.Id": {"i-2"},
		"Rules.member.1.Values.member.1": {"x"}, "Matcher.HttpCode": {"200"},
		"N": {"7"}, "Bad": {"seven"}, "Empty": {""}, "Yes": {"true"}, "No": {"False"},
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, wire.List(f, "Names")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	want := []url.Values{{"Id": {"i-1"}, "Port": {"80"}}, {"Id": {"i-2"}}}
	if diff := cmp.Diff(want, wire.Structs(f, "Targets")); diff != "" {
		t.Errorf("structs (-want +got):\n%s", diff)
	}
	if got := wire.List(wire.Structs(f, "Rules")[0], "Values"); len(got) != 1 || got[0] != "x" {
		t.Errorf("a list in a structure: %v", got)
	}
	if got := wire.Struct(f, "Matcher").Get("HttpCode"); got != "200" {
		t.Errorf("a structure: %q", got)
	}
	if n, given, err := wire.Int(f, "N"); n != 7 || !given || err != nil {
		t.Errorf("Int: %d %v %v", n, given, err)
	}
	if _, given, err := wire.Int(f, "Empty"); given || err != nil {
		t.Errorf("an empty Int: %v %v", given, err)
	}
	var invalid *wire.Error
	if _, _, err := wire.Int(f, "Bad"); !errors.As(err, &invalid) || invalid.Code != "ValidationError" {
		t.Errorf("a bad Int: %v", err)
	}
	if v, given, err := wire.Bool(f, "Yes"); !v || !given || err != nil {
		t.Errorf("Bool: %v %v %v", v, given, err)
	}
	if v, given, err := wire.Bool(f, "No"); v || !given || err != nil {
		t.Errorf("Bool: %v %v %v", v, given, err)
	}
	if _, _, err := wire.Bool(f, "N"); !errors.As(err, &invalid) {
		t.Errorf("a bad Bool: %v", err)
	}
}
