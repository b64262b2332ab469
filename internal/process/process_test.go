//go:build linux

package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/user"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/sockets"
	"github.com/bootagent/bootagent/internal/unit"
	"github.com/bootagent/bootagent/internal/unit/unittest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(agentVariable); dir != "" {
		os.Exit(agentMain(dir))
	}
	os.Exit(unittest.Main(m))
}

func TestContract(t *testing.T) {
	t.Parallel()
	unittest.Contract(t, func(t testing.TB, dir string) unit.Runner { return open(t, dir, "boot-1") })
}

// open makes a Runner whose files are below dir, and closes it when the test ends.
func open(t testing.TB, dir, boot string) *Runner {
	t.Helper()
	r, err := New(Options{Dir: dir, LogDir: dir + "/log", BootID: boot, Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	rest := " 10 11 12 0 -1 4227084 75 0 1 0 0 0 0 0 20 0 %s 0 160861 0 0"
	for text, want := range map[string]proc{
		"7 (sleep) S" + fmt.Sprintf(rest, "1"):     {ident: ident{7, 160861}, parent: 10, session: 12},
		"7 (sleep) Z" + fmt.Sprintf(rest, "1"):     {ident: ident{7, 160861}, parent: 10, session: 12, gone: true},
		"7 (main gone) Z" + fmt.Sprintf(rest, "3"): {ident: ident{7, 160861}, parent: 10, session: 12},
		"7 (a) R 1 (b) S" + fmt.Sprintf(rest, "1"): {ident: ident{7, 160861}, parent: 10, session: 12},
	} {
		if got, ok := parseStat(7, text); !ok || got != want {
			t.Errorf("%s: %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "7 (sleep", "7 (sleep) S 1 2 3"} {
		if got, ok := parseStat(7, text); ok {
			t.Errorf("%q was taken for %+v", text, got)
		}
	}
}

func TestAssign(t *testing.T) {
	t.Parallel()
	listeners := []sockets.Listener{{Port: 8081, Inode: 1}, {Port: 3000, Inode: 2}, {Port: 3000, Inode: 3}, {Port: 22, Inode: 4}, {Port: 1000, Inode: 5}}
	for _, c := range []struct {
		name string
		held []uint64
		want unit.Sockets
	}{
		{"nothing", nil, unit.Sockets{}},
		{"its port", []uint64{1}, unit.Sockets{Owned: true}},
		{"other ports, once each and sorted", []uint64{2, 3, 5}, unit.Sockets{Others: []int{1000, 3000}}},
	} {
		held := make(map[uint64]bool)
		for _, inode := range c.held {
			held[inode] = true
		}
		if diff := cmp.Diff(c.want, assign(8081, listeners, held)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	shared := []sockets.Listener{{Port: 8081, Inode: 1}, {Port: 8081, Inode: 2}}
	if got := assign(8081, shared, map[uint64]bool{1: true}); got.Owned {
		t.Error("a port that a stranger listens on too, at another address, is called the unit's")
	}
	if got := assign(8081, shared, map[uint64]bool{1: true, 2: true}); !got.Owned {
		t.Error("a port that two sockets of the unit listen on is not called the unit's")
	}
}

func TestCommandLookup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o755, "bin/data": 0o644, "garbage": 0o755, "orphan": 0o755} {
		if err := os.MkdirAll(dir+"/bin", 0o755); err != nil {
			t.Fatal(err)
		}
		text := map[string]string{"garbage": "\x00\x01", "orphan": "#!/no/such/interpreter\n"}[name]
		if err := os.WriteFile(dir+"/"+name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ command, path, want, err string }{
		{command: "tool", path: "PATH=/nowhere:" + dir + "/bin", want: dir + "/bin/tool"},
		{command: "tool", path: "PATH=bin", want: dir + "/bin/tool"},
		{command: "bin/tool", path: "PATH=", want: dir + "/bin/tool"},
		{command: "./bin/tool", path: "PATH=", want: dir + "/bin/tool"},
		{command: "sh", path: "HOME=/", want: "/usr/bin/sh"},
		{command: "tool", path: "PATH=/usr/bin::", err: `"tool" was not found in PATH=/usr/bin::`},
		{command: "data", path: "PATH=bin", err: "permission denied"},
		{command: "bin/data", path: "PATH=", err: "permission denied"},
		{command: "bin", path: "PATH=" + dir, err: "is a directory"},
	} {
		got, err := unit.FindCommand(c.command, dir, []string{"PATH_INFO=x", c.path})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s in %s: %v, want %q", c.command, c.path, err, c.err)
			}
		} else if err != nil || got != c.want && c.command != "sh" {
			t.Errorf("%s in %s: %s, %v", c.command, c.path, got, err)
		}
	}
	r := open(t, t.TempDir(), "boot-1")
	for name, want := range map[string]string{"garbage": "neither a program", "orphan": "interpreter"} {
		err := r.Start(t.Context(), unit.Spec{Name: "web", Command: []string{"./" + name}, Dir: dir})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCleanEnvironment(t *testing.T) {
	t.Parallel()
	got, err := cleanEnvironment([]string{"A=1", "B=2=3", markerVariable + "=forged", "A=4", "C="})
	if diff := cmp.Diff([]string{"B=2=3", "A=4", "C="}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, entry := range []string{"secret", "=secret", "A=sec\x00ret"} {
		if _, err := cleanEnvironment([]string{entry}); err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

func TestBackgroundRunsAreTheFirstToYield(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), "boot-1")
	s := shell("build", "sleep 0.2; cat /proc/self/oom_score_adj; nice")
	s.Background = true
	var out bytes.Buffer
	if err := r.Run(t.Context(), s, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "500\n10\n" {
		t.Errorf("its children's OOM score and niceness are %q", out.String())
	}
}

// TestProgramsThatHide are found all the same: one that overwrote its environment, as programs do that show a title in ps, by its
// output; a daemon of it by the session that it is in.
func TestProgramsThatHide(t *testing.T) {
	t.Parallel()
	dir, work := t.TempDir(), t.TempDir()
	r := open(t, dir, "boot-1")
	s := shell("web", `env -i setsid sh -c 'echo $$ > hidden.tmp; mv hidden.tmp hidden; sleep 180 >/dev/null 2>&1 & wait' & wait`)
	s.Dir = work
	if err := r.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	hidden := pidIn(t, work+"/hidden")
	var child int
	eventually(t, func() bool {
		all, err := processes()
		for _, p := range all {
			if p.parent == hidden {
				child = p.pid
			}
		}
		return err == nil && child != 0
	})
	_ = r.Close()
	_ = unix.Kill(mainPID(t, dir), unix.SIGKILL) // so that it can't be found by its parent
	next := open(t, dir, "boot-1")
	if err := next.Stop(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	if running(hidden) || running(child) {
		t.Errorf("hidden: %v, its child: %v still run", running(hidden), running(child))
	}
}

// mainPID is the pid of the only unit in the directory, read from its record.
func mainPID(t *testing.T, dir string) int {
	t.Helper()
	records, err := loadRecords(dir + "/units")
	if err != nil || len(records) != 1 {
		t.Fatalf("%+v, %v", records, err)
	}
	return records[0].PID
}

func TestUnitOfAnotherUser(t *testing.T) {
	t.Parallel()
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, t.TempDir(), "boot-1")
	s := shell("web", `id -u; echo again >> /dev/stdout; exec sleep 180`)
	s.User = "nobody"
	if err := r.Start(t.Context(), s); unix.Geteuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("without root: %v", err)
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background(), "web", 0); err != nil {
			t.Error(err)
		}
	})
	want := []string{nobody.Uid, "again"}
	eventually(t, func() bool {
		lines, err := r.Tail(t.Context(), "web", 5)
		return err == nil && cmp.Equal(want, lines)
	})
}
