package agent

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// scene is the part of the world that a step in flight may read: a copy, as it was when the step began.
type scene struct {
	id         model.Identity
	membership model.Membership
	prepared   map[int64]deploy.Prepared
	units      []unit.Status
	groups     []model.TargetGroup
	memory     Memory
}

func (a *Agent) scene(w *world) scene {
	return scene{
		id: w.id, membership: w.observed.Membership, prepared: maps.Clone(w.observed.Prepared),
		units: slices.Clone(w.observed.Units), groups: w.groups, memory: w.memory,
	}
}

// process finds a process of a release's recipe.
func (s scene) process(rel model.Release, name string) (recipe.Process, bool) {
	for _, p := range s.prepared[rel.Number].Recipe.Processes {
		if p.Name == name {
			return p, true
		}
	}
	return recipe.Process{}, false
}

// defaultGrace is how long a process has after SIGTERM where its recipe can't be read any more.
const defaultGrace = 20 * time.Second

// grace is how long a unit has to end after SIGTERM: its recipe's stop_timeout.
func (s scene) grace(rel model.Release, name string) time.Duration {
	for _, u := range s.units {
		if u.Name == name {
			if p, ok := s.process(rel, u.Process); ok && p.StopTimeout > 0 {
				return p.StopTimeout
			}
		}
	}
	return defaultGrace
}

// spec is what every command of the app has in common, its processes and its health command: the sandbox, the release's
// directory and the app's environment.
func (a *Agent) spec(id model.Identity, prepared deploy.Prepared, port int, secrets map[string]string) unit.Spec {
	return a.Sandbox.keep(unit.Spec{Dir: prepared.Dir, Environment: a.environment(id, prepared, port, secrets)}, len(prepared.Shared) > 0)
}

// environment is what a command of the app sees: nothing of the agent's own
// but the PATH. A value of Parameter Store wins over the recipe's, and neither
// over what bootagent itself says.
func (a *Agent) environment(id model.Identity, prepared deploy.Prepared, port int, fromStore map[string]string) []string {
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": a.Sandbox.Home, "LANG": "C.UTF-8"}
	maps.Copy(env, a.Sandbox.Environment)
	maps.Copy(env, prepared.Recipe.Environment)
	maps.Copy(env, fromStore)
	maps.Copy(env, map[string]string{
		"BOOTAGENT_APP":         a.Rules.App,
		"BOOTAGENT_ENV":         a.Env,
		"BOOTAGENT_RELEASE":     strconv.FormatInt(prepared.Release.Number, 10),
		"BOOTAGENT_REVISION":    prepared.Release.Revision,
		"BOOTAGENT_INSTANCE_ID": id.InstanceID,
	})
	delete(env, "PORT")
	if port != 0 {
		env["PORT"] = strconv.Itoa(port)
	}
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// enoughMemory refuses to start a second copy of the app where it would push
// the first one out of memory.
func (a *Agent) enoughMemory(on scene, s Start) error {
	beside := slices.ContainsFunc(on.units, func(u unit.Status) bool {
		return u.Port != 0 && u.Port != s.Port && u.State == unit.Running
	})
	if s.Port == 0 || !beside {
		return nil
	}
	free, err := a.Sockets.MemoryAvailable()
	if err != nil {
		return fmt.Errorf("see how much memory is available before a second copy of the app is started: %w", err)
	}
	if free < a.MinMemory {
		return fmt.Errorf("only %d MiB of memory are available, and limits.memory wants %d MiB before a second copy of the app is started beside the one in service: use a larger instance or lower the limit",
			free>>20, a.MinMemory>>20)
	}
	return nil
}

// howItEnded says in words how the process ended that is to be started again, "" for one that is started for the first time.
func (a *Agent) howItEnded(ctx context.Context, on scene, s Start) string {
	name := UnitName(a.Rules.App, s.Release.Number, s.Process)
	for _, u := range on.units {
		if u.Name != name || u.State != unit.Exited {
			continue
		}
		text := "it " + u.Ended()
		ctx, cancel := context.WithTimeout(ctx, look)
		defer cancel()
		if last, err := a.Runner.Tail(ctx, name, 1); err == nil && len(last) > 0 { // how it ended is said all the same
			text += ", its last line was " + fmt.Sprintf("%q", a.masked(ctx, last[0]))
		}
		return text
	}
	return ""
}
