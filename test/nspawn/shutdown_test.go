package nspawn

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestAServiceTellsItsOwnEndFromTheMachines stops a service, and then its machine: what it asks systemd on each way out
// decides whether bootagent drains. Either way a build that it calls off is gone, and nothing waits for systemd to forget it.
func TestAServiceTellsItsOwnEndFromTheMachines(t *testing.T) {
	t.Parallel()
	m := Boot(t, Options{})
	binary := filepath.Join(t.TempDir(), "systemd.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "github.com/bootagent/bootagent/internal/systemd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v\n%s", err, out)
	}
	const service = "[Service]\nType=notify\nEnvironment=BOOTAGENT_STOPPED=/var/stopped\n" +
		"ExecStart=/usr/local/bin/systemd.test -test.run ^TestWhatIsSeenWhenStopped$\n[Install]\nWantedBy=multi-user.target\n"
	exec := func(argv ...string) {
		t.Helper()
		if out, err := m.Exec(t.Context(), argv...); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	for _, do := range []func(context.Context) error{
		m.Wait,
		func(ctx context.Context) error { return m.Copy(ctx, binary, "/usr/local/bin/systemd.test") },
		func(ctx context.Context) error {
			return m.Write(ctx, "/etc/systemd/system/stopped.service", File{Content: []byte(service)})
		},
	} {
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	exec("systemctl", "daemon-reload")
	exec("systemctl", "enable", "--now", "stopped")
	exec("systemctl", "restart", "stopped")
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := m.Read(t.Context(), "/var/stopped")
	const killed = "run build: it was killed: context canceled"
	if want := "false <nil>, " + killed + "\ntrue <nil>, " + killed + "\n"; err != nil || got != want && got+"\n" != want {
		t.Errorf("the service saw %q, not %q (%v)", got, want, err)
	}
}
