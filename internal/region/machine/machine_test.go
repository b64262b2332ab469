package machine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/autoscaling"
)

// patience bounds every wait of these tests; no test passes because something was fast.
const patience = 30 * time.Second

// shell starts a machine whose main process is a shell script in an empty directory, and ends it after the test.
func shell(t *testing.T, script string, out *console) *Machine {
	t.Helper()
	command := Command{Argv: []string{"/bin/sh", "-c", script}, Dir: t.TempDir(), Env: []string{"PATH=" + os.Getenv("PATH")}}
	if out != nil {
		command.Output = out
	}
	m, err := Start(fmt.Sprintf("i-0%016x", time.Now().UnixNano()), command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// console is an output that can be read while it is written.
type console struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// number reads a pid that a script wrote into a file.
func number(t *testing.T, path string) int {
	t.Helper()
	var n int
	until(t, "a number in "+path, func() bool {
		text, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			return false
		}
		n, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	return n
}

func alive(pid int) bool {
	_, ok := stat(pid)
	return ok
}

func list(t *testing.T, m *Machine) []int {
	t.Helper()
	pids, err := m.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func gone(t *testing.T, m *Machine) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(patience):
		t.Fatal("Done is not closed")
	}
	if left := list(t, m); len(left) > 0 {
		t.Fatalf("these processes are left: %v", left)
	}
}

// setsid makes a daemon in the classic way: forked twice, a session of its own, its parent gone.
const daemons = `
daemon() { (setsid "$@" >/dev/null 2>&1 </dev/null &) ; }
daemon sh -c 'echo $$ > marked; exec sleep 600'
sh -c 'env -i /bin/sh -c "echo \$\$ > cleared; exec sleep 600" &
       wait'  &
`

func TestSwitchingOffLeavesNothingNotEvenDaemons(t *testing.T) {
	t.Parallel()
	m := shell(t, daemons+"wait", nil)
	dir := m.command.Dir
	marked, cleared := number(t, filepath.Join(dir, "marked")), number(t, filepath.Join(dir, "cleared"))
	// The main process, the daemon in its own session, the shell, and its child without any environment.
	until(t, "four processes", func() bool { return len(list(t, m)) >= 4 })
	for _, pid := range []int{m.AgentPID(), marked, cleared} {
		if !slices.Contains(list(t, m), pid) {
			t.Errorf("process %d is not listed: %v", pid, list(t, m))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.Terminate(ctx); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	if alive(marked) || alive(cleared) {
		t.Error("a daemon lives on")
	}
	if err := m.Terminate(ctx); err != nil {
		t.Errorf("switching off again: %v", err)
	}
}

func TestWhatKeepsForkingIsCaughtAllTheSame(t *testing.T) {
	t.Parallel()
	// Each generation leaves its session, starts the next and dies, so that no list of processes is good for long.
	m := shell(t, `cat > chain <<'X'
echo $$ > chained
sleep 0.01
setsid sh chain >/dev/null 2>&1 &
X
setsid sh chain & exec sleep 600`, nil)
	number(t, filepath.Join(m.command.Dir, "chained"))
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	last, err := os.ReadFile(filepath.Join(m.command.Dir, "chained"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // a survivor would have written on
	if now, _ := os.ReadFile(filepath.Join(m.command.Dir, "chained")); !bytes.Equal(now, last) {
		t.Errorf("the chain goes on: %q, then %q", last, now)
	}
}

func TestKillingTheAgentAloneDoesNotEndTheMachine(t *testing.T) {
	t.Parallel()
	m := shell(t, `test -e app || { setsid sh -c 'echo $$ > app; exec sleep 600' & } ; exec sleep 600`, nil)
	app, first := number(t, filepath.Join(m.command.Dir, "app")), m.AgentPID()
	if err := m.RestartAgent(); err != nil {
		t.Fatal(err)
	}
	until(t, "another agent", func() bool { pid := m.AgentPID(); return pid != 0 && pid != first })
	if !alive(app) {
		t.Error("the app died with the agent")
	}
	// As a person or a test does it.
	second := m.AgentPID()
	if err := syscall.Kill(second, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "a third agent", func() bool { pid := m.AgentPID(); return pid != 0 && pid != second })
	if m.Starts() != 3 || !alive(app) {
		t.Errorf("%d starts, app alive %v", m.Starts(), alive(app))
	}
	select {
	case <-m.Done():
		t.Error("the machine is said to be gone")
	default:
	}
}

func TestAnAgentThatExitsIsStartedAgainExceptWithCodeFive(t *testing.T) {
	t.Parallel()
	out := &console{}
	// Code 0 once, code 1 once, then 5.
	m := shell(t, `echo x >> runs; n=$(wc -l < runs); test $n = 1 && exit 0; test $n = 2 && exit 1; exit 5`, out)
	until(t, "the line that says so", func() bool { return strings.Contains(out.String(), "exited with code 5 and is not started again") })
	if m.Starts() != 3 || m.AgentPID() != 0 {
		t.Errorf("%d starts, agent %d", m.Starts(), m.AgentPID())
	}
	select {
	case <-m.Done():
		t.Error("the machine ended with its agent")
	default:
	}
	if err := m.RestartAgent(); err == nil {
		t.Error("an agent that does not run was restarted")
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
}

func TestARebootEndsEverythingAndStartsTheMainProcessOnAnotherBoot(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"sleep 600", "exit 5"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			var out console
			m := shell(t, `setsid sleep 600 & echo "boot $BOOTAGENT_BOOT_ID $$"; `+end, &out)
			until(t, "the first boot", func() bool { return strings.Contains(out.String(), "boot "+m.ID()+"-boot-0 ") })
			until(t, "its daemon", func() bool { found, err := m.PIDs(); return err == nil && len(found) > 0 })
			before, err := m.PIDs()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Reboot(t.Context()); err != nil {
				t.Fatal(err)
			}
			until(t, "the second boot", func() bool { return strings.Contains(out.String(), "boot "+m.ID()+"-boot-1 ") })
			after, err := m.PIDs()
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range before {
				if slices.Contains(after, pid) {
					t.Errorf("process %d outlived the reboot", pid)
				}
			}
			select {
			case <-m.Done():
				t.Error("the reboot ended the machine")
			default:
			}
		})
	}
}

func TestOutputGoesToTheConsoleAlsoOfWhatOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	out := &console{}
	m := shell(t, `test -e once || { touch once; setsid sh -c 'echo app; while ! test -e go; do sleep 0.02; done; echo late; exec sleep 600' & } ; sleep 600`, out)
	until(t, "the app's line", func() bool { return strings.Contains(out.String(), "app\n") })
	first := m.AgentPID()
	if err := m.RestartAgent(); err != nil {
		t.Fatal(err)
	}
	until(t, "another agent", func() bool { pid := m.AgentPID(); return pid != 0 && pid != first })
	if err := os.WriteFile(filepath.Join(m.command.Dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the late line", func() bool { return strings.Contains(out.String(), "late\n") })
}

func TestAnotherMachinesProcessesAreLeftAlone(t *testing.T) {
	t.Parallel()
	one, other := shell(t, "exec sleep 600", nil), shell(t, "exec sleep 600", nil)
	stranger := exec.Command("sleep", "600") // in the session of whoever runs the machines
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	if err := one.Kill(); err != nil {
		t.Fatal(err)
	}
	if !alive(other.AgentPID()) || !alive(stranger.Process.Pid) || other.Starts() != 1 {
		t.Error("switching one machine off hit something else")
	}
}

func TestWhatCannotBeStartedIsAnError(t *testing.T) {
	t.Parallel()
	for _, c := range []Command{{}, {Argv: []string{"/nowhere/bootagent"}}, {Argv: []string{"true"}, Dir: "/nowhere"}} {
		if m, err := Start("i-00000000000000000", c); err == nil {
			t.Errorf("%v started", c.Argv)
			_ = m.Kill()
		}
	}
}

func TestTerminateSaysWhatIsLeftWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	m := shell(t, "exec sleep 600", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := m.Terminate(ctx)
	if err == nil || !strings.Contains(err.Error(), "terminate instance "+m.ID()) {
		t.Errorf("got %v", err)
	}
	if err := m.Kill(); err != nil { // it may be tried again
		t.Fatal(err)
	}
	gone(t, m)
}

func TestLauncherEndsAllItsMachines(t *testing.T) {
	t.Parallel()
	l := NewLauncher(func(context.Context, autoscaling.Instance) (Command, error) {
		return Command{Argv: []string{"sleep", "600"}}, nil
	})
	base := fmt.Sprintf("%015x", time.Now().UnixNano()&0xfffffffffffffff)
	var all []*Machine
	for n := range 3 {
		id := fmt.Sprintf("i-0%s%x", base, n)
		if _, err := l.Launch(t.Context(), autoscaling.Instance{ID: id}); err != nil {
			t.Fatal(err)
		}
		m, ok := l.Machine(id)
		if !ok {
			t.Fatal("a machine that runs is not known")
		}
		all = append(all, m)
	}
	if err := all[0].Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "the dead machine to be forgotten", func() bool { _, ok := l.Machine(all[0].ID()); return !ok })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		gone(t, m)
	}
	if _, err := l.Launch(t.Context(), autoscaling.Instance{ID: "i-0late"}); err == nil {
		t.Error("a closed launcher launches")
	}
}
