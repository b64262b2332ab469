package systemd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/bootagent/bootagent/internal/unit"
)

func TestAMachineThatRunsIsNotShuttingDown(t *testing.T) {
	machine(t)
	if down, err := stopping(t.Context()); down || err != nil {
		t.Errorf("got %v, %v", down, err)
	}
}

// TestWhereSystemdDidNotStartTheAgentNobodyIsAsked changes the environment, so it does not run beside others.
func TestWhereSystemdDidNotStartTheAgentNobodyIsAsked(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if down, err := ShuttingDown(t.Context()); down || err != nil {
		t.Errorf("got %v, %v", down, err)
	}
}

// TestWhatIsSeenWhenStopped is a service for test/nspawn: it runs until systemd stops it, and adds to a file what it sees then.
func TestWhatIsSeenWhenStopped(t *testing.T) {
	path := os.Getenv("BOOTAGENT_STOPPED")
	if path == "" {
		t.Skip("test/nspawn runs this as a service of a machine that it stops, and switches off")
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	// A build is under way meanwhile, and is called off.
	r, err := New(t.Context(), Options{Prefix: "seen-", Dir: "/run/seen", Service: "stopped.service"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	ctx, callOff := context.WithCancel(t.Context())
	defer callOff()
	ran := make(chan error, 1)
	go func() {
		ran <- r.Run(ctx, unit.Spec{Name: "build", Command: []string{"/bin/sh", "-c", "echo runs; exec sleep infinity"}, Dir: "/"}, once(func() {
			if err := Ready(); err != nil {
				t.Error(err)
			}
		}))
	}()
	<-stopped
	down, err := ShuttingDown(t.Context())
	callOff()
	built := <-ran
	file, failed := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if failed != nil {
		t.Fatal(failed)
	}
	fmt.Fprintf(file, "%v %v, %v\n", down, err, built)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// once is a writer that calls it at the first write.
type once func()

func (o once) Write(p []byte) (int, error) {
	o()
	return len(p), nil
}
