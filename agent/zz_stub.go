package agent

import (
	"context"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
)

func taskOf(recipe.Recipe) (bool, bool) { return false, false }
func (a *Agent) runTask(ctx context.Context, id model.Identity, prepared deploy.Prepared) error {
	return nil
}
