package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/unit"
)

// runner is a unit.Runner whose Run is a function, and which counts what is started. The real one is held to the wall in
// a booted machine.
type runner struct {
	unit.Runner
	run     func(ctx context.Context, s unit.Spec, out io.Writer) error
	started int
}

func (r *runner) Run(ctx context.Context, s unit.Spec, out io.Writer) error {
	return r.run(ctx, s, out)
}

func (r *runner) Start(context.Context, unit.Spec) error {
	r.started++
	return nil
}

func TestNothingStartsBeforeTheWallIsProven(t *testing.T) {
	t.Parallel()
	proof := make(chan error)
	r := &runner{run: func(ctx context.Context, s unit.Spec, out io.Writer) error {
		if s.User != "builder" || s.Metadata || s.Writable == nil {
			t.Errorf("the probe is not run as a build: %+v", s)
		}
		select {
		case err := <-proof:
			if err != nil {
				fmt.Fprintln(out, "[fd00:ec2::254]:80")
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}}
	begin := func() *wall {
		w := newWall(r, "builder", zap.NewNop())
		t.Cleanup(w.close)
		return w
	}

	w := begin()
	started := make(chan error, 1)
	go func() { started <- w.Start(t.Context(), unit.Spec{Name: "web"}) }()
	select {
	case err := <-started:
		t.Fatalf("it was started without a proof: %v", err)
	case proof <- nil:
	}
	if err := <-started; err != nil || r.started != 1 {
		t.Errorf("behind a wall: %v, %d started", err, r.started)
	}

	w = begin()
	proof <- &unit.ExitError{Name: "bootagent-wall", ExitCode: breached}
	var breach *wallError
	if err := w.wait(t.Context()); !errors.As(err, &breach) || !strings.Contains(err.Error(), "[fd00:ec2::254]:80") {
		t.Errorf("without a wall: %v", err)
	}
	if err := errors.Join(w.Start(t.Context(), unit.Spec{}), w.Run(t.Context(), unit.Spec{}, io.Discard)); err == nil || r.started != 1 {
		t.Errorf("without a wall a unit runs: %v", err)
	}

	w = begin()
	proof <- errors.New("systemd gave no answer")
	if err := w.wait(t.Context()); err == nil || errors.As(err, &breach) || !strings.Contains(err.Error(), "systemd gave no answer") {
		t.Errorf("a probe that could not be run is no breach: %v", err)
	}

	w = begin()
	w.close() // in the middle of the probe
	if w.err == nil {
		t.Error("a probe that was called off proves nothing")
	}
}

func TestAProbeIsAnsweredOnlyByWhatItCanReach(t *testing.T) {
	t.Parallel()
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer metadata.Close()
	reachable := metadata.Listener.Addr().String()
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unreachable := silent.Addr().String()
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	if got := reached(t.Context(), []string{unreachable, reachable}); got != reachable {
		t.Errorf("reached %q, want %q: a 401 is an answer", got, reachable)
	}
	if got := reached(t.Context(), []string{unreachable}); got != "" {
		t.Errorf("reached %q", got)
	}
}

// firewall lets connections out of this network namespace, and nothing else.
const firewall = `ip link set lo up
nft 'add table inet t; add chain inet t out { type filter hook output priority 0; policy drop; }; add rule inet t out meta l4proto tcp accept'
exec "$@"`

// The test runs itself again, in a network namespace of its own: a hardened image has such a firewall, and no wall.
func TestAFirewallIsNotTakenForTheWall(t *testing.T) {
	t.Parallel()
	const inside = "BOOTAGENT_BEHIND_A_FIREWALL"
	if os.Getenv(inside) == "" {
		if os.Geteuid() != 0 {
			t.Skip("LEFT OUT: a network namespace needs root")
		}
		for _, tool := range []string{"unshare", "ip", "nft"} {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("LEFT OUT: %v", err)
			}
		}
		again := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-ec", firewall, "sh", os.Args[0], "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), inside+"=1")
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	metadata := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- metadata.Serve(listener) }()
	defer func() {
		_ = metadata.Close()
		<-served
	}()
	address := listener.Addr().String()
	if !refused(t.Context(), netip.MustParseAddrPort(address)) {
		t.Fatal("the firewall lets a datagram pass")
	}
	if got := reached(t.Context(), []string{address}); got != address {
		t.Errorf("reached %q, want %q", got, address)
	}
}

func TestOnlyAMetadataServiceOnLoopbackMakesALaptop(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]bool{
		"http://127.0.0.1:1338": true, "http://localhost:1338/": true, "http://[::1]:80": true,
		"": false, "http://169.254.169.254": false, "http://[fd00:ec2::254]": false, "http://10.0.0.1": false, "127.0.0.1": false, "http://127.0.0.1.example.com": false,
	} {
		if got := onLoopback(endpoint); got != want {
			t.Errorf("%q: %t", endpoint, got)
		}
	}
}
