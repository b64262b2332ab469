package rolecreds_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/rolecreds"
)

const theRole = "arn:aws:sts::123456789012:assumed-role/shop-app/i-0abc"

func TestAnAppIsTheRoleByTwoVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Run("with the Go SDK", func(t *testing.T) {
		if out := w.goApp(t); out != theRole {
			t.Errorf("the app is %s", out)
		}
	})
	t.Run("with the stock AWS CLI", func(t *testing.T) {
		python := "../../.cache/venv/bin/python"
		if _, err := os.Stat(python); err != nil {
			python = "python3"
		}
		if err := exec.CommandContext(t.Context(), python, "-c", "import awscli").Run(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("the AWS CLI is needed: run make test, which sets it up: %v", err)
			}
			t.Skipf("LEFT OUT: no AWS CLI (run make test, which sets one up): %v", err)
		}
		cmd := exec.CommandContext(t.Context(), python, "-m", "awscli", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
		cmd.Env = append(w.environment(t), "AWS_PAGER=", "PATH="+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != theRole {
			t.Errorf("the CLI is %s, %v", out, err)
		}
	})
	if n := w.Counts()["sts:AssumeRole"]; n != 1 {
		t.Errorf("the role was assumed %d times", n)
	}
}

func TestTheAnswerIsWhatSDKsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.ask(t, func(*http.Request) {})
	var keys map[string]string
	if err := json.Unmarshal([]byte(got.body), &keys); err != nil || got.status != 200 || len(keys) != 5 {
		t.Fatalf("%+v, %v", got, err)
	}
	ends, err := time.Parse(time.RFC3339, keys["Expiration"])
	if err != nil || time.Until(ends) < 50*time.Minute || keys["RoleArn"] != role || !strings.HasPrefix(keys["AccessKeyId"], "ASIA") ||
		keys["SecretAccessKey"] == "" || keys["Token"] == "" {
		t.Errorf("%v, %v", keys, err)
	}
	if got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", got.header)
	}
	text := fmt.Sprint(w.log.All())
	for _, secret := range []string{keys["SecretAccessKey"], keys["Token"], w.token(t)} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds a secret: %s", text)
		}
	}
}

func TestWhoHasNoTokenIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t)
	address := strings.TrimSuffix(strings.TrimPrefix(w.uri(), "http://"), "/credentials")
	_, port, _ := net.SplitHostPort(address)
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
		code   string
	}{
		"no token":            {func(r *http.Request) { r.Header.Del("Authorization") }, 401, "MissingToken"},
		"an empty one":        {func(r *http.Request) { r.Header.Set("Authorization", "") }, 403, "WrongToken"},
		"half of it":          {func(r *http.Request) { r.Header.Set("Authorization", token[:20]) }, 403, "WrongToken"},
		"a bearer":            {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }, 403, "WrongToken"},
		"two, one of them it": {func(r *http.Request) { r.Header.Add("Authorization", "x") }, 403, "WrongToken"},
		"another path":        {func(r *http.Request) { r.URL.Path = "/credentials/x" }, 404, "NotFound"},
		"the root":            {func(r *http.Request) { r.URL.Path = "/" }, 404, "NotFound"},
		"POST":                {func(r *http.Request) { r.Method = http.MethodPost }, 405, "MethodNotAllowed"},
		"a name of a browser": {func(r *http.Request) { r.Host = "evil.example:" + port }, 403, "WrongHost"},
		"localhost":           {func(r *http.Request) { r.Host = "localhost:" + port }, 403, "WrongHost"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.ask(t, c.change)
			var refusal struct{ Code, Message string }
			if err := json.Unmarshal([]byte(got.body), &refusal); err != nil || got.status != c.status || refusal.Code != c.code || refusal.Message == "" {
				t.Errorf("%+v, %v; want %d, %s", got, err, c.status, c.code)
			}
			if strings.Contains(got.body, token) {
				t.Error("the refusal tells the token")
			}
		})
	}
	if n := w.Counts()["sts:AssumeRole"]; n != 0 {
		t.Errorf("the role was assumed %d times for nobody", n)
	}
	if n := w.log.FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
		t.Errorf("%d warnings within a minute, want 1: %v", n, w.log.All())
	}
	if text := fmt.Sprint(w.log.All()); strings.Contains(text, token) || strings.Contains(text, token[:20]) {
		t.Errorf("the log holds the token: %s", text)
	}
}

func TestARequestThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.uri(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", w.token(t))
	req.Header.Set("X-Big", strings.Repeat("x", 20_000))
	// The answer may get lost, as the server hangs up without having read all.
	if resp, err := http.DefaultClient.Do(req); err == nil && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 20 kB: %s", resp.Status)
	}
	if n := w.Counts()["sts:AssumeRole"]; n != 0 {
		t.Errorf("the role was assumed %d times", n)
	}
}

func TestARestartedAgentServesTheSameURIAndToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before, token := w.environment(t)[:2], w.token(t)
	w.stop()
	// The file is the app's own; what it does to it must not count.
	if err := os.Remove(w.tokenFile()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.tokenFile(), []byte("easy"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	if after := w.environment(t)[:2]; fmt.Sprint(after) != fmt.Sprint(before) || w.token(t) != token {
		t.Errorf("before %v, after %v; the same token: %v", before, after, w.token(t) == token)
	}
	if out := w.goApp(t); out != theRole {
		t.Errorf("the app is %s", out)
	}
	if got := w.ask(t, func(r *http.Request) { r.Header.Set("Authorization", "easy") }); got.status != 403 {
		t.Errorf("the app chose its token: %+v", got)
	}
}

func TestAPortThatIsTakenIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t)
	_, err := rolecreds.Open(w.opts) // the port is the first one's
	if err == nil {
		t.Fatal("two serve on one port")
	}
	for _, words := range []string{role, "is taken by another process", "ss -tanp", "server.json", "restart the app"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the error does not say %q: %v", words, err)
		}
	}
	if strings.Contains(err.Error(), token) {
		t.Errorf("the error holds the token: %v", err)
	}
	if got := w.ask(t, func(*http.Request) {}); got.status != 200 {
		t.Errorf("the first one: %+v", got)
	}
}

func TestARecordThatMakesNoSenseIsSaid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"port": 99999, "token": "x"}`, `{"port": 20000}`, `{"token": "x"}`, `{"port": -1, "token": "x"}`, `{`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "server.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := rolecreds.Open(rolecreds.Options{Dir: dir, Role: role, UID: -1, GID: -1})
		if err == nil {
			t.Errorf("%s is taken: %v, %v", text, s.Environment(), s.Close())
		} else if !strings.Contains(err.Error(), "server.json") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestADirectoryThatIsNotOursIsRefused(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{link, "relative", filepath.Join(t.TempDir(), "no", "parent")} {
		if s, err := rolecreds.Open(rolecreds.Options{Dir: dir, Role: role, UID: -1, GID: -1}); err == nil {
			t.Errorf("%s is taken: %v", dir, s.Close())
		}
	}
}

func TestWithoutTheRoleTheAppIsToldWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	denied := w.Faults.Add(fault.Rule{Operation: "AssumeRole", Effect: fault.Deny()})
	if err := w.server.Prove(t.Context()); err == nil || !strings.Contains(err.Error(), "the trust policy of role "+role) {
		t.Errorf("prove: %v", err)
	}
	got := w.ask(t, func(*http.Request) {})
	if got.status != 503 || !strings.Contains(got.body, "CredentialsUnavailable") || !strings.Contains(got.body, "the trust policy of role "+role) {
		t.Errorf("%+v", got)
	}
	if out := w.goApp(t); !strings.Contains(out, "the trust policy of role "+role) {
		t.Errorf("the SDK's user does not see why: %s", out)
	}
	denied.Remove()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if got = w.ask(t, func(*http.Request) {}); got.status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the role can be assumed, but the answer is %+v", got)
		}
	}
}

func TestTheEndWaitsForNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hang := w.Faults.Add(fault.Rule{Operation: "AssumeRole", Effect: fault.Hang()})
	silent, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(w.uri(), "http://"), "/credentials"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	answered := make(chan answer, 1)
	go func() { answered <- w.ask(t, func(*http.Request) {}) }()
	for end := time.Now().Add(time.Minute); hang.Hits() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody asks STS")
		}
	}
	w.stop()
	if got := <-answered; got.status != 503 {
		t.Errorf("who waited: %+v", got)
	}
}

func TestOnlyTheAppsUserReadsTheToken(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("LEFT OUT: only root can be another user: run it as root")
	}
	// t.TempDir is root's alone; the app must reach the directory.
	parent, err := os.MkdirTemp("", "rolecreds-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	const appUser, otherUser = 65534, 65533
	opts := rolecreds.Options{Dir: filepath.Join(parent, "credentials"), Role: role, UID: appUser, GID: -1}
	s, err := rolecreds.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	as := func(uid uint32, line string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	file := filepath.Join(opts.Dir, "token")
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := as(appUser, "cat "+file); err != nil || out != string(token) {
		t.Errorf("the app's user can't read its token: %s, %v", out, err)
	}
	for _, line := range []string{"cat " + file, "cat " + filepath.Join(opts.Dir, "server.json"), "ls " + opts.Dir, "touch " + opts.Dir + "/x"} {
		if out, err := as(otherUser, line); err == nil {
			t.Errorf("another user may %s: %s", line, out)
		}
	}
	for _, line := range []string{"cat " + filepath.Join(opts.Dir, "server.json"), "rm -f " + file, "ls " + opts.Dir, "echo x > " + file} {
		if out, err := as(appUser, line); err == nil {
			t.Errorf("the app's user may %s: %s", line, out)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o400 {
		t.Errorf("the token's mode: %v, %v", info.Mode(), err)
	}
}
