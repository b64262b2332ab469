package build_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/build"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

func TestATaskRunsInItsEnvironmentAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := build.LogPath(filepath.Join(dir, "tasks"), 7)
	secrets := map[string]string{"DATABASE_URL": "postgres://app:hunter2hunter2@db/shop"}
	spec := func(line string) unit.Spec {
		return unit.Spec{
			Name: "bootagent-shop-7-task", Process: "task", Release: model.Release{Number: 7}, Dir: dir, Command: recipe.Shell(line),
			Environment: []string{"PATH=" + os.Getenv("PATH"), "DATABASE_URL=" + secrets["DATABASE_URL"]},
		}
	}
	if begun, err := build.Task(t.Context(), runner(t), spec(`echo "migrating $DATABASE_URL"; echo done > result`), time.Minute, log, secrets); err != nil || !begun {
		t.Fatal(begun, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "result")); err != nil {
		t.Error(err)
	}
	printed, err := os.ReadFile(log)
	if err != nil || strings.Contains(string(printed), "hunter2") || !strings.Contains(string(printed), "migrating [DATABASE_URL]") {
		t.Errorf("its log says %q (%v)", printed, err)
	}

	_, err = build.Task(t.Context(), runner(t), spec(`echo "no table at $DATABASE_URL"; exit 4`), time.Minute, log, secrets)
	var failed *build.Error
	if !errors.As(err, &failed) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "no table at [DATABASE_URL]") || !strings.Contains(err.Error(), "code 4") {
		t.Errorf("got %v", err)
	}
	_, err = build.Task(t.Context(), runner(t), spec("exec sleep 60"), 100*time.Millisecond, log, nil)
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "release_task.timeout, 100ms") {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the agent ends"))
	if _, err := build.Task(ended, runner(t), spec("true"), time.Minute, log, nil); err == nil || errors.As(err, &failed) {
		t.Errorf("a task that was cut off has not failed: got %v", err)
	}

	// One whose log can't be opened has not begun, and may be tried again.
	if err := os.Remove(filepath.Join(dir, "result")); err != nil {
		t.Fatal(err)
	}
	begun, err := build.Task(t.Context(), runner(t), spec("echo done > result"), time.Minute, filepath.Join(log, "7.log"), nil)
	if _, ran := os.Stat(filepath.Join(dir, "result")); begun || err == nil || errors.As(err, &failed) || ran == nil {
		t.Errorf("got %v, %v; it ran: %v", begun, err, ran == nil)
	}
}
