package region_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	sdkimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/internal/region/wire"
)

func open(t *testing.T, opts region.Options) *region.Region {
	t.Helper()
	r, err := region.New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// config is a person's SDK configuration with only one attempt a call.
func config(r *region.Region) aws.Config {
	return aws.Config{
		Region: r.Name(), BaseEndpoint: aws.String(r.Endpoint()), Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider("AKIAPERSON", "secret", ""),
		HTTPClient:  &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()},
	}
}

func put(ctx context.Context, client *ssm.Client, value string) error {
	_, err := client.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String("/a"), Value: aws.String(value), Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
	})
	return err
}

func get(ctx context.Context, client *ssm.Client) (string, error) {
	out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/a")})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Parameter.Value), nil
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestAnInstanceIsKnownByTheCredentialsOfItsRole(t *testing.T) {
	t.Parallel()
	r, ctx := open(t, region.Options{Name: "eu-central-1"}), limit(t)
	meta, err := r.StartIMDS(ctx, imds.Options{Addr: "127.0.0.1:0", InstanceID: "i-0abc"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(r)
	cfg.Credentials = aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) {
		o.Client = sdkimds.New(sdkimds.Options{Endpoint: meta.Endpoint()})
	}))
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(who.Arn); got != "arn:aws:sts::123456789012:assumed-role/bootagent-instance/i-0abc" {
		t.Errorf("the instance calls as %s", got)
	}
	if err := put(ctx, ssm.NewFromConfig(cfg), "v1"); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Calls(wire.Filter{Service: "ssm", Operation: "PutParameter", Instance: "i-0abc"})); n != 1 {
		t.Errorf("%d puts of the instance are recorded, want 1", n)
	}
	if n := len(r.Calls(wire.Filter{Service: "imds", Operation: "PUT /latest/api/token", Instance: "i-0abc"})); n != 1 {
		t.Errorf("%d tokens of the instance are recorded, want 1", n)
	}
	person, err := sts.NewFromConfig(config(r)).GetCallerIdentity(ctx, nil)
	if err != nil || aws.ToString(person.Arn) != "arn:aws:iam::123456789012:user/laptop" {
		t.Errorf("a person calls as %v (%v)", person, err)
	}
}

func TestTheSDKGetsTheServicesOwnErrors(t *testing.T) {
	t.Parallel()
	r, ctx := open(t, region.Options{}), limit(t)
	client := ssm.NewFromConfig(config(r))
	var notFound *types.ParameterNotFound
	if _, err := get(ctx, client); !errors.As(err, &notFound) {
		t.Errorf("got %v, want ParameterNotFound", err)
	}
	_, err := client.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: aws.String("x"), Content: aws.String("{}")})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "UnknownOperationException" {
		t.Errorf("an operation that is left out: %v", err)
	}
	_, err = client.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String("/a"), Value: aws.String("x"), Type: types.ParameterTypeString, Policies: aws.String(`[{"Type":"Expiration"}]`),
	})
	if err == nil || !strings.Contains(err.Error(), "left out") {
		t.Errorf("a policy that would be ignored: %v", err)
	}
}

func TestCallsGoWrongAsTold(t *testing.T) {
	t.Parallel()
	r, ctx := open(t, region.Options{}), limit(t)
	client := ssm.NewFromConfig(config(r))
	once := func(e fault.Effect) *fault.Active {
		return r.Faults.Add(fault.Rule{Service: "ssm", Operation: "PutParameter", Count: 1, Effect: e})
	}
	var api smithy.APIError

	once(fault.Throttle())
	if err := put(ctx, client, "1"); !errors.As(err, &api) || api.ErrorCode() != "ThrottlingException" {
		t.Errorf("throttled: %v", err)
	}
	once(fault.Deny())
	if err := put(ctx, client, "1"); err == nil || !strings.Contains(err.Error(), "is not authorized to perform: ssm:PutParameter") {
		t.Errorf("denied: %v", err)
	}
	if err := put(ctx, client, "1"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	once(fault.CutBefore())
	if err := put(ctx, client, "2"); err == nil {
		t.Error("a cut call succeeded")
	}
	if got, err := get(ctx, client); got != "1" || err != nil {
		t.Errorf("after a cut before the effect: %s %v, want 1", got, err)
	}
	once(fault.CutAfter())
	if err := put(ctx, client, "3"); err == nil {
		t.Error("a cut call succeeded")
	}
	if got, err := get(ctx, client); got != "3" || err != nil {
		t.Errorf("after a cut behind the effect: %s %v, want 3", got, err)
	}
	hang := once(fault.Hang())
	hung, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- put(hung, client, "4") }()
	for hang.Hits() == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // for an answer that should not come
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || hang.Hits() != 1 {
		t.Errorf("hung: %v, %d hits", err, hang.Hits())
	}
}

func TestTheSDKsOwnRetriesGetOverAThrottle(t *testing.T) {
	t.Parallel()
	r, ctx := open(t, region.Options{}), limit(t)
	rule := r.Faults.Add(fault.Rule{Operation: "GetCallerIdentity", Count: 1, Effect: fault.Throttle()})
	cfg := config(r)
	cfg.Retryer = nil
	if _, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil); err != nil || rule.Hits() != 1 {
		t.Errorf("%v, %d hits", err, rule.Hits())
	}
}

func TestCloseEndsHungCallsAndWaits(t *testing.T) {
	t.Parallel()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	meta, err := r.StartIMDS(t.Context(), imds.Options{Addr: "127.0.0.1:0", InstanceID: "i-1"})
	if err != nil {
		t.Fatal(err)
	}
	hang := r.Faults.Add(fault.Rule{Effect: fault.Hang()})
	client, ctx := ssm.NewFromConfig(config(r)), limit(t)
	ended := make(chan error, 1)
	go func() { ended <- put(ctx, client, "1") }()
	for hang.Hits() == 0 {
		if ctx.Err() != nil {
			t.Fatal("the call never arrived")
		}
		time.Sleep(time.Millisecond)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the hung call succeeded")
	}
	if err := r.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
	for _, url := range []string{r.Endpoint(), meta.Endpoint()} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s still serves", url)
		}
	}
	if _, err := r.StartIMDS(t.Context(), imds.Options{Addr: "127.0.0.1:0", InstanceID: "i-2"}); err == nil {
		t.Error("a closed region starts an instance")
	}
}

func TestARegionStaysOnLoopback(t *testing.T) {
	t.Parallel()
	_, err := region.New(t.Context(), region.Options{Addr: "0.0.0.0:0"})
	if err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("got %v", err)
	}
}

// Versions are handed out once each, whoever asks at the same time, and no
// answer is lost on the way.
func TestManyCallAtOnce(t *testing.T) {
	t.Parallel()
	r, ctx := open(t, region.Options{}), limit(t)
	client := ssm.NewFromConfig(config(r))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				if err := put(ctx, client, "x"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/a")})
	if err != nil || out.Parameter.Version != 320 {
		t.Errorf("version %+v, %v, want 320", out, err)
	}
	if n := r.Counts()["ssm:PutParameter"]; n != 320 {
		t.Errorf("%d puts counted, want 320", n)
	}
}

func TestARegionOnAListenerOfATestsServesThereAndClosesIt(t *testing.T) {
	t.Parallel()
	listen := func() net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	endpoint, one, other := listen(), listen(), listen()
	r, err := region.New(t.Context(), region.Options{Listener: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Endpoint(), "http://"+endpoint.Addr().String(); got != want {
		t.Errorf("the endpoint is %s, not %s", got, want)
	}
	if err := put(limit(t), ssm.NewFromConfig(config(r)), "a"); err != nil {
		t.Error(err)
	}
	if _, err := r.StartIMDS(t.Context(), imds.Options{Listeners: []net.Listener{one, other}, InstanceID: "i-0abc"}); err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{one, other} {
		client := sdkimds.New(sdkimds.Options{Endpoint: "http://" + l.Addr().String()})
		if _, err := client.GetMetadata(limit(t), &sdkimds.GetMetadataInput{Path: "instance-id"}); err != nil {
			t.Error(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, l := range []net.Listener{endpoint, one, other} {
		if l.Close() == nil {
			t.Errorf("%s was left open", l.Addr())
		}
	}
}
