package nspawn

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAMachineIsARealInstance(t *testing.T) {
	t.Parallel()
	m := Boot(t, Options{
		UserData: "#!/bin/sh\necho ran >>/var/lib/user-data\n",
		Files: map[string]File{
			"/opt/tool":         {Content: []byte("#!/bin/sh\necho tool $1\n"), Mode: 0o755},
			"/etc/deep/er/file": {Content: []byte("deep")},
		},
	})
	exec := func(argv ...string) string {
		t.Helper()
		out, err := m.Exec(t.Context(), argv...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	began := time.Now()
	if err := m.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("booted, and user-data run, after another %s", time.Since(began).Round(time.Millisecond))
	if got := exec("ps", "-o", "comm=", "1"); got != "systemd" {
		t.Errorf("its first process is %s", got)
	}
	if got := exec("cat", "/var/lib/user-data", "/etc/deep/er/file") + exec("/opt/tool", "x"); got != "ran\ndeeptool x" {
		t.Errorf("user-data and files: %q", got)
	}
	if got := exec("hostname"); got != m.Name {
		t.Errorf("its host name is %q, not %q", got, m.Name)
	}

	t.Run("its metadata are served from here", func(t *testing.T) {
		v4, v6 := MetadataAddresses()
		for _, a := range []netip.Addr{v4, v6} {
			l, err := m.Listen(t.Context(), "tcp", net.JoinHostPort(a.String(), "80"))
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, a) })}
			served := make(chan error, 1)
			go func() { served <- server.Serve(l) }()
			if got := exec("curl", "-sS", "-g", "http://"+net.JoinHostPort(a.String(), "80")); got != a.String() {
				t.Errorf("%s answered %q", a, got)
			}
			_ = server.Close()
			<-served
		}
	})
	t.Run("it reaches the host, and the host it", func(t *testing.T) {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(m.Host.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "host") })}
		go func() { _ = server.Serve(l) }()
		if got := exec("curl", "-sS", "http://"+l.Addr().String()); got != "host" {
			t.Errorf("the host answered %q", got)
		}
		inside, err := m.Listen(t.Context(), "tcp", ":8080")
		if err != nil {
			t.Fatal(err)
		}
		defer inside.Close()
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(m.Address.String(), "8080"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	})
	t.Run("it takes files", func(t *testing.T) {
		if err := m.Write(t.Context(), "/run/new/file", File{Content: []byte("new"), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if got := exec("stat", "-c", "%a %U", "/run/new/file"); got != "600 root" {
			t.Error(got)
		}
	})
	t.Run("a failed command says so", func(t *testing.T) {
		_, err := m.Exec(t.Context(), "sh", "-c", "echo oops; exit 3")
		if err == nil || !strings.Contains(err.Error(), "oops") || !strings.Contains(err.Error(), "status 3") {
			t.Error(err)
		}
	})

	boots := map[string]bool{exec("cat", "/proc/sys/kernel/random/boot_id"): true}
	for name, again := range map[string]func(context.Context) error{
		"reboot": m.Reboot,
		"kill": func(ctx context.Context) error {
			if err := m.Kill(ctx); err != nil {
				return err
			}
			if _, err := m.Exec(ctx, "true"); err == nil {
				t.Error("a machine that was killed still runs commands")
			}
			return m.Start(ctx)
		},
	} {
		began := time.Now()
		if err := again(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		if err := m.Wait(t.Context()); err != nil {
			t.Error(name, err)
		}
		t.Logf("%s: %s", name, time.Since(began).Round(time.Millisecond))
		if got := exec("cat", "/var/lib/user-data"); got != "ran" {
			t.Errorf("%s: user-data has run again, or its file is lost: %q", name, got)
		}
		boots[exec("cat", "/proc/sys/kernel/random/boot_id")] = true
	}
	if len(boots) != 3 {
		t.Errorf("three boots had %d boot ids", len(boots))
	}
}

func TestAClosedMachineLeavesNothing(t *testing.T) {
	t.Parallel()
	var s slot
	t.Run("machine", func(t *testing.T) {
		m := Boot(t, Options{})
		s = m.slot
		if err := m.Write(t.Context(), "/var/big", File{Content: make([]byte, 1<<20)}); err != nil {
			t.Fatal(err)
		}
	})
	if s.number == 0 {
		t.SkipNow() // said by Boot
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), s.dir()+"/") || strings.Contains(string(mounts), s.dir()+" ") {
		t.Error("a mount is left")
	}
	groups, err := cgroups()
	if err != nil {
		t.Fatal(err)
	}
	left := []string{s.dir(), s.netns(), "/sys/class/net/" + s.name(), "/run/systemd/nspawn/propagate/" + s.name()}
	for _, g := range groups {
		left = append(left, s.cgroup(g))
	}
	for _, path := range left {
		if _, err := os.Stat(path); err == nil {
			// Another test may have taken the slot since: then its lock is held.
			if other, err := take(t.Context()); err == nil {
				if other.number == s.number {
					t.Errorf("%s is left", path)
				}
				_ = other.release()
			}
		}
	}
}

// TestSystemdInAMachine runs internal/systemd's tests, the contract of unit.Runner among them, where systemd is init.
func TestSystemdInAMachine(t *testing.T) {
	t.Parallel()
	m := Boot(t, Options{})
	binary := filepath.Join(t.TempDir(), "systemd.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "github.com/bootagent/bootagent/internal/systemd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v\n%s", err, out)
	}
	if err := m.Copy(t.Context(), binary, "/usr/local/bin/systemd.test"); err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	args := []string{"systemd.test", "-test.timeout=5m"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	c, done, err := m.Command(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	c.Env = append(c.Env, "BOOTAGENT_SYSTEMD=1", "GOTRACEBACK=all")
	c.Stdout, c.Stderr = t.Output(), t.Output()
	if err := c.Run(); err != nil {
		t.Errorf("the tests of internal/systemd in %s: %v", m.Name, err)
	}
}
