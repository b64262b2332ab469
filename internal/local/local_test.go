package local_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/local"
)

type status struct{ State string }

// serve runs a server until the test ends and waits until it answers.
func serve(t *testing.T, path string) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- local.Serve(ctx, path, func() any { return status{"in_service"} }) }()
	deadline := time.Now().Add(10 * time.Second)
	var got status
	for local.Get(t.Context(), path, &got) != nil {
		if time.Now().After(deadline) {
			t.Fatal("nobody answers")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return func() error { cancel(); return <-done }
}

func TestTheAgentAnswersAndLeavesNoSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	stop := serve(t, path)
	var got status
	if err := local.Get(t.Context(), path, &got); err != nil || got.State != "in_service" {
		t.Fatalf("got %v, %v", got, err)
	}
	if err := local.Serve(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "only one may run") {
		t.Fatalf("a second agent on the socket: got %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("the socket is still there: %v", err)
	}
	err := local.Get(t.Context(), path, &got)
	if err == nil || !strings.Contains(err.Error(), "is bootagent running") {
		t.Fatalf("got %v; want to be told what to look at", err)
	}
}

func TestASocketThatAKilledAgentLeftIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := serve(t, path)(); err != nil {
		t.Fatal(err)
	}
}
