package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/process"
)

// noSource is the source of a machine on which everything is prepared already.
type noSource struct{}

func (noSource) Resolve(context.Context, string) (string, error) { return "", io.EOF }
func (noSource) Fetch(_ context.Context, _, _ string) error      { return io.EOF }

// tasked is an agent on a machine with real processes, and a prepared release with that task.
func tasked(t *testing.T, task *recipe.Task, store parameters) (a *Agent, prepared deploy.Prepared, log string) {
	t.Helper()
	state := t.TempDir()
	runner, err := process.New(process.Options{Dir: filepath.Join(state, "units"), LogDir: filepath.Join(state, "logs"), BootID: "boot-of-" + t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := runner.Close(); err != nil {
			t.Error(err)
		}
	})
	machine, err := deploy.New(deploy.Options{App: "shop", Env: "prod", InstanceID: "i-1", StateDir: state, Source: noSource{}, Runner: runner})
	if err != nil {
		t.Fatal(err)
	}
	a = New(Options{
		Rules: Rules{App: "shop"}, Env: "prod", Parameters: store, Preparer: machine, Runner: runner, Log: zap.NewNop(),
	})
	prepared = deploy.Prepared{
		Release: model.Release{Number: 7, Revision: strings.Repeat("7", 40)}, Dir: t.TempDir(),
		Recipe: recipe.Recipe{Task: task, Environment: map[string]string{"DEBUG": "yes", "TOKEN": "the recipe's"}},
	}
	return a, prepared, filepath.Join(state, "tasks", "7.log")
}

const told = "hunter2hunter2"

func withToken() parameters { return parameters{environment: map[string]string{"TOKEN": told}} }

func TestAReleaseTaskRunsOnceAsTheAppDoes(t *testing.T) {
	t.Parallel()
	task := &recipe.Task{Run: recipe.Shell("env >>ran; echo $$ >>pids; echo token $TOKEN"), Timeout: time.Minute}
	a, prepared, log := tasked(t, task, withToken())
	if begun, err := a.runTask(t.Context(), model.Identity{InstanceID: "i-1"}, prepared); err != nil || !begun {
		t.Fatal(begun, err)
	}
	text, err := os.ReadFile(filepath.Join(prepared.Dir, "ran"))
	if err != nil {
		t.Fatal(err)
	}
	seen := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, want := range []string{
		"TOKEN=" + told, "DEBUG=yes", "BOOTAGENT_APP=shop", "BOOTAGENT_ENV=prod", "BOOTAGENT_RELEASE=7", "BOOTAGENT_INSTANCE_ID=i-1",
		"BOOTAGENT_REVISION=" + prepared.Release.Revision,
	} {
		if !slices.Contains(seen, want) {
			t.Errorf("it does not see %s in\n%s", want, text)
		}
	}
	if slices.ContainsFunc(seen, func(v string) bool { return strings.HasPrefix(v, "PORT=") }) {
		t.Errorf("it was told a port:\n%s", text)
	}
	if pids, err := os.ReadFile(filepath.Join(prepared.Dir, "pids")); err != nil || strings.Count(string(pids), "\n") != 1 {
		t.Errorf("it ran as %q (%v)", pids, err)
	}
	if printed, err := os.ReadFile(log); err != nil || string(printed) != "token [TOKEN]\n" {
		t.Errorf("its log says %q (%v)", printed, err)
	}
	if units, err := a.Runner.List(t.Context()); err != nil || len(units) > 0 {
		t.Errorf("it is taken for a process of the app: %v (%v)", units, err)
	}
}

func TestAReleaseTaskThatFailsSaysHowWithoutSecrets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		task recipe.Task
		want []string
	}{
		"its exit": {
			recipe.Task{Run: recipe.Shell("echo no table with $TOKEN; exit 4"), Timeout: time.Minute},
			[]string{"exited with code 4", "no table with [TOKEN]", "7.log"},
		},
		"its time": {
			recipe.Task{Run: recipe.Shell("echo waits with $TOKEN; sleep 3600 & echo $! >pid; wait"), Timeout: 300 * time.Millisecond},
			[]string{"release_task.timeout", "300ms", "waits with [TOKEN]"},
		},
		"no program": {
			recipe.Task{Run: recipe.Command{"bin/migrate-" + told}, Timeout: time.Minute},
			[]string{"bin/migrate-[TOKEN]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, prepared, _ := tasked(t, &c.task, withToken())
			begun, err := a.runTask(t.Context(), model.Identity{InstanceID: "i-1"}, prepared)
			if !begun || err == nil || strings.Contains(err.Error(), told) {
				t.Fatalf("got %v, %v", begun, err)
			}
			for _, words := range c.want {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("got %v\nwant it to say %q", err, words)
				}
			}
			pid, err := os.ReadFile(filepath.Join(prepared.Dir, "pid"))
			if errors.Is(err, os.ErrNotExist) {
				return
			}
			stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
			if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "Z") {
				t.Errorf("what it started runs on: %s", stat)
			}
		})
	}
}

func TestAReleaseTaskThatCouldNotBeginMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	task := &recipe.Task{Run: recipe.Shell("touch ran"), Timeout: time.Minute}
	for name, spoil := range map[string]func(*Agent, string){
		"its variables can't be read": func(a *Agent, _ string) { a.Parameters = parameters{err: errors.New("no network")} },
		"its log can't be opened": func(_ *Agent, log string) {
			if err := os.WriteFile(filepath.Dir(log), nil, 0o600); err != nil {
				t.Error(err)
			}
		},
	} {
		a, prepared, log := tasked(t, task, withToken())
		spoil(a, log)
		if begun, err := a.runTask(t.Context(), model.Identity{}, prepared); begun || err == nil {
			t.Errorf("%s: got %v, %v", name, begun, err)
		}
		if _, err := os.Stat(filepath.Join(prepared.Dir, "ran")); err == nil {
			t.Errorf("%s: it ran", name)
		}
	}
}
