package imds_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	adapter "github.com/bootagent/bootagent/internal/aws/imds"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/imds"
)

const instance = "i-0123456789abcdef0"

// requests remembers what an endpoint was asked.
type requests struct {
	mu  sync.Mutex
	all []imds.Request
}

func (r *requests) observe(q imds.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, q)
}

func (r *requests) of(path string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.all {
		if strings.Contains(q.Path, path) {
			n++
		}
	}
	return n
}

// start opens an instance's endpoint and makes an adapter for it.
func start(t *testing.T, o imds.Options) (*imds.Server, *adapter.Metadata, *requests) {
	t.Helper()
	var seen requests
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	o.InstanceID, o.Observe = instance, seen.observe
	server, err := imds.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, metadata(t, server.Endpoint(), "boot-1"), &seen
}

// metadata makes an adapter for an endpoint, which the SDK takes from the environment alone.
func metadata(t *testing.T, endpoint, bootID string) *adapter.Metadata {
	t.Helper()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	s, err := session.Load(t.Context(), session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return adapter.New(s, adapter.Options{BootID: bootID})
}

func TestIdentityTakesOneRequest(t *testing.T) {
	_, m, seen := start(t, imds.Options{Region: "eu-west-1", AvailabilityZone: "eu-west-1b", PrivateIP: "10.1.2.3"})
	got, err := m.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := model.Identity{InstanceID: instance, Region: "eu-west-1", AvailabilityZone: "eu-west-1b", PrivateIP: "10.1.2.3", BootID: "boot-1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if all := seen.of(""); all != 2 || seen.of("/latest/api/token") != 1 {
		t.Errorf("it took %d requests, want a token and the document", all)
	}
}

func TestTheKernelsBootIDUnlessToldOtherwise(t *testing.T) {
	server, _, _ := start(t, imds.Options{})
	got, err := metadata(t, server.Endpoint(), "").Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	if got.BootID != strings.TrimSpace(string(want)) {
		t.Errorf("boot id %q, the kernel's is %q", got.BootID, want)
	}
}

func TestIdentityWaitsForTheNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, m, _ := start(t, imds.Options{Addr: address, Delay: 1500 * time.Millisecond})
	if _, err := m.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestIdentityOutlastsAnIMDSThatIsNotReady(t *testing.T) {
	server, m, seen := start(t, imds.Options{})
	server.SetFault(func(path string) int {
		switch n := seen.of("document"); {
		case !strings.Contains(path, "document") || n >= 3:
			return 0
		case n == 0:
			return http.StatusServiceUnavailable
		default:
			return http.StatusNotFound
		}
	})
	if _, err := m.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestIdentityGivesUpWithTheLastCause(t *testing.T) {
	server, m, _ := start(t, imds.Options{})
	server.SetFault(func(string) int { return http.StatusServiceUnavailable })
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := m.Identity(ctx)
	says(t, err, "IMDS did not tell the instance's identity", "HTTP 503", "the last cause")
	if errors.Is(err, model.ErrConfiguration) {
		t.Error("it may pass by itself, but is model.ErrConfiguration")
	}
}

func TestIMDSThatIsSwitchedOffIsConfiguration(t *testing.T) {
	server, m, seen := start(t, imds.Options{})
	server.SetFault(func(string) int { return http.StatusForbidden })
	_, err := m.Identity(t.Context())
	says(t, err, "switched off", "--http-endpoint enabled")
	if !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("no model.ErrConfiguration: %v", err)
	}
	if n := seen.of(""); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestIMDSThatIsForbiddenByTheEnvironmentIsConfiguration(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	s, err := session.Load(t.Context(), session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = adapter.New(s, adapter.Options{}).Identity(t.Context())
	says(t, err, "AWS_EC2_METADATA_DISABLED", "unset it")
	if !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("no model.ErrConfiguration: %v", err)
	}
}

// Version 1 takes no token: an endpoint that refuses one must not be asked without.
func TestThereIsNoWayBackToVersion1(t *testing.T) {
	server, m, seen := start(t, imds.Options{})
	server.SetFault(func(path string) int {
		if strings.HasSuffix(path, "/api/token") {
			return http.StatusMethodNotAllowed
		}
		return 0
	})
	if _, err := m.Identity(t.Context()); err == nil {
		t.Error("an identity without a token")
	}
	if n := seen.of("document"); n != 0 {
		t.Errorf("asked %d times without a token", n)
	}
}

func TestTargetLifecycle(t *testing.T) {
	server, m, seen := start(t, imds.Options{})
	look := func(want model.Lifecycle) {
		t.Helper()
		got, err := m.TargetLifecycle(t.Context())
		if err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	look(model.LifecycleNone)
	if n := seen.of("target-lifecycle-state"); n != 1 {
		t.Errorf("a 404, the normal answer outside a group, was asked for %d times", n)
	}
	server.SetTargetLifecycle("InService")
	look(model.LifecycleInService)

	server.SetFault(func(string) int { return http.StatusServiceUnavailable })
	_, err := m.TargetLifecycle(t.Context())
	says(t, err, "IMDS did not tell the target lifecycle state", "503")
}

func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}
