package build_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/build"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/process"
	"github.com/bootagent/bootagent/internal/unit"
)

func runner(t *testing.T) build.Runner {
	t.Helper()
	dir := t.TempDir()
	r, err := process.New(process.Options{Dir: filepath.Join(dir, "units"), LogDir: filepath.Join(dir, "logs"), BootID: "boot-of-" + t.Name()})
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

// job is a build of one shell command in directories of its own.
func job(t *testing.T, command string) build.Job {
	t.Helper()
	dir := t.TempDir()
	j := build.Job{
		Name:    "bootagent-shop-7-build",
		Release: model.Release{Number: 7, Ref: "main", Revision: strings.Repeat("a", 40)},
		Build:   recipe.Build{Run: recipe.Shell(command), Timeout: time.Minute},
		Dir:     filepath.Join(dir, "app"), Home: filepath.Join(dir, "home"), Tmp: filepath.Join(dir, "tmp"),
		Path: os.Getenv("PATH"),
		Log:  build.LogPath(filepath.Join(dir, "builds"), 7),
	}
	for _, d := range []string{j.Dir, j.Home, j.Tmp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

func logged(t *testing.T, j build.Job) string {
	t.Helper()
	data, err := os.ReadFile(j.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestABuildSeesItsEnvironmentAndNoOther(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "the agent's own")
	j := job(t, "env && pwd && touch built && touch $HOME/cache")
	j.Path = "/usr/bin:/bin"
	j.Build.Environment = map[string]string{"CGO_ENABLED": "0", "LANG": "de_DE.UTF-8", "BOOTAGENT_APP": "forged"}
	j.Facts = []string{"BOOTAGENT_APP=shop", "BOOTAGENT_RELEASE=7"}
	if err := build.Run(t.Context(), runner(t), j); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for line := range strings.Lines(logged(t, j)) {
		line = strings.TrimSuffix(line, "\n")
		name, _, _ := strings.Cut(line, "=")
		switch name {
		case "PWD", "OLDPWD", "SHLVL", "_": // the shell's
		default:
			if !strings.HasPrefix(name, "BOOTAGENT_UNIT") { // the Runner's mark
				got[line] = true
			}
		}
	}
	want := map[string]bool{
		"PATH=/usr/bin:/bin": true, "HOME=" + j.Home: true, "TMPDIR=" + j.Tmp: true, "LANG=de_DE.UTF-8": true,
		"CGO_ENABLED=0": true, "BOOTAGENT_APP=shop": true, "BOOTAGENT_RELEASE=7": true, j.Dir: true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(filepath.Join(j.Dir, "built")); err != nil {
		t.Error(err)
	}
}

func TestAFailedBuildSaysHowAndWhatItPrintedLast(t *testing.T) {
	t.Parallel()
	j := job(t, `i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo "line $i"; done; printf '10%%\r50%%\r\033[31mred\033[0m\r\n\n' >&2; exit 3`)
	err := build.Run(t.Context(), runner(t), j)
	var failed *build.Error
	var exit *unit.ExitError
	if !errors.As(err, &failed) || !errors.As(err, &exit) || exit.ExitCode != 3 || len(failed.Output) != 20 {
		t.Fatalf("got %#v", err)
	}
	if failed.Output[0] != "line 82" || failed.Output[19] != "red" {
		t.Errorf("the last lines are %q", failed.Output)
	}
	if text := err.Error(); !strings.Contains(text, "exited with code 3; ") || !strings.Contains(text, j.Log) || !strings.Contains(text, "\n  | line 82\n") {
		t.Error(text)
	}
	if !strings.HasPrefix(logged(t, j), "line 1\nline 2\n") {
		t.Errorf("the log begins with %.40q", logged(t, j))
	}
}

func TestABuildThatHangsIsKilledWithAllItMade(t *testing.T) {
	t.Parallel()
	j := job(t, "sleep 601 & setsid sleep 602 & echo $! > pids; echo $$ >> pids; echo waiting; trap '' TERM; wait; sleep 603")
	j.Build.Timeout = 2 * time.Second
	begin := time.Now()
	err := build.Run(t.Context(), runner(t), j)
	var failed *build.Error
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "still running after build.timeout, 2s, and was ended") {
		t.Fatalf("got %v after %s", err, time.Since(begin))
	}
	if d := cmp.Diff([]string{"waiting"}, failed.Output); d != "" {
		t.Error(d)
	}
	gone(t, filepath.Join(j.Dir, "pids"))
}

func TestABuildThatEndsLeavesNoDaemon(t *testing.T) {
	t.Parallel()
	j := job(t, "setsid sh -c 'echo $$ > daemon; exec sleep 604' & while ! test -s daemon; do sleep 0.05; done; echo done")
	if err := build.Run(t.Context(), runner(t), j); err != nil {
		t.Fatal(err)
	}
	gone(t, filepath.Join(j.Dir, "daemon"))
}

// gone checks that the processes whose ids are in a file don't exist.
func gone(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || len(strings.Fields(string(data))) == 0 {
		t.Fatalf("no process was noted: %q %v", data, err)
	}
	for _, f := range strings.Fields(string(data)) {
		// One that has ended may wait for its new parent to take note (state Z): it runs no more.
		stat, err := os.ReadFile(filepath.Join("/proc", f, "stat"))
		if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "Z") {
			t.Errorf("process %s is there still: %s", f, stat)
		}
	}
}

func TestABuildThatFloodsFillsNoDisk(t *testing.T) {
	t.Parallel()
	// 24 MiB of numbered lines, and one that has no end.
	j := job(t, `awk 'BEGIN { for (i = 1; i <= 400000; i++) printf "%07d xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", i; for (i = 0; i < 5000; i++) printf "yyyyyyyyyy" }'; exit 1`)
	err := build.Run(t.Context(), runner(t), j)
	var failed *build.Error
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if last := failed.Output[len(failed.Output)-1]; len(last) > 510 || !strings.HasPrefix(last, "yyyy") {
		t.Errorf("the last line is %q", last)
	}
	if len(err.Error()) > 20*600 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	log := logged(t, j)
	if len(log) > 8<<20+64<<10+200 || !strings.HasPrefix(log, "0000001 x") || !strings.HasSuffix(log, "yyyyyyyyyy") {
		t.Errorf("the log has %d bytes, from %.20q", len(log), log)
	}
	head, tail, ok := strings.Cut(log, "\n[bootagent: ")
	count, _, _ := strings.Cut(tail, " ")
	if cut, err := strconv.Atoi(count); !ok || err != nil || len(head)+cut+64<<10 != 400000*63+50000 {
		t.Errorf("%d + %q + 64 KiB bytes are not what was printed", len(head), count)
	}
}

func TestOutputOfAlmostTheLimitIsKeptWhole(t *testing.T) {
	t.Parallel()
	j := job(t, `head -c 8400000 /dev/zero | tr '\0' z`)
	if err := build.Run(t.Context(), runner(t), j); err != nil {
		t.Fatal(err)
	}
	if log := logged(t, j); log != strings.Repeat("z", 8400000) {
		t.Errorf("the log has %d bytes of 8400000", len(log))
	}
}

func TestAProgramThatIsNotThereIsTheRecipesFault(t *testing.T) {
	t.Parallel()
	j := job(t, "")
	j.Build.Run = recipe.Command{"no-such-compiler", "-o", "x"}
	err := build.Run(t.Context(), runner(t), j)
	var failed *build.Error
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), `"no-such-compiler"`) || !strings.Contains(err.Error(), j.Path) {
		t.Errorf("got %v", err)
	}
}

func TestWhatTheMachineDoesIsNotTheRevisionsFault(t *testing.T) {
	t.Parallel()
	var failed *build.Error

	ctx, cancel := context.WithCancelCause(t.Context())
	j := job(t, "touch started; sleep 605")
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(j.Dir, "started")); err == nil {
				cancel(errors.New("a newer release was asked for"))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	err := build.Run(ctx, runner(t), j)
	if err == nil || errors.As(err, &failed) || !strings.Contains(err.Error(), "a newer release was asked for") {
		t.Errorf("canceled: %v", err)
	}

	j = job(t, "while :; do echo more; done")
	j.Log = "/dev/full"
	err = build.Run(t.Context(), runner(t), j)
	if errors.As(err, &failed) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full disk: %v", err)
	}
}

func TestOldLogsAreRemoved(t *testing.T) {
	t.Parallel()
	j := job(t, "echo new")
	dir := filepath.Dir(j.Log)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range int64(30) {
		if err := os.WriteFile(build.LogPath(dir, n+8), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := build.Run(t.Context(), runner(t), j); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 20 {
		t.Errorf("%d logs are left, %v", len(entries), err)
	}
	if _, err := os.Stat(build.LogPath(dir, 8)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest is left: %v", err)
	}
	if logged(t, j) != "new\n" {
		t.Error("the new one is gone")
	}
}
