//go:build linux

package process

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/unit"
)

// TestAgentKilled starts a unit and a run from an agent that is a process of its own, and kills that with SIGKILL.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	dir, work := t.TempDir(), t.TempDir()
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), agentVariable+"="+dir, "WORK="+work)
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	web, build := pidIn(t, work+"/web"), pidIn(t, work+"/build")
	if _, err := New(Options{Dir: dir, LogDir: dir + "/log", BootID: "boot-1"}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second agent on the same directory: %v", err)
	}
	_ = agent.Process.Kill()
	_ = agent.Wait()
	if !running(web) || !running(build) {
		t.Fatal("the processes did not outlive their agent")
	}

	r := open(t, dir, "boot-1")
	if running(build) {
		t.Error("the build goes on, though nobody waits for it")
	}
	status := only(t, r)
	if status.State != unit.Running || status.PID != web || status.Process != "web" || status.Release.Number != 7 {
		t.Fatalf("adopted: %+v", status)
	}
	_ = syscall.Kill(web, syscall.SIGKILL)
	eventually(t, func() bool { status = only(t, r); return status.State == unit.Exited })
	if status.Ended() != "ended while no agent was watching" {
		t.Errorf("it %s", status.Ended())
	}
	if err := r.Stop(t.Context(), "web", 0); err != nil {
		t.Error(err)
	}
	mustBeEmpty(t, dir)
}

const agentVariable = "BOOTAGENT_PROCESS_TEST_AGENT"

// agentMain is the agent of TestAgentKilled.
func agentMain(dir string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r, err := New(Options{Dir: dir, LogDir: dir + "/log", BootID: "boot-1"})
	if err == nil {
		err = r.Start(ctx, shell("web", `echo $$ > $WORK/web.tmp; mv $WORK/web.tmp $WORK/web; exec sleep 180`))
	}
	if err == nil {
		err = r.Run(ctx, shell("build", `echo $$ > $WORK/build.tmp; mv $WORK/build.tmp $WORK/build; exec sleep 180`), io.Discard)
	}
	_, _ = os.Stderr.WriteString("agent: " + err.Error() + "\n")
	return 1
}

// shell is a unit that runs a script.
func shell(name, script string) unit.Spec {
	s := unit.Spec{Name: name, Command: []string{"sh", "-c", script}, Dir: "/", Process: name}
	s.Release.Number = 7
	s.Environment = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "WORK=" + os.Getenv("WORK")}
	return s
}

// TestStartCutOff is an agent that was killed between making a process and writing its pid down.
func TestStartCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, dir, "boot-1")
	if err := first.Start(t.Context(), shell("web", "exec sleep 180")); err != nil {
		t.Fatal(err)
	}
	pid := only(t, first).PID
	_ = first.Close()
	rewrite(t, dir, "web", func(rec *record) { rec.PID, rec.StartTicks = 0, 0 })
	second := open(t, dir, "boot-1")
	if got := only(t, second); got.PID != pid || got.State != unit.Running {
		t.Errorf("process %d was not found again: %+v", pid, got)
	}
	_ = second.Close()

	// The same, but the process was never made.
	rewrite(t, dir, "web", func(rec *record) { rec.PID, rec.StartTicks, rec.Nonce = 0, 0, nonce() })
	_ = os.Remove(filepath.Join(dir, "log", "web.log"))
	third := open(t, dir, "boot-1")
	if list, err := third.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("a unit that was never made is listed: %+v, %v", list, err)
	}
	mustBeEmpty(t, dir)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestUnitOfAnotherBootIsForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, dir, "boot-1")
	if err := first.Start(t.Context(), shell("web", "exec sleep 180")); err != nil {
		t.Fatal(err)
	}
	pid := only(t, first).PID
	_ = first.Close()
	second := open(t, dir, "boot-2")
	if list, err := second.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("a unit of another boot is listed: %+v, %v", list, err)
	}
	if running(pid) {
		t.Error("it still runs, though the machine says that it was booted")
	}
	mustBeEmpty(t, dir)
}

// TestPidUsedAgain has a record whose pid now belongs to somebody else.
func TestPidUsedAgain(t *testing.T) {
	t.Parallel()
	stranger := exec.Command("sleep", "180")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	p, _ := lookUp(stranger.Process.Pid)

	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/units", 0o700); err != nil {
		t.Fatal(err)
	}
	rec := record{Schema: schema, Name: "web", Nonce: nonce(), BootID: "boot-1", PID: p.pid, StartTicks: p.start - 1}
	if err := rec.save(dir + "/units"); err != nil {
		t.Fatal(err)
	}
	r := open(t, dir, "boot-1")
	if got := only(t, r); got.State != unit.Exited || got.ExitCode != -1 {
		t.Errorf("a stranger's process was adopted: %+v", got)
	}
	if err := r.Stop(t.Context(), "web", 50*time.Millisecond); err != nil {
		t.Error(err)
	}
	if !running(p.pid) {
		t.Error("a stranger's process was killed")
	}
	wrong := ident{pid: p.pid, start: p.start - 1}
	if err := wrong.signal(syscall.SIGKILL); err != nil || !running(p.pid) {
		t.Errorf("a signal for an older process of that pid reached the newer: %v", err)
	}
}

func TestRecordsThatCanNotBeUnderstoodAreAnError(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`:                             "damaged",
		``:                              "damaged",
		`{"schema": 99, "name": "web"}`: "schema 99",
		`{"schema": 1, "name": "api"}`:  "api",
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(dir+"/units", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/units/web.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Options{Dir: dir, LogDir: dir + "/log", BootID: "boot-1"})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir+"/units/web.json") {
			t.Errorf("record %q: %v", text, err)
		}
	}
}

func TestClosedRunnerLetsGo(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "boot-1")
	running := make(chan error, 1)
	started := make(chan struct{}, 1)
	go func() {
		running <- r.Run(context.Background(), shell("build", "echo; exec sleep 180"), writer(func(p []byte) (int, error) {
			started <- struct{}{}
			return len(p), nil
		}))
	}()
	<-started
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-running; !errors.Is(err, errClosed) {
		t.Errorf("a run that Close ended says %v", err)
	}
	if err := r.Start(t.Context(), shell("web", "exit 0")); !errors.Is(err, errClosed) {
		t.Errorf("Start after Close: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error("the second Close:", err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func only(t *testing.T, r *Runner) unit.Status {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("one unit was expected: %+v, %v", list, err)
	}
	return list[0]
}

func running(pid int) bool {
	p, ok := lookUp(pid)
	return ok && !p.gone
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

func pidIn(t *testing.T, path string) int {
	t.Helper()
	var pid int
	eventually(t, func() bool {
		text, err := os.ReadFile(path)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && pid > 0
	})
	return pid
}

func rewrite(t *testing.T, dir, name string, change func(*record)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "units", name+recordSuffix))
	if err != nil {
		t.Fatal(err)
	}
	var rec record
	if err := json.Unmarshal(text, &rec); err != nil {
		t.Fatal(err)
	}
	change(&rec)
	if err := rec.save(filepath.Join(dir, "units")); err != nil {
		t.Fatal(err)
	}
}

// mustBeEmpty looks for files that were left: only the locks may be.
func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"units", "runs", "log"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if e.Name() != ".lock" {
				t.Errorf("%s/%s is left", sub, e.Name())
			}
		}
	}
}
