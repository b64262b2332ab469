package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
