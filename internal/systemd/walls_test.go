package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/unit"
)

func TestTheMetadataAreWalledOff(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	for _, p := range metadataAddresses() {
		address := net.JoinHostPort(p.Addr().String(), "80")
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			if os.Getenv("BOOTAGENT_SYSTEMD") != "" {
				t.Fatal(err)
			}
			t.Skipf("SKIPPED: %s is not this machine's own address: %v", address, err)
		}
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "credentials") })}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		for user, allowed := range map[string]bool{"": false, "nobody": false, "daemon": true} {
			s := shell(t, "curl", "exec curl -sS -g --max-time 1 http://"+address+"/ 2>&1")
			s.User, s.Metadata = user, allowed
			out, err := run(t, r, s)
			if (err == nil) != allowed || strings.Contains(out, "credentials") != allowed {
				t.Errorf("%s as %q, allowed %t: %v: %s", address, user, allowed, err, out)
			}
		}
		_ = server.Close()
		<-served
	}
}

func TestAUnitWritesOnlyWhereItMay(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	open, closed := t.TempDir(), t.TempDir()
	for dir := open; dir != "/"; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o777|os.ModeSticky)
	}
	if err := os.Chmod(closed, 0o777); err != nil {
		t.Fatal(err)
	}
	// Outside of /tmp, of which it gets its own.
	state, release := filepath.Join("/var/lib", filepath.Base(filepath.Dir(open)), "state"), filepath.Join("/var/lib", filepath.Base(filepath.Dir(open)), "release")
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(state)) })
	for _, dir := range []string{state, release} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for user := range map[string]bool{"": true, "nobody": true} {
		s := shell(t, "writer", fmt.Sprintf("touch %s/a && touch /tmp/b && ls %s 2>/dev/null; touch %s/c", state, open, release))
		s.User, s.Writable = user, []string{state}
		out, err := run(t, r, s)
		var exit *unit.ExitError
		if !errors.As(err, &exit) || !strings.Contains(out, release+"/c': Read-only file system") {
			t.Errorf("user %q wrote its release: %v: %s", user, err, out)
		}
		if _, err := os.Stat(state + "/a"); err != nil {
			t.Errorf("user %q could not write its state: %v: %s", user, err, out)
		}
		_ = os.Remove(state + "/a")
		if _, err := os.Stat("/tmp/b"); err == nil {
			t.Error("/tmp is not its own")
		}
	}
	s := shell(t, "writer", "true")
	s.Writable = []string{"/no/such/directory"}
	if err := r.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "/no/such/directory") || !strings.Contains(err.Error(), "226") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestAUsersOutputCanBeOpenedAnew(t *testing.T) {
	machine(t)
	s := shell(t, "opener", "echo out >/dev/stdout; echo err >/dev/stderr; id -un")
	s.User = "nobody"
	if out, err := run(t, newRunner(t, t.TempDir()), s); out != "out\nerr\nnobody\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestABuildIsTheFirstToGiveWay(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	for background, want := range map[bool]string{true: "500\n", false: "0\n"} {
		s := shell(t, "build", "cat /proc/self/oom_score_adj")
		s.Background = background
		if out, err := run(t, r, s); out != want || err != nil {
			t.Errorf("background %t: the OOM score is %q, %v", background, out, err)
		}
	}
	s := shell(t, "weights", "sleep 60")
	s.Background = true
	start(t, r, s)
	all := show(t, r, "weights")
	if all["CPUWeight"] != uint64(10) || all["IOWeight"] != uint64(10) || all["Slice"] != "bootagent.slice" {
		t.Errorf("weights %v and %v, slice %v", all["CPUWeight"], all["IOWeight"], all["Slice"])
	}
}

// show is all that systemd tells of a unit.
func show(t *testing.T, r *Runner, name string) (all map[string]any) {
	t.Helper()
	err := r.bus.call(t.Context(), func(ctx context.Context, c *conn) (err error) {
		all, err = c.GetAllPropertiesContext(ctx, r.service(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestNoSecretIsWhereOthersCanReadIt(t *testing.T) {
	machine(t)
	const secret = "the-rabbit-is-in-the-hat"
	r := newRunner(t, t.TempDir())
	s := shell(t, "web", "echo started; sleep 60")
	s.Environment = append(s.Environment, "TOKEN="+secret)
	u := start(t, r, s)
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", u.PID))
	if err != nil || !bytes.Contains(environ, []byte(secret)) {
		t.Fatalf("it did not get its secret: %q, %v", environ, err)
	}
	if text := fmt.Sprint(show(t, r, "web")); strings.Contains(text, secret) {
		t.Error("a property of the unit holds the secret")
	}
	text, err := exec.CommandContext(t.Context(), "sh", "-c", "systemctl show '*'; systemctl cat "+r.service("web")+"; journalctl -b; ps -ef ww; grep -rsI . /run/systemd/transient").CombinedOutput()
	if bytes.Contains(text, []byte(secret)) || !bytes.Contains(text, []byte(r.service("web"))) {
		t.Errorf("systemd, its files, its journal or an argument list holds the secret: %v", err)
	}
	if descriptors, err := os.ReadDir("/proc/self/fd"); err == nil {
		for _, d := range descriptors {
			if link, _ := os.Readlink("/proc/self/fd/" + d.Name()); strings.Contains(link, "memfd:environment") {
				t.Error("the file of its environment is still open")
			}
		}
	}
}
