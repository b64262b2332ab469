package session_test

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/region/imds"
)

// clean takes away what the machine's own environment says of AWS.
func clean(t *testing.T) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // so that it comes back
			os.Unsetenv(name)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
}

func load(t *testing.T, o session.Options) *session.Session {
	t.Helper()
	s, err := session.Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// answers gives the same answer to all, and keeps the last request's header.
func answers(t *testing.T, start func(http.Handler) *httptest.Server) (*httptest.Server, *atomic.Pointer[http.Header]) {
	t.Helper()
	var last atomic.Pointer[http.Header]
	server := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		last.Store(&h)
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		io.WriteString(w, found)
	}))
	t.Cleanup(server.Close)
	return server, &last
}

func staticKeys(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test")
}

func TestTheEnvironmentNamesEndpointAndRegion(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SSM"} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			staticKeys(t)
			server, last := answers(t, httptest.NewServer)
			t.Setenv(name, server.URL)
			t.Setenv("AWS_REGION", "eu-west-7")
			if err := get(t.Context(), load(t, session.Options{Version: "1.2.3"})); err != nil {
				t.Fatal(err)
			}
			h := *last.Load()
			if ua := h.Get("User-Agent"); !strings.Contains(ua, "bootagent/1.2.3") {
				t.Errorf("user agent %q", ua)
			}
			if auth := h.Get("Authorization"); !strings.Contains(auth, "/eu-west-7/ssm/") {
				t.Errorf("signed for another region: %q", auth)
			}
		})
	}
}

func TestTheConfiguredRegionWinsAndInMovesOn(t *testing.T) {
	clean(t)
	t.Setenv("AWS_REGION", "eu-west-7")
	s := load(t, session.Options{Region: "us-west-9"})
	if s.Config.Region != "us-west-9" || s.In("eu-north-3").Config.Region != "eu-north-3" || s.Config.Region != "us-west-9" {
		t.Errorf("region %q", s.Config.Region)
	}
}

func TestWithoutARegionTheErrorSaysWhereToSetIt(t *testing.T) {
	clean(t)
	staticKeys(t)
	for _, endpoint := range []string{"", "http://127.0.0.1:1"} {
		t.Setenv("AWS_ENDPOINT_URL", endpoint)
		err := get(t.Context(), load(t, session.Options{}))
		if kind(t, err) != session.Configuration {
			t.Errorf("endpoint %q: kind %q", endpoint, kind(t, err))
		}
		mentions(t, err, "no AWS region is known", "AWS_REGION")
	}
}

func TestTheCABundleIsUsed(t *testing.T) {
	clean(t)
	staticKeys(t)
	server, _ := answers(t, httptest.NewTLSServer)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	if err := get(t.Context(), load(t, session.Options{Region: "us-east-1"})); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle+".missing")
	_, err := session.Load(t.Context(), session.Options{})
	mentions(t, err, "can't be read", "ca.pem.missing")
}

func startIMDS(t *testing.T, o imds.Options) *imds.Server {
	t.Helper()
	o.Addr, o.InstanceID = "127.0.0.1:0", "i-0123456789abcdef0"
	server, err := imds.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.Endpoint())
	return server
}

func TestTheRoleSignsAlsoWhenItComesLate(t *testing.T) {
	clean(t)
	metadata := startIMDS(t, imds.Options{Role: "shop", Credentials: imds.Credentials{AccessKeyID: "ASIAROLE", SecretAccessKey: "s", Token: "t"}})
	var asked atomic.Int32
	metadata.SetFault(func(path string) int {
		if strings.Contains(path, "security-credentials") && asked.Add(1) <= 2 {
			return http.StatusNotFound
		}
		return 0
	})
	server, last := answers(t, httptest.NewServer)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	if err := get(t.Context(), load(t, session.Options{Region: "us-east-1"})); err != nil {
		t.Fatal(err)
	}
	if auth := last.Load().Get("Authorization"); !strings.Contains(auth, "ASIAROLE/") {
		t.Errorf("signed by %q", auth)
	}
	if asked.Load() < 3 {
		t.Errorf("IMDS was asked %d times for the role", asked.Load())
	}
}

func TestAnInstanceWithoutARoleIsTold(t *testing.T) {
	clean(t)
	startIMDS(t, imds.Options{})
	server, _ := answers(t, httptest.NewServer)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	err := get(t.Context(), load(t, session.Options{Region: "us-east-1", Timeout: 1500 * time.Millisecond}))
	if kind(t, err) != session.Credentials {
		t.Errorf("kind %q", kind(t, err))
	}
	mentions(t, err, "ssm:GetParameter on parameter /shop", "the instance has no IAM role", "instance profile", "the last cause")
}

func TestALaptopWithoutCredentialsIsToldAtOnce(t *testing.T) {
	clean(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + l.Addr().String()
	l.Close()
	server, _ := answers(t, httptest.NewServer)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
	// Less than the patience with a role that is late.
	err = get(t.Context(), load(t, session.Options{Region: "us-east-1", Timeout: 10 * time.Second}))
	if kind(t, err) != session.Credentials {
		t.Errorf("kind %q", kind(t, err))
	}
	mentions(t, err, "no credentials in the environment", endpoint+" can't be reached")
	if strings.Contains(err.Error(), "the last cause") {
		t.Errorf("it was tried until the deadline: %v", err)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	err = get(t.Context(), load(t, session.Options{Region: "us-east-1"}))
	mentions(t, err, "no credentials in the environment", "AWS_EC2_METADATA_DISABLED")
}

// The provider has attempts of its own; were the call to retry as well, they would multiply.
func TestCredentialsHaveOneRetryLayer(t *testing.T) {
	clean(t)
	var asked atomic.Int32
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "not now", http.StatusInternalServerError)
	}))
	t.Cleanup(provider.Close)
	server, _ := answers(t, httptest.NewServer)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", provider.URL)
	err := get(t.Context(), load(t, session.Options{Region: "us-east-1"}))
	if kind(t, err) != session.Credentials {
		t.Errorf("kind %q", kind(t, err))
	}
	mentions(t, err, "ssm:GetParameter on parameter /shop: no credentials")
	if n := asked.Load(); n > 5 {
		t.Errorf("the provider was asked %d times", n)
	}
}
