package laptop_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/region/fault"
)

// scissors cut transfers of the git server in the middle.
type scissors struct{ cuts atomic.Int32 }

// between is trial.Options.Git.
func (s *scissors) between(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && s.cuts.Add(-1) >= 0 {
			w = &cutWriter{ResponseWriter: w, left: 20_000}
		}
		next.ServeHTTP(w, r)
	})
}

// cutWriter ends the connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// deny takes a permission away from the instances; the rule's Remove gives it back.
func (l *lab) deny(action string) *fault.Active {
	service, operation, _ := strings.Cut(action, ":")
	return l.Region.Faults.Add(fault.Rule{
		Service: service, Operation: operation, Effect: fault.Deny(),
	})
}

// branch commits exactly these files to a branch of their own, and gives its name.
func (l *lab) branch(name string, texts map[string]string) string {
	l.t.Helper()
	all := files(texts)
	if len(all) == 0 {
		all["README"] = gittest.File{Body: "nothing to run\n"}
	}
	l.repo.CommitFiles(name, all)
	return name
}

// patient is the health check of a good release: no machine is too busy for it.
const patient = "path: /up, interval: 200ms, timeout: 10s, deadline: 1m"

// sound commits a good release of the test's app.
func (l *lab) sound(branch string, flags ...string) string {
	l.t.Helper()
	return l.repo.CommitFiles(branch, files(appWith(patient, flags...)))
}

// appWith is the repository of the test's app with a health check of its own.
func appWith(health string, flags ...string) map[string]string {
	texts := appRecipe(flags...)
	before, _, _ := strings.Cut(texts["bootagent.yaml"], "health:")
	texts["bootagent.yaml"] = before + "health: {" + health + "}\n"
	return texts
}

// recipe is a repository with nothing but this recipe.
func recipe(text string) map[string]string { return map[string]string{"bootagent.yaml": text} }

// inService: the release is, whatever else is still going on.
func inService(release int64) wish {
	return func(s agent.Status) error {
		if s.InService.Number != release {
			return fmt.Errorf("release %d is in service, not %d", s.InService.Number, release)
		}
		return nil
	}
}

// untroubled: nothing stands in the way any more.
func untroubled(s agent.Status) error {
	if len(s.Problems) > 0 {
		return fmt.Errorf("there are problems: %v", slices.Sorted(maps.Keys(s.Problems)))
	}
	return nil
}

// size is that of a file.
func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
