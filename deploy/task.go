package deploy

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/bootagent/bootagent/deploy/build"
	"github.com/bootagent/bootagent/internal/unit"
)

// RunTask runs a release's task, which is all said in spec, for at most so long. Its output goes to tasks/<release>.log of the state
// directory, without the values of secrets. A task that failed is a *RevisionError: it says how it ended, with the last lines
// that it printed.
func (m *Machine) RunTask(ctx context.Context, spec unit.Spec, timeout time.Duration, secrets map[string]string) error {
	log := build.LogPath(filepath.Join(m.StateDir, "tasks"), spec.Release.Number)
	err := build.Task(ctx, m.Runner, spec, timeout, log, secrets)
	var failed *build.Error
	if errors.As(err, &failed) {
		return &RevisionError{Phase: "release task", Err: err}
	}
	return err
}
