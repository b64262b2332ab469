package rolecreds_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	adapter "github.com/bootagent/bootagent/internal/aws/sts"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/rolecreds"
)

const role = "arn:aws:iam::123456789012:role/shop-app"

// The test binary is also an app: it asks AWS who it is, with what its environment says and the Go SDK.
func TestMain(m *testing.M) {
	if os.Getenv("ROLECREDS_TEST_APP") != "" {
		os.Exit(app())
	}
	os.Exit(m.Run())
}

func app() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err == nil {
		var who *sts.GetCallerIdentityOutput
		if who, err = sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil); err == nil {
			fmt.Println(aws.ToString(who.Arn))
			return 0
		}
	}
	fmt.Println(err)
	return 1
}

// world is a region, and a server of a role's keys in it.
type world struct {
	*region.Region
	opts   rolecreds.Options
	server *rolecreds.Server
	log    *observer.ObservedLogs
	stop   func()
}

func newWorld(t *testing.T) *world {
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
	roles := adapter.New(awstest.Session(t, r.Endpoint()))
	core, log := observer.New(zap.DebugLevel)
	w := &world{Region: r, log: log, opts: rolecreds.Options{
		Dir: filepath.Join(t.TempDir(), "credentials"), Role: role, UID: -1, GID: -1, Log: zap.New(core),
		Assume: func(ctx context.Context) (model.RoleCredentials, error) { return roles.Assume(ctx, role, "i-0abc") },
	}}
	w.start(t)
	t.Cleanup(func() { w.stop() })
	return w
}

// start opens and runs the server; stop ends it.
func (w *world) start(t *testing.T) {
	t.Helper()
	var err error
	if w.server, err = rolecreds.Open(w.opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		w.stop = func() {}
	}
}

func (w *world) variable(name string) string {
	for _, v := range w.server.Environment() {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

func (w *world) uri() string       { return w.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") }
func (w *world) tokenFile() string { return w.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") }

func (w *world) token(t *testing.T) string {
	t.Helper()
	token, err := os.ReadFile(w.tokenFile())
	if err != nil || len(token) < 43 { // 256 bits
		t.Fatalf("a token of %d characters, %v", len(token), err)
	}
	return string(token)
}

// environment is all that an app sees.
func (w *world) environment(t *testing.T) []string {
	return append(w.server.Environment(), "AWS_ENDPOINT_URL="+w.Endpoint(), "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "HOME="+t.TempDir())
}

// goApp runs the test binary as an app.
func (w *world) goApp(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(w.environment(t), "ROLECREDS_TEST_APP=1")
	out, _ := cmd.CombinedOutput() // what it says tells all
	return strings.TrimSpace(string(out))
}

type answer struct {
	status int
	body   string
	header http.Header
}

// ask makes one request as an SDK would; change may spoil it.
func (w *world) ask(t *testing.T, change func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.uri(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", w.token(t))
	change(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(body), resp.Header}
}
