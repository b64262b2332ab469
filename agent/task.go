package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/model"
)

// runTask runs the release task of a prepared release, as the app's processes run: their user, their walls, their environment. Where it
// was not begun, because the world stood in the way, it may be tried again.
func (a *Agent) runTask(ctx context.Context, id model.Identity, prepared deploy.Prepared) (begun bool, err error) {
	task := prepared.Recipe.Task
	if task == nil {
		return true, fmt.Errorf("%s has no release task", prepared.Release)
	}
	secrets, err := a.readSecrets(ctx)
	if err != nil {
		return false, fmt.Errorf("read the app's environment for the release task: %w", err)
	}
	spec := a.spec(id, prepared, 0, secrets)
	spec.Name, spec.Process, spec.Release = UnitName(a.Rules.App, prepared.Release.Number, "task"), "task", prepared.Release
	spec.Command = task.Run
	if begun, err = a.Preparer.RunTask(ctx, spec, task.Timeout, secrets); err != nil {
		return begun, errors.New(a.masked(context.WithoutCancel(ctx), err.Error()))
	}
	return begun, nil
}
