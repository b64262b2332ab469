package local_test

import (
	"context"
	"errors"
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
	return serveVerbs(t, path, nil)
}

func serveVerbs(t *testing.T, path string, verbs map[string]local.Verb) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- local.Serve(ctx, path, func() any { return status{"in_service"} }, verbs) }()
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
	if err := local.Serve(t.Context(), path, nil, nil); err == nil || !strings.Contains(err.Error(), "only one may run") {
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

func TestTheAgentDoesWhatItIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	told := make(chan string, 3)
	stop := serveVerbs(t, path, map[string]local.Verb{
		"drain":   func(context.Context) error { told <- "drain"; return nil },
		"undrain": func(context.Context) error { return errors.New("the disk is full") },
	})
	if err := local.Post(t.Context(), path, "drain"); err != nil || <-told != "drain" {
		t.Errorf("got %v", err)
	}
	for verb, word := range map[string]string{"undrain": "refuses to undrain: the disk is full", "explode": "of another version", "status": "of another version"} {
		if err := local.Post(t.Context(), path, verb); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: got %v, and it should say %q", verb, err, word)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may command: %v (%v)", info.Mode(), err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := local.Post(t.Context(), path, "drain"); err == nil || !strings.Contains(err.Error(), "is bootagent running") {
		t.Errorf("got %v", err)
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
