package unittest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/unit"
)

func tail(t *testing.T, b *bench) {
	b.start(b.spec("web",
		"say:one", `quoted:"two\xff!"`, "say:\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07 \u202emirror", "say:"+strings.Repeat("é", 400), "say:last", "exit:0"))
	b.exited("web")
	want := []string{"two\ufffd!", "red bell  mirror", strings.Repeat("é", 248) + "…", "last"}
	if diff := cmp.Diff(want, b.lines(4)); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
	if got := b.lines(100); len(got) != 5 {
		t.Errorf("five lines were printed, %d were given", len(got))
	}
	if got := b.lines(0); len(got) != 0 {
		t.Errorf("no line was asked for, %d were given", len(got))
	}
}

const (
	floodBound = 1 << 30  // never may a unit's output take more of the disk, however busy the machine is
	floodSmall = 16 << 20 // an adapter that takes no more than this keeps the output elsewhere, or bounds it as it comes
)

func flood(t *testing.T, b *bench) {
	b.start(b.spec("web", "flood"))
	began := time.Now()
	for largest, cut := int64(0), false; !cut; time.Sleep(20 * time.Millisecond) {
		used := b.diskUse()
		cut = used < largest
		largest = max(largest, used)
		if largest > floodBound || time.Since(began) > patience {
			t.Fatalf("its output took %d MB of the disk in %s, and was not cut", largest>>20, time.Since(began))
		}
		if largest < floodSmall && time.Since(began) > 3*time.Second {
			break
		}
	}
	lines := b.lines(5)
	if len(lines) != 5 || !strings.Contains(lines[0], "flood flood") {
		t.Errorf("the tail of a flood is %q", lines)
	}
	b.stop("web", time.Second)
	if left := b.diskUse(); left > 1<<20 {
		t.Errorf("%d KB are left of its output after it was stopped", left>>10)
	}
}

func (b *bench) diskUse() (bytes int64) {
	_ = filepath.WalkDir(b.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}

func (b *bench) sockets(name string) unit.Sockets {
	b.Helper()
	s, err := b.Sockets(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func socketsOwned(t *testing.T, b *bench) {
	own, other, daemon := freePort(t), freePort(t), freePort(t)
	s := b.spec("web", fmt.Sprint("listen:", other), "touch:"+b.file("other"), "polite", fmt.Sprintf("daemon:listen:%d", daemon), "wait")
	s.Port = own
	b.start(s)
	want := unit.Sockets{Others: []int{min(other, daemon), max(other, daemon)}}
	b.eventually("it listens on two other ports", func() bool { return cmp.Equal(want, b.sockets("web")) })
	b.stop("web", patience)

	s = b.spec("web", fmt.Sprint("listen:", own), fmt.Sprint("listen:", other), "wait")
	s.Port = own
	b.start(s)
	want = unit.Sockets{Owned: true, Others: []int{other}}
	b.eventually("it listens on its port", func() bool { return cmp.Equal(want, b.sockets("web")) })
}

func socketsForeign(t *testing.T, b *bench) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := b.spec("web", "touch:"+b.file("pid"), "wait")
	s.Port = l.Addr().(*net.TCPAddr).Port
	b.start(s)
	b.pid(b.file("pid"))
	if got := b.sockets("web"); got.Owned || len(got.Others) != 0 {
		t.Errorf("the unit listens on nothing, but is said to: %+v", got)
	}
}

func adoption(t *testing.T, b *bench) {
	s := b.spec("web", "say:before", "daemon:touch:"+b.file("daemon"), "touch:"+b.file("pid"), "wait")
	s.Port = freePort(t)
	b.start(s)
	pid, daemon := b.pid(b.file("pid")), b.pid(b.file("daemon"))
	before, _ := b.status("web")

	b.next()
	if gone(pid) || gone(daemon) {
		t.Fatal("the unit ended with its agent")
	}
	after, there := b.status("web")
	if !there {
		t.Fatal("the next agent does not know the unit")
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("status before and after (-before +after):\n%s", diff)
	}
	if got := b.lines(1); len(got) != 1 || got[0] != "before" {
		t.Errorf("the output of before is %q", got)
	}
	b.start(s)
	if again, _ := b.status("web"); again.PID != pid {
		t.Error("the unit was started a second time")
	}
	b.stop("web", time.Second)
	b.mustBeGone(pid)
	b.mustBeGone(daemon)
}

func adoptionExited(t *testing.T, b *bench) {
	b.start(b.spec("broken", "exit:3"))
	b.start(b.spec("web", "touch:"+b.file("pid"), "wait"))
	b.exited("broken")
	pid := b.pid(b.file("pid"))
	b.next()
	if s, _ := b.status("broken"); s.State != unit.Exited || s.ExitCode != 3 {
		t.Errorf("broken exited with code 3, the next agent says it %s", s.Ended())
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := b.exited("web"); s.ExitCode != -1 {
		t.Errorf("web was killed, the next agent says it %s", s.Ended())
	}
}

func noSecret(t *testing.T, b *bench) {
	const secret = "the-rabbit-is-in-the-hat"
	s := b.spec("web", "touch:"+b.file("pid"), "wait", secret)
	s.Environment = append(s.Environment, "DATABASE_URL="+secret)
	b.start(s)
	b.pid(b.file("pid"))
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	run := b.spec("build", "touch:"+b.file("build"), "wait", secret)
	run.Environment = append(run.Environment, "TOKEN="+secret)
	go func() { done <- b.Run(ctx, run, io.Discard) }()
	b.pid(b.file("build"))
	files := 0
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("looked at %d files: %v", files, err)
	}
	cancel()
	if err := <-done; err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("the run ended with %v", err)
	}
}

func unknown(t *testing.T, b *bench) {
	if _, err := b.Tail(t.Context(), "web", 1); !errors.Is(err, unit.ErrUnknown) {
		t.Errorf("Tail: %v", err)
	}
	if _, err := b.Sockets(t.Context(), "web"); !errors.Is(err, unit.ErrUnknown) {
		t.Errorf("Sockets: %v", err)
	}
}

func yields(t *testing.T, b *bench) {
	b.start(b.spec("web", "daemon:touch:"+b.file("daemon"), "touch:"+b.file("pid"), "wait"))
	pids := []int{b.pid(b.file("pid")), b.pid(b.file("daemon"))}
	scores := func() (all []int) {
		for _, pid := range pids {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
			if err != nil {
				t.Fatal(err)
			}
			score, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, score)
		}
		return all
	}
	before := scores()
	for _, yields := range []bool{true, true, false, false} {
		if err := b.Yield(t.Context(), "web", yields); err != nil {
			t.Fatal(err)
		}
		for i, score := range scores() {
			if (score > before[i]) != yields || score >= before[i]+unit.BackgroundScore {
				t.Errorf("yields %t: its score went from %d to %d", yields, before[i], score)
			}
		}
	}
	b.stop("web", time.Second)
}
