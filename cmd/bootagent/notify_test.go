package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
)

// The environment is the process's, so this test is not parallel.
func TestSystemdIsToldReadyOnceTheLoopRunsAndWhatIsInService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)

	var turns atomic.Bool
	status := func() agent.Status {
		if !turns.Load() {
			return agent.Status{}
		}
		return agent.Status{At: time.Now(), State: "in_service", InService: model.Release{Number: 7, Ref: "v7"}}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- announce(ctx, status, zap.NewNop()) }()

	said := func(patience time.Duration) string {
		buffer := make([]byte, 4096)
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(buffer)
		if err != nil {
			return ""
		}
		return string(buffer[:n])
	}
	if early := said(50 * time.Millisecond); early != "" {
		t.Fatalf("before the loop runs it said %q", early)
	}
	turns.Store(true)
	if got := said(30 * time.Second); got != "READY=1" {
		t.Fatalf("got %q", got)
	}
	if got := said(30 * time.Second); !strings.Contains(got, "in service: release 7 (v7)") {
		t.Fatalf("got %q", got)
	}
	cancel()
	if got := said(30 * time.Second); got != "STOPPING=1" {
		t.Fatalf("got %q", got)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
