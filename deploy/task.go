package deploy

import (
	"context"
	"path/filepath"
	"time"

	"github.com/bootagent/bootagent/deploy/build"
	"github.com/bootagent/bootagent/internal/unit"
)

// RunTask runs a release's task, which is all said in spec, for at most so long. Its output goes to tasks/<release>.log of the state
// directory, without the values of secrets. The error of a task that failed says how it ended, with the last lines
// that it printed. Begun is false where nothing of it can have run, because its log could not be opened.
func (m *Machine) RunTask(ctx context.Context, spec unit.Spec, timeout time.Duration, secrets map[string]string) (begun bool, err error) {
	return build.Task(ctx, m.Runner, spec, timeout, build.LogPath(filepath.Join(m.StateDir, "tasks"), spec.Release.Number), secrets)
}
