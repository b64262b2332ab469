package unittest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/unit"
)

func startListStop(t *testing.T, b *bench) {
	before := time.Now()
	worker := b.spec("bootagent-shop-7-worker", "wait")
	worker.Process = "worker"
	b.start(worker)
	web := b.spec("bootagent-shop-7-web", "touch:"+b.file("pid"), "wait")
	web.Port = 8081
	b.start(web)
	pid := b.pid(b.file("pid"))

	list, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Name != web.Name || list[1].Name != worker.Name {
		t.Fatalf("the list is not web, worker: %+v", list)
	}
	want := unit.Status{
		Spec:  unit.Spec{Name: web.Name, Dir: web.Dir, Release: web.Release, Process: "web", Port: 8081},
		State: unit.Running, PID: pid, Started: list[0].Started,
	}
	if diff := cmp.Diff(want, list[0]); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if list[0].Started.Before(before.Add(-time.Second)) || list[0].Started.After(time.Now().Add(time.Second)) {
		t.Errorf("it says that it was started at %s, which was not just now", list[0].Started)
	}
	b.stop(web.Name, time.Second)
	b.mustBeGone(pid)
	if s, there := b.status(worker.Name); !there || s.State != unit.Running {
		t.Errorf("the worker went with the web: %+v", s)
	}
}

func startTwice(t *testing.T, b *bench) {
	s := b.spec("web", "touch:"+b.file("pid"), "wait")
	b.start(s)
	pid := b.pid(b.file("pid"))
	b.start(b.spec("web", "touch:"+b.file("second"), "wait"))
	if got, _ := b.status("web"); got.PID != pid {
		t.Errorf("its pid went from %d to %d", pid, got.PID)
	}
	if _, err := os.Stat(b.file("second")); err == nil {
		t.Error("a second process was started")
	}
}

func exitCode(t *testing.T, b *bench) {
	b.start(b.spec("web", "say:first", "exit:3"))
	s := b.exited("web")
	if s.ExitCode != 3 || s.Signal != "" || s.Ended() != "exited with code 3" {
		t.Errorf("it %s (%d, %q), want code 3", s.Ended(), s.ExitCode, s.Signal)
	}
	if got := b.lines(10); len(got) != 1 || got[0] != "first" {
		t.Errorf("its output can't be read after its end: %q", got)
	}
	b.start(b.spec("web", "say:second", "touch:"+b.file("pid"), "wait"))
	pid := b.pid(b.file("pid"))
	if s, _ := b.status("web"); s.State != unit.Running || s.PID != pid {
		t.Errorf("it was not started again: %+v", s)
	}
	if got := b.lines(1); len(got) != 1 || got[0] != "second" {
		t.Errorf("the tail after the second start is %q", got)
	}
}

func exitSignal(t *testing.T, b *bench) {
	b.start(b.spec("web", "touch:"+b.file("pid"), "wait"))
	if err := syscall.Kill(b.pid(b.file("pid")), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := b.exited("web"); s.ExitCode != -1 || s.Signal != "SIGKILL" {
		t.Errorf("it %s (%d, %q), want SIGKILL", s.Ended(), s.ExitCode, s.Signal)
	}
}

func exitSweeps(t *testing.T, b *bench) {
	b.start(b.spec("web", "daemon:touch:"+b.file("daemon"), "bare:touch:"+b.file("bare"), "touch:"+b.file("pid"), "wait"))
	daemon, bare := b.pid(b.file("daemon")), b.pid(b.file("bare"))
	if err := syscall.Kill(b.pid(b.file("pid")), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.exited("web")
	b.mustBeGone(daemon)
	b.mustBeGone(bare)
}

func startFails(t *testing.T, b *bench) {
	cases := map[string]struct {
		change func(*unit.Spec)
		want   []string
	}{
		"missing command":   {func(s *unit.Spec) { s.Command = []string{"no-such-command", "x"} }, []string{"no-such-command", "PATH"}},
		"missing program":   {func(s *unit.Spec) { s.Command = []string{"./bin/server"} }, []string{"./bin/server"}},
		"missing directory": {func(s *unit.Spec) { s.Dir = b.file("nowhere") }, []string{b.file("nowhere"), "directory"}},
		"no command":        {func(s *unit.Spec) { s.Command = nil }, []string{"command"}},
		"no such user":      {func(s *unit.Spec) { s.User = "bootagent-no-such-user" }, []string{"bootagent-no-such-user"}},
		"path as a name":    {func(s *unit.Spec) { s.Name = "../web" }, []string{"../web"}},
	}
	for name, c := range cases {
		s := b.spec("web", "wait")
		s.Environment = append(s.Environment, "TOKEN=tell-nobody")
		c.change(&s)
		err := b.Start(t.Context(), s)
		if err == nil {
			t.Errorf("%s: it started", name)
			continue
		}
		for _, want := range append(c.want, s.Name) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not name %s: %v", name, want, err)
			}
		}
		var command *unit.CommandError
		if unfit := strings.HasPrefix(name, "missing pro") || name == "missing command"; errors.As(err, &command) != unfit {
			t.Errorf("%s: is it a *unit.CommandError? %t: %v", name, !unfit, err)
		}
		if strings.Contains(err.Error(), "tell-nobody") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
	if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("units that never started are listed: %+v, %v", list, err)
	}
}

func stopPolite(t *testing.T, b *bench) {
	b.start(b.spec("web", "polite", "touch:"+b.file("pid"), "wait"))
	pid := b.pid(b.file("pid"))
	begin := time.Now()
	b.stop("web", 10*patience)
	if took := time.Since(begin); took > patience {
		t.Errorf("it took %s to stop an app that ends when asked", took)
	}
	b.mustBeGone(pid)
}

func stopDeaf(t *testing.T, b *bench) {
	b.start(b.spec("web", "deaf", "touch:"+b.file("pid"), "wait"))
	pid := b.pid(b.file("pid"))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("the test is impatient"))
	defer cancel()
	err := b.Stop(ctx, "web", 10*patience)
	if err == nil || !strings.Contains(err.Error(), "web") || !strings.Contains(err.Error(), "the test is impatient") {
		t.Errorf("stopping within 100ms what is deaf: %v", err)
	}
	if s, _ := b.status("web"); s.State != unit.Running || gone(pid) {
		t.Errorf("a stop that ran out of time forgot the unit: %+v", s)
	}
	begin := time.Now()
	b.stop("web", 300*time.Millisecond)
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("it was killed after %s, before its grace was over", took)
	}
	b.mustBeGone(pid)
}

func stopDaemons(t *testing.T, b *bench) {
	b.start(b.spec("web", "deaf",
		"daemon:deaf,touch:"+b.file("daemon"),
		"bare:touch:"+b.file("bare"),
		"daemon:bare:touch:"+b.file("grandchild"),
		"touch:"+b.file("pid"), "wait"))
	var pids []int
	for _, name := range []string{"pid", "daemon", "bare", "grandchild"} {
		pids = append(pids, b.pid(b.file(name)))
	}
	b.stop("web", 50*time.Millisecond)
	for _, pid := range pids {
		b.mustBeGone(pid)
	}
}

func stopNothing(t *testing.T, b *bench) {
	if err := b.Stop(t.Context(), "web", time.Second); err != nil {
		t.Error(err)
	}
	b.start(b.spec("web", "exit:0"))
	b.exited("web")
	b.stop("web", patience)
	b.stop("web", patience)
}

func concurrent(t *testing.T, b *bench) {
	var wg sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprintf("unit-%d", i)
		for range 3 {
			wg.Go(func() {
				if err := b.Start(t.Context(), b.spec(name, "say:hello", "wait")); err != nil {
					t.Error(err)
				}
				if _, err := b.List(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := b.Sockets(t.Context(), name); err != nil && !errors.Is(err, unit.ErrUnknown) {
					t.Error(err)
				}
				if _, err := b.Tail(t.Context(), name, 1); err != nil && !errors.Is(err, unit.ErrUnknown) {
					t.Error(err)
				}
				if err := b.Stop(t.Context(), name, 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := b.Run(t.Context(), b.spec("build", "say:built"), io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("after all were stopped there are %+v, %v", list, err)
	}
}
