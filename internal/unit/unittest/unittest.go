// Package unittest is the contract of unit.Runner as a suite of tests on real
// processes, which every adapter passes.
package unittest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// NewRunner makes a Runner that keeps all its files below dir. A second one on the same dir is the agent that comes
// after: it finds the first one's units. Before that the suite closes the first, if it is an io.Closer. The function closes what it
// makes when the test ends.
type NewRunner func(t testing.TB, dir string) unit.Runner

// patience is how long the suite waits for what must happen, on however slow a machine.
const patience = 30 * time.Second

// Contract runs the suite. The adapter's TestMain must call Main.
func Contract(t *testing.T, newRunner NewRunner) {
	for name, test := range map[string]func(*testing.T, *bench){
		"a unit is started, listed and stopped":                      startListStop,
		"starting a unit that runs leaves it alone":                  startTwice,
		"an exited unit keeps its code until it is started again":    exitCode,
		"a unit that a signal ended says which":                      exitSignal,
		"an exited unit leaves nothing behind":                       exitSweeps,
		"a unit that can't start says why, and is not there":         startFails,
		"an app that hears SIGTERM may say goodbye":                  stopPolite,
		"an app that ignores SIGTERM is killed after the grace":      stopDeaf,
		"stopping kills daemons and bare children too":               stopDaemons,
		"stopping what is not there does nothing":                    stopNothing,
		"the tail is the end of the output, fit for a terminal":      tail,
		"a flood of output does not fill the disk":                   flood,
		"sockets tell the port it was told from others":              socketsOwned,
		"a port that a stranger holds is not the unit's":             socketsForeign,
		"a unit that yields goes first when memory runs out":         yields,
		"the next agent finds the units and can stop them":           adoption,
		"the next agent knows what exited":                           adoptionExited,
		"no secret is in any file":                                   noSecret,
		"what is asked of an unknown unit is ErrUnknown":             unknown,
		"runs end well, or say how they did not":                     runEnds,
		"a run gets its own environment and directory, and no input": runEnvironment,
		"a run that takes too long is killed with all its processes": runTimeout,
		"a run's daemon is killed, and can't hold its output open":   runDaemon,
		"a run whose output nobody takes ends":                       runRefused,
		"a run leaves no unit":                                       runListed,
		"many at once do not get in each other's way":                concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bench{TB: t, dir: t.TempDir(), work: t.TempDir(), again: newRunner}
			b.use(newRunner(t, b.dir))
			test(t, b)
		})
	}
}

// bench is one test's runner, and what the tests do with it.
type bench struct {
	testing.TB // not *testing.T, whose Run would hide the Runner's
	unit.Runner
	dir   string // the runner's files
	work  string // the apps' files
	again NewRunner
}

// next closes the runner as an agent that ends would, and makes the next.
func (b *bench) next() {
	b.Helper()
	if c, ok := b.Runner.(io.Closer); ok {
		if err := c.Close(); err != nil {
			b.Fatal("close the runner:", err)
		}
	}
	b.use(b.again(b.TB, b.dir))
}

// use takes the runner, and stops its units when the test ends, unless another has taken over by then.
func (b *bench) use(r unit.Runner) {
	b.Runner = r
	b.Cleanup(func() {
		if b.Runner == r {
			b.stopAll()
		}
	})
}

func (b *bench) stopAll() {
	list, err := b.List(context.Background())
	if err != nil {
		b.Error("list the units to clean up:", err)
	}
	for _, u := range list {
		if err := b.Stop(context.Background(), u.Name, 0); err != nil {
			b.Error("clean up:", err)
		}
	}
}

// spec is an app that does these words.
func (b *bench) spec(name string, words ...string) unit.Spec {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return unit.Spec{
		Name: name, Command: append([]string{exe}, words...), Dir: b.work,
		Environment: []string{"PATH=/usr/bin:/bin", appVariable + "=1"},
		Release:     model.Release{Number: 7, Ref: "main", Revision: strings.Repeat("ab", 20)}, Process: "web",
	}
}

func (b *bench) file(name string) string { return filepath.Join(b.work, name) }

func (b *bench) start(s unit.Spec) {
	b.Helper()
	if err := b.Start(b.Context(), s); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) status(name string) (unit.Status, bool) {
	b.Helper()
	list, err := b.List(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for _, u := range list {
		if u.Name == name {
			return u, true
		}
	}
	return unit.Status{}, false
}

func (b *bench) eventually(what string, is func() bool) {
	b.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

func (b *bench) exited(name string) unit.Status {
	b.Helper()
	var s unit.Status
	b.eventually(name+" has exited", func() bool {
		s, _ = b.status(name)
		return s.State == unit.Exited
	})
	return s
}

// pid waits for the file that an app has put its pid into.
func (b *bench) pid(path string) int {
	b.Helper()
	var pid int
	b.eventually(path+" is there", func() bool {
		text, err := os.ReadFile(path)
		pid, _ = strconv.Atoi(string(text))
		return err == nil
	})
	return pid
}

// gone says whether the process has ended; a zombie has.
func gone(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func (b *bench) mustBeGone(pid int) {
	b.Helper()
	if !gone(pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		b.Errorf("process %d still runs", pid)
	}
}

func (b *bench) stop(name string, grace time.Duration) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience+grace)
	defer cancel()
	if err := b.Stop(ctx, name, grace); err != nil {
		b.Fatal(err)
	}
	if s, there := b.status(name); there {
		b.Errorf("%s is still listed: %+v", name, s)
	}
}

// lines is the tail of the unit "web".
func (b *bench) lines(n int) []string {
	b.Helper()
	lines, err := b.Tail(b.Context(), "web", n)
	if err != nil {
		b.Fatal(err)
	}
	return lines
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
