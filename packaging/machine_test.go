package packaging_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/test/nspawn"
)

// standIn is started in the agent's place: what is tested here is the package around it. FAIL is an exit code.
const standIn = `#!/usr/bin/python3
import os, signal, socket, sys
if "FAIL" in os.environ:
    sys.exit(int(os.environ["FAIL"]))
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"READY=1")
signal.pause()
`

const (
	least    = "{version: 1, app: shop, env: prod, source: {url: 'https://github.com/you/shop.git'}, balancer: {mode: none}}\n"
	settling = 30 * time.Second // systemd and dpkg on a busy machine
)

// host is a machine with the words that these tests speak.
type host struct {
	*testing.T
	*nspawn.Machine
}

func (h host) do(argv ...string) string {
	h.Helper()
	out, err := h.Exec(h.Context(), argv...)
	if err != nil {
		h.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(out)
}

func (h host) show(unit, property string) string {
	h.Helper()
	return h.do("systemctl", "show", "--property="+property, "--value", unit)
}

// becomes waits until a unit is in that state (ActiveState).
func (h host) becomes(unit, state string) {
	h.Helper()
	ctx, cancel := context.WithTimeoutCause(h.Context(), settling, errors.New("it took too long"))
	defer cancel()
	for {
		got := h.show(unit, "ActiveState")
		if got == state {
			return
		}
		select {
		case <-ctx.Done():
			status, _ := h.Exec(h.Context(), "systemctl", "--no-pager", "--lines=20", "status", unit) // its exit code tells the state
			h.Fatalf("%s is %s, not %s: %v\n%s", unit, got, state, context.Cause(ctx), status)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (h host) install(deb string) {
	h.Helper()
	if err := h.Copy(h.Context(), deb, "/root/bootagent.deb"); err != nil {
		h.Fatal(err)
	}
	h.do("apt-get", "-qq", "install", "/root/bootagent.deb")
	h.do("rm", "/root/bootagent.deb")
}

// names are all files of the machine but those that its own programs keep to themselves.
func (h host) names() []string {
	h.Helper()
	return strings.Split(h.do("sh", "-c", `find / -xdev \( -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \
		-o -path /var/lib/dpkg -o -path /var/lib/systemd/catalog -o -path /root -o -name __pycache__ \) -prune -o -print | sort; ls -A /run | grep bootagent; true`), "\n")
}

func TestThePackageComesIsUpgradedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	first, second := makePackage(t, "deb", "1.0.0", standIn), makePackage(t, "deb", "1.1.0", standIn)
	h := host{t, nspawn.Boot(t, nspawn.Options{})}
	if err := h.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.do("systemctl", "daemon-reload") // what that makes is no litter of the package
	users := h.do("cat", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
	before := h.names()

	h.install(first)
	if got := h.do("systemctl", "is-enabled", "bootagent"); got != "enabled" {
		t.Errorf("after the installation the unit is %s", got)
	}
	h.do("id", "bootagent-app")
	h.do("id", "bootagent-build")
	h.do("systemctl", "start", "bootagent") // skipped: there is no configuration
	if got := h.show("bootagent", "ActiveState"); got != "inactive" {
		t.Fatalf("without a configuration the unit is %s", got)
	}

	if err := h.Write(t.Context(), "/etc/bootagent/config.yaml", nspawn.File{Content: []byte(least)}); err != nil {
		t.Fatal(err)
	}
	h.do("systemctl", "start", "--no-block", "bootagent")
	h.becomes("bootagent", "active")
	if got := h.do("stat", "--format=%n %U %a", "/var/lib/bootagent", "/run/bootagent"); got != "/var/lib/bootagent root 755\n/run/bootagent root 755" {
		t.Errorf("its directories are %s", got)
	}

	// A process of the app, as the agent starts them, and somebody else's unit of a similar name.
	h.do("systemd-run", "--unit=bootagent-shop-1-web", "--slice=bootagent.slice", "--remain-after-exit", "--uid=bootagent-app", "sleep", "infinity")
	h.do("touch", "/run/bootagent/record", "/var/lib/bootagent/memory.json")
	other := "[Service]\nExecStart=/bin/sleep infinity\n"
	if err := h.Write(t.Context(), "/etc/systemd/system/bootagent-exporter.service", nspawn.File{Content: []byte(other)}); err != nil {
		t.Fatal(err)
	}
	h.do("systemctl", "start", "bootagent-exporter")
	app, agent := h.show("bootagent-shop-1-web", "MainPID"), h.show("bootagent", "MainPID")
	serves := func(when string) {
		t.Helper()
		if got := h.show("bootagent-shop-1-web", "MainPID"); got != app || got == "0" {
			t.Errorf("after %s the app's process is %s, and was %s", when, got, app)
		}
		h.do("test", "-e", "/run/bootagent/record")
	}

	h.install(second)
	h.becomes("bootagent", "active")
	if got := h.show("bootagent", "MainPID"); got == agent {
		t.Error("the upgrade did not restart the agent")
	}
	serves("an upgrade")

	h.do("systemctl", "kill", "--signal=KILL", "bootagent")
	h.becomes("bootagent", "active")
	serves("the death of the agent")

	h.do("sh", "-c", "echo FAIL=5 >/etc/bootagent/environment")
	h.do("systemctl", "restart", "--no-block", "bootagent")
	h.becomes("bootagent", "failed")
	time.Sleep(1500 * time.Millisecond) // RestartSec is one second
	if got := h.show("bootagent", "ActiveState") + " " + h.show("bootagent", "ExecMainStatus"); got != "failed 5" {
		t.Errorf("after exit code 5 it is %s: started again", got)
	}
	h.do("rm", "/etc/bootagent/environment")
	h.do("systemctl", "start", "bootagent")

	h.do("apt-get", "-qq", "remove", "bootagent")
	h.becomes("bootagent", "inactive")
	serves("a removal")
	h.do("test", "-e", "/var/lib/bootagent/memory.json", "-a", "-e", "/etc/bootagent/config.yaml")

	h.do("apt-get", "-qq", "purge", "bootagent")
	h.becomes("bootagent-exporter", "active")
	h.do("rm", "/etc/systemd/system/bootagent-exporter.service")
	h.do("systemctl", "stop", "bootagent-exporter")
	if left := h.do("systemctl", "list-units", "--all", "--plain", "--no-legend", "bootagent*"); left != "" {
		t.Errorf("purging left units:\n%s", left)
	}
	if diff := cmp.Diff(users, h.do("cat", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")); diff != "" {
		t.Errorf("purging left users or groups:\n%s", diff)
	}
	after := h.names()
	left := slices.DeleteFunc(slices.Clone(after), func(name string) bool { return slices.Contains(before, name) })
	if len(left) > 0 {
		t.Errorf("purging left %s", strings.Join(left, "\n"))
	}
}

func TestCloudInitRunsTheUserData(t *testing.T) {
	t.Parallel()
	pkg := read(t, makePackage(t, "deb", "1.0.0", standIn))
	digest := sha256.Sum256([]byte(pkg))
	for _, c := range []struct{ name, file, digest string }{
		{"as a script", "user-data/debian.sh", hex.EncodeToString(digest[:])},
		{"as cloud-config", "user-data/debian.yaml", hex.EncodeToString(digest[:])},
		{"as a script, of another package", "user-data/debian.sh", strings.Repeat("1", 64)},
		{"as cloud-config, of another package", "user-data/debian.yaml", strings.Repeat("1", 64)},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.NewReplacer(noDigest, c.digest, "https://example.com/bootagent.deb", "http://169.254.169.254/bootagent.deb").Replace(read(t, c.file))
			h := host{t, nspawn.Boot(t, nspawn.Options{UserData: text})}
			servePackage(h, pkg)
			_, err := h.Exec(t.Context(), "cloud-init", "status", "--wait")
			if c.digest != hex.EncodeToString(digest[:]) {
				if err == nil {
					t.Error("cloud-init says that all went well")
				}
				if out, err := h.Exec(t.Context(), "test", "-e", "/usr/bin/bootagent"); err == nil {
					t.Errorf("a package with another digest was installed %s", out)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, h.do("tail", "-n30", "/var/log/cloud-init-output.log"))
			}
			h.becomes("bootagent", "active")
			parseConfig(t, c.file, h.do("cat", "/etc/bootagent/config.yaml"))
		})
	}
}

// servePackage serves it to the machine, on an address that the machine knows before it boots.
func servePackage(h host, pkg string) {
	h.Helper()
	listener, err := h.Listen(h.Context(), "tcp", "169.254.169.254:80")
	if err != nil {
		h.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: settling, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bootagent.deb" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, pkg)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	h.Cleanup(func() {
		if err := server.Close(); err != nil {
			h.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			h.Error(err)
		}
	})
}

// The walls around the agent are held to what it does behind them: its adapter for systemd passes the contract there.
func TestTheUnitLeavesTheAgentWhatItNeeds(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "bootagent")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "github.com/bootagent/bootagent/internal/systemd")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// What is tested runs once, and keeps its files where the units that it starts see them too. Two of the walls are open: they make
	// systemd mount /proc anew, and in a container, which the machine is, that shows the host's boot id instead of its own.
	dropIn := "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nProtectKernelTunables=no\nProtectControlGroups=no\nExecStart=\nExecStart=/usr/bin/bootagent -test.v -test.run=^(TestContract|TestAUsersOutputCanBeOpenedAnew)$ -test.timeout=5m\n" +
		"Environment=BOOTAGENT_SYSTEMD=1 TMPDIR=/var/lib/bootagent\n"
	h := host{t, nspawn.Boot(t, nspawn.Options{Files: map[string]nspawn.File{
		"/etc/bootagent/config.yaml":                            {Content: []byte(least)},
		"/usr/lib/sysusers.d/bootagent.conf":                    {Content: []byte(read(t, "systemd/bootagent.sysusers"))},
		"/usr/lib/systemd/system/bootagent.service":             {Content: []byte(read(t, unitFile))},
		"/etc/systemd/system/bootagent.service.d/contract.conf": {Content: []byte(dropIn)},
	}})}
	if err := h.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Copy(t.Context(), program, "/usr/bin/bootagent"); err != nil {
		t.Fatal(err)
	}
	_, err := h.Exec(t.Context(), "systemctl", "start", "bootagent")
	said, journalErr := h.Journal(t.Context(), "--unit=bootagent", "--output=cat")
	if err != nil || journalErr != nil || strings.Contains(said, "--- SKIP") || strings.Count(said, "\n--- PASS: ") != 2 {
		t.Errorf("%v, %v\n%s", err, journalErr, said)
	}
}
