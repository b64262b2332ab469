package imds_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	sdk "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/region/imds"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start(t *testing.T, opts imds.Options) *imds.Server {
	t.Helper()
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	opts.InstanceID = "i-0abc"
	s, err := imds.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type response struct {
	status int
	body   string
	header http.Header
}

func send(t *testing.T, s *imds.Server, method, path string, headers ...string) response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.Endpoint()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, string(body), resp.Header}
}

func token(t *testing.T, s *imds.Server, ttl string) string {
	t.Helper()
	r := send(t, s, http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", ttl)
	if r.status != http.StatusOK {
		t.Fatalf("no token: %d", r.status)
	}
	return r.body
}

func get(t *testing.T, s *imds.Server, path string) response {
	t.Helper()
	return send(t, s, http.MethodGet, path, "X-aws-ec2-metadata-token", token(t, s, "60"))
}

// The categories are those of
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
// and "the response … for a generic metadata resource … is a list of available
// resources, separated by line feeds (ASCII 10)".
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func TestMetadataIsATree(t *testing.T) {
	t.Parallel()
	s := start(t, imds.Options{
		Region: "eu-central-1", AvailabilityZone: "eu-central-1b", PrivateIP: "10.0.0.7", AMI: "ami-1", InstanceType: "t4g.nano",
		Tags: map[string]string{"app": "shop", "env": "prod"}, UserData: "#!/bin/sh\n", Role: "web",
	})
	cases := []struct{ path, want string }{
		{"/latest", "dynamic\nmeta-data\nuser-data"},
		{"/latest/meta-data/placement/", "availability-zone\nregion"},
		{"/latest/meta-data/placement", "availability-zone\nregion"},
		{"/latest/meta-data/tags/instance", "app\nenv"},
		{"/latest/meta-data/tags/", "instance/"},
		{"/latest/meta-data/iam/", "info\nsecurity-credentials/"},
		{"/latest/meta-data/iam/security-credentials/", "web"},
		{"/latest/meta-data/instance-id", "i-0abc"},
		{"/2009-04-04/meta-data/instance-id", "i-0abc"},
		{"/2021-03-23/meta-data/tags/instance/env", "prod"},
		{"/latest/meta-data/placement/region", "eu-central-1"},
		{"/latest/meta-data/placement/availability-zone", "eu-central-1b"},
		{"/latest/meta-data/local-ipv4", "10.0.0.7"},
		{"/latest/meta-data/hostname", "ip-10-0-0-7.ec2.internal"},
		{"/latest/meta-data/ami-id", "ami-1"},
		{"/latest/meta-data/instance-type", "t4g.nano"},
		{"/latest/user-data", "#!/bin/sh\n"},
	}
	for _, c := range cases {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			if got := get(t, s, c.path); got.status != 200 || got.body != c.want {
				t.Errorf("got %d %q, want %q", got.status, got.body, c.want)
			}
		})
	}
	for _, path := range []string{
		"/latest/meta-data/autoscaling/target-lifecycle-state", "/latest/meta-data/spot/instance-action", "/latest/meta-data/tags/instance/none",
		"/latest/meta-data/instance-id/", "/latest/nothing", "/1999-01-01/meta-data/instance-id",
	} {
		t.Run("404"+path, func(t *testing.T) {
			t.Parallel()
			if got := get(t, s, path); got.status != 404 {
				t.Errorf("got %d %q, want 404", got.status, got.body)
			}
		})
	}
	if top := get(t, s, "/latest/meta-data/").body; !strings.Contains(top, "\nplacement/\n") || !strings.Contains(top, "instance-id\n") {
		t.Errorf("the top of the tree: %q", top)
	}
	if roots := get(t, s, "/").body; !strings.Contains(roots, "2009-04-04\n") || !strings.HasSuffix(roots, "latest") {
		t.Errorf("the versions: %q", roots)
	}
}

// target-lifecycle-state: "Value showing the target Auto Scaling lifecycle
// state that an Auto Scaling instance is transitioning to. Present when the
// instance transitions to one of the target lifecycle states after March 10, 2022."
// spot/instance-action: "action … time"; "If the instance is not marked for
// interruption … you receive an HTTP 404".
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
// "If the instance tag keys and values are changed … the metadata is updated."
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html
func TestWhatAnInstanceIsChanges(t *testing.T) {
	t.Parallel()
	s := start(t, imds.Options{Tags: map[string]string{"a": "1"}})
	const lifecycle, spot = "/latest/meta-data/autoscaling/target-lifecycle-state", "/latest/meta-data/spot/instance-action"

	s.SetTargetLifecycle("InService")
	if got := get(t, s, lifecycle); got.body != "InService" {
		t.Errorf("lifecycle: %d %s", got.status, got.body)
	}
	s.SetTargetLifecycle("")
	if got := get(t, s, lifecycle); got.status != 404 {
		t.Errorf("no lifecycle: %d", got.status)
	}
	s.SetSpotAction("terminate", time.Date(2026, 9, 18, 8, 22, 0, 0, time.UTC))
	var notice map[string]string
	if err := json.Unmarshal([]byte(get(t, s, spot).body), &notice); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"action": "terminate", "time": "2026-09-18T08:22:00Z"}, notice); diff != "" {
		t.Errorf("notice (-want +got):\n%s", diff)
	}
	s.SetSpotAction("", time.Time{})
	if got := get(t, s, spot); got.status != 404 {
		t.Errorf("no notice: %d", got.status)
	}
	s.SetTag("b", "2")
	s.RemoveTag("a")
	if got := get(t, s, "/latest/meta-data/tags/instance/"); got.body != "b" {
		t.Errorf("tags: %q", got.body)
	}
	s.SetFault(func(path string) int {
		if strings.HasPrefix(path, "/latest/meta-data/") {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	if got := get(t, s, lifecycle); got.status != 503 {
		t.Errorf("throttled: %d, want 503", got.status)
	}
}

// The document's members are those of
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
// and the SDK's client and role provider are the judges of the rest.
func TestTheSDKReadsIdentityTagsAndCredentials(t *testing.T) {
	t.Parallel()
	s := start(t, imds.Options{
		Region: "eu-west-1", AvailabilityZone: "eu-west-1c", PrivateIP: "10.1.2.3", Tags: map[string]string{"app": "shop"},
		Role: "web", Credentials: imds.Credentials{AccessKeyID: "ASIA1", SecretAccessKey: "secret", Token: "session"},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := sdk.New(sdk.Options{Endpoint: s.Endpoint()})
	document, err := client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if document.InstanceID != "i-0abc" || document.Region != "eu-west-1" || document.AvailabilityZone != "eu-west-1c" ||
		document.PrivateIP != "10.1.2.3" || document.AccountID != "123456789012" {
		t.Errorf("identity: %+v", document)
	}
	out, err := client.GetRegion(ctx, nil)
	if err != nil || out.Region != "eu-west-1" {
		t.Errorf("region: %+v %v", out, err)
	}
	info, err := client.GetIAMInfo(ctx, nil)
	if err != nil || info.InstanceProfileArn != "arn:aws:iam::123456789012:instance-profile/web" {
		t.Errorf("iam info: %+v %v", info, err)
	}
	got, err := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = client }).Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessKeyID != "ASIA1" || got.SecretAccessKey != "secret" || got.SessionToken != "session" || !got.CanExpire ||
		time.Until(got.Expires) < 30*time.Minute { // the SDK brings it forward to an hour
		t.Errorf("credentials: key %s, expire %v at %v", got.AccessKeyID, got.CanExpire, got.Expires)
	}
}

func TestManyAskAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[int]int{}
	s := start(t, imds.Options{Observe: func(r imds.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Status]++
	}})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if got := get(t, s, "/latest/meta-data/instance-id"); got.body != "i-0abc" {
					t.Errorf("%d %s", got.status, got.body)
				}
				s.SetTag("k", "v")
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{200: 160}, seen); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheNetworkMayComeUpLate(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	s := start(t, imds.Options{Addr: addr, Delay: 300 * time.Millisecond})
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("it listens at once")
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not listen: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := get(t, s, "/latest/meta-data/instance-id"); got.body != "i-0abc" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestALateStartCanBeCalledOff(t *testing.T) {
	t.Parallel()
	s, err := imds.Start(t.Context(), imds.Options{InstanceID: "i-1", Addr: freeAddr(t), Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestAStartThatCannotWorkSaysWhy(t *testing.T) {
	t.Parallel()
	taken := start(t, imds.Options{})
	addr := strings.TrimPrefix(taken.Endpoint(), "http://")
	cases := []struct {
		name string
		opts imds.Options
		want string
	}{
		{"a port that is taken", imds.Options{InstanceID: "i-1", Addr: addr}, "address already in use"},
		{"no instance", imds.Options{Addr: "127.0.0.1:0"}, "no instance id"},
		{"no address", imds.Options{InstanceID: "i-1"}, "not host:port"},
		{"late on any port", imds.Options{InstanceID: "i-1", Addr: "127.0.0.1:0", Delay: time.Second}, "needs a port"},
	}
	for _, c := range cases {
		if _, err := imds.Start(t.Context(), c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
	late, err := imds.Start(t.Context(), imds.Options{InstanceID: "i-1", Addr: addr, Delay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); late.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a late start on a port that is taken says nothing")
		}
	}
	if err := late.Close(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the late start failed with %v", err)
	}
}
