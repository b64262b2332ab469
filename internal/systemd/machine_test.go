package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

const path = "PATH=/usr/bin:/bin"

// shell is a unit of what a shell does.
func shell(t *testing.T, name, script string) unit.Spec {
	t.Helper()
	return unit.Spec{
		Name: name, Command: []string{"sh", "-c", script}, Dir: "/", Environment: []string{path}, Process: "web",
		Release: model.Release{Number: 7, Ref: "feature/50% off & more", Revision: strings.Repeat("ab", 20)},
	}
}

// run runs it and gives its output.
func run(t *testing.T, r *Runner, s unit.Spec) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := r.Run(t.Context(), s, &out)
	return out.String(), err
}

func start(t *testing.T, r *Runner, s unit.Spec) unit.Status {
	t.Helper()
	if err := r.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background(), s.Name, 0); err != nil && !errors.Is(err, errClosed) {
			t.Error(err)
		}
	})
	return status(t, r, s.Name)
}

func status(t *testing.T, r *Runner, name string) unit.Status {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(u unit.Status) bool { return u.Name == name })
	if i < 0 {
		return unit.Status{}
	}
	return list[i]
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain until", what)
		}
	}
}

func TestTheEnvironmentArrivesAsItIs(t *testing.T) {
	machine(t)
	want := []string{
		path, "EMPTY=", "BLANKS=  a  b  ", "QUOTES=it's \"so\" '' `x`", `SLASHES=\ \\ \n \t \"`, "LINES=one\ntwo\n", "KEY=-----BEGIN-----\n\n+/=\n",
		"MONEY=$HOME ${PATH} $$ %n %% %", "COMMENT=# ; no comment", "TAB=\ta\r", "UTF=naïve 🐇", "_x9=1",
	}
	s := shell(t, "env", "")
	s.Command, s.Environment = []string{"env", "-0"}, append([]string{"EMPTY=an earlier value loses"}, want...)
	for _, s.User = range []string{"", "nobody"} {
		out, err := run(t, newRunner(t, t.TempDir()), s)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("user %q (-want +got):\n%s", s.User, diff)
		}
	}
}

func TestArgumentsArriveAsTheyAre(t *testing.T) {
	machine(t)
	want := []string{"$HOME", "${PATH}x", "$$", "%n %%", `\x41 \\`, `"quoted" 'too'`, ";", "a\nb", "", " ", "🐇", "-", "@x", "{}"}
	s := shell(t, "printf", "")
	s.Command = append([]string{"printf", `%s\0`}, want...)
	out, err := run(t, newRunner(t, t.TempDir()), s)
	if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestUnitsOutliveSystemdsReloadAndReexecution(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	s := shell(t, "web", "echo line; exec sleep 60")
	s.Port = 8081
	before := start(t, r, s)
	start(t, r, shell(t, "failed", "exit 3"))
	start(t, r, shell(t, "ended", "exit 0"))
	eventually(t, "both have exited", func() bool {
		return status(t, r, "failed").State == unit.Exited && status(t, r, "ended").State == unit.Exited
	})
	for _, command := range []string{"daemon-reload", "daemon-reexec"} {
		if out, err := exec.CommandContext(t.Context(), "systemctl", command).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		eventually(t, "systemd answers again", func() bool { _, err := r.List(t.Context()); return err == nil })
		if diff := cmp.Diff(before, status(t, r, "web")); diff != "" {
			t.Errorf("%s (-before +after):\n%s", command, diff)
		}
		if s := status(t, r, "failed"); s.ExitCode != 3 || s.State != unit.Exited {
			t.Errorf("%s: failed %s", command, s.Ended())
		}
		if s := status(t, r, "ended"); s.ExitCode != 0 || s.State != unit.Exited {
			t.Errorf("%s: ended %s", command, s.Ended())
		}
	}
	if lines, err := r.Tail(t.Context(), "web", 1); err != nil || !slices.Equal(lines, []string{"line"}) {
		t.Errorf("its output: %q, %v", lines, err)
	}
}

func TestARunThatLostItsAgentIsEndedByTheNext(t *testing.T) {
	machine(t)
	dir := t.TempDir()
	r := newRunner(t, dir)
	s := shell(t, "build", "trap '' TERM; sleep 600 & wait")
	c, err := prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	now, err := r.launch(t.Context(), r.service("build-1"), s, c, []sd.Property{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	next := newRunner(t, dir)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", now.pid)); err == nil {
		t.Errorf("process %d still runs", now.pid)
	}
	if left, err := next.lookAll(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

func TestWhatAUnitLeavesBehindIsKilledHoweverItEnded(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	for _, code := range []int{0, 1} {
		name := fmt.Sprint("leaver-", code)
		file := filepath.Join(t.TempDir(), "pid")
		start(t, r, shell(t, name, fmt.Sprintf(`trap "" TERM; setsid sh -c 'echo $$ >%s; exec sleep 600' & while ! test -s %s; do sleep 0.02; done; exit %d`, file, file, code)))
		var s unit.Status
		eventually(t, "it has exited", func() bool { s = status(t, r, name); return s.State == unit.Exited })
		if s.ExitCode != code {
			t.Errorf("%s %s", name, s.Ended())
		}
		pid, _ := os.ReadFile(file)
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err == nil || len(pid) == 0 {
			t.Errorf("code %d: process %s still runs", code, pid)
		}
	}
}

func TestWhatSystemdRefusesIsSaidInWords(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	dir := t.TempDir()
	file := func(name, content string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	private := filepath.Join(dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change  func(*unit.Spec)
		want    string
		command bool
	}{
		"no interpreter":    {func(s *unit.Spec) { s.Command = []string{file("a", "#!/no/such/interpreter\n")} }, "interpreter", true},
		"no program":        {func(s *unit.Spec) { s.Command = []string{file("b", "\x00\x01\x02")} }, "no program", true},
		"a closed door":     {func(s *unit.Spec) { s.User, s.Dir = "nobody", private }, "can't enter its working directory " + private, false},
		"no such user":      {func(s *unit.Spec) { s.User = "no-such-user" }, "no-such-user is not known", false},
		"a variable's name": {func(s *unit.Spec) { s.Environment = []string{"my.key=x"} }, `"my.key"`, false},
		"a variable's text": {func(s *unit.Spec) { s.Environment = []string{"KEY=\xff"} }, "KEY", false},
	} {
		s := shell(t, "refused", "true")
		c.change(&s)
		for what, err := range map[string]error{"start": r.Start(t.Context(), s), "run": r.Run(t.Context(), s, io.Discard)} {
			var command *unit.CommandError
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &command) != c.command {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if left, err := r.lookAll(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

func TestAUnitThatAPersonStoppedIsGone(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	start(t, r, shell(t, "web", "exec sleep 60"))
	if out, err := exec.CommandContext(t.Context(), "systemctl", "stop", r.service("web")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s := status(t, r, "web"); s.Name != "" {
		t.Errorf("it is still listed: it %s", s.Ended())
	}
	if s := start(t, r, shell(t, "web", "exec sleep 60")); s.State != unit.Running {
		t.Errorf("it was not started again: it %s", s.Ended())
	}
}

func TestTwoAgentsDoNotShareADirectory(t *testing.T) {
	machine(t)
	dir := t.TempDir()
	newRunner(t, dir)
	if _, err := New(t.Context(), Options{Prefix: "bootagent-other-", Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second one on the same directory: %v", err)
	}
}

// A health check by command runs every few seconds, for as long as the machine does.
func TestRunsLeaveNothingBehindInSystemd(t *testing.T) {
	machine(t)
	r := newRunner(t, t.TempDir())
	for range 3 {
		if _, err := run(t, r, shell(t, "check", "true")); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob("/run/systemd/*/*" + strings.TrimSuffix(r.service("check"), ".service") + "-*")
	if err != nil || len(left) > 0 {
		t.Errorf("%v (%v)", left, err)
	}
}
