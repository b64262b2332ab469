package unittest

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/unit"
)

// output collects what a run prints; its reader need not wait for the run's end.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	fail error
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return 0, o.fail
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func runEnds(t *testing.T, b *bench) {
	var out output
	if err := b.Run(t.Context(), b.spec("build", "say:hello", "exit:0"), &out); err != nil {
		t.Error(err)
	}
	if out.String() != "hello\n" {
		t.Errorf("its output is %q", out.String())
	}

	err := b.Run(t.Context(), b.spec("build", "exit:4"), io.Discard)
	var exit *unit.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 4 || exit.Signal != "" || exit.Name != "build" {
		t.Errorf("it exited with code 4, the error is %v", err)
	}

	s := b.spec("build")
	s.Command = []string{"sh", "-c", "kill -KILL $$"}
	err = b.Run(t.Context(), s, io.Discard)
	if !errors.As(err, &exit) || exit.Signal != "SIGKILL" {
		t.Errorf("it was ended by SIGKILL, the error is %v", err)
	}

	s.Command = []string{"no-such-command"}
	err = b.Run(t.Context(), s, io.Discard)
	if err == nil || errors.As(err, &exit) && exit == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("there is no such command, the error is %v", err)
	}
}

func runEnvironment(t *testing.T, b *bench) {
	var out output
	s := b.spec("build")
	s.Command = []string{"sh", "-c", "pwd; echo $FLAVOR; echo ${HOME:-no home}; cat; echo oops >&2"}
	s.Environment = []string{"PATH=/usr/bin:/bin", "FLAVOR=mint"}
	if err := b.Run(t.Context(), s, &out); err != nil {
		t.Error(err)
	}
	if want := b.work + "\nmint\nno home\noops\n"; out.String() != want {
		t.Errorf("it printed %q, want %q", out.String(), want)
	}
}

func runTimeout(t *testing.T, b *bench) {
	tooLong := errors.New("the build took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error, 1)
	var out output
	go func() {
		done <- b.Run(ctx, b.spec("build", "deaf", "say:building", "daemon:deaf,touch:"+b.file("daemon"), "touch:"+b.file("pid"), "wait"), &out)
	}()
	pid, daemon := b.pid(b.file("pid")), b.pid(b.file("daemon"))
	b.eventually("its output arrives while it runs", func() bool { return out.String() == "building\n" })
	cancel(tooLong)
	select {
	case err := <-done:
		var exit *unit.ExitError
		if !errors.Is(err, tooLong) || errors.As(err, &exit) || !strings.Contains(err.Error(), "build") {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it did not end with its context")
	}
	b.mustBeGone(pid)
	b.mustBeGone(daemon)
}

func runDaemon(t *testing.T, b *bench) {
	// The daemon keeps the output open: sh gives it its own.
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := b.spec("build")
	s.Command = []string{"sh", "-c", `setsid "$0" deaf touch:"$1" wait & while ! test -s "$1"; do sleep 0.02; done; echo built`, exe, b.file("daemon")}
	done := make(chan error, 1)
	var out output
	go func() { done <- b.Run(t.Context(), s, &out) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it waits for the daemon")
	}
	if out.String() != "built\n" {
		t.Errorf("it printed %q", out.String())
	}
	b.mustBeGone(b.pid(b.file("daemon")))
}

func runRefused(t *testing.T, b *bench) {
	full := errors.New("the build's log is full")
	done := make(chan error, 1)
	go func() { done <- b.Run(t.Context(), b.spec("build", "flood"), &output{fail: full}) }()
	select {
	case err := <-done:
		if !errors.Is(err, full) {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on, though nobody takes what it prints")
	}
}

func runListed(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := b.spec("build", "touch:"+b.file("pid"), "wait")
	s.Background = true
	go func() { done <- b.Run(ctx, s, io.Discard) }()
	b.pid(b.file("pid"))
	if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("a run is listed: %+v, %v", list, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the run ended with %v", err)
	}
}
