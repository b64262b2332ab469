package systemd

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
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
	if err := Ready(); err != nil {
		t.Fatal(err)
	}
	<-stopped
	down, err := ShuttingDown(t.Context())
	file, failed := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if failed != nil {
		t.Fatal(failed)
	}
	fmt.Fprintf(file, "%v %v\n", down, err)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
