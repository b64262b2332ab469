package recipe

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

func TestTheRecipesInTheDocumentationParse(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/recipe.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("there are %d recipes", len(blocks))
	}
	for i, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		if r, err := Parse(fmt.Sprintf("docs/recipe.md, recipe %d", i+1), []byte(text)); err != nil || r.Processes[0].Name != "web" {
			t.Error(err, r.Processes)
		}
	}
	// The defaults that the page tells are the ones that apply.
	for key, value := range map[string]string{
		"build.timeout":                 strictyaml.Short(DefaultBuildTimeout),
		"release_task.timeout":          strictyaml.Short(DefaultTaskTimeout),
		"release_task.reversible":       "false",
		"processes.<name>.stop_timeout": strictyaml.Short(DefaultStopTimeout),
		"health.status":                 fmt.Sprintf("%d-%d", DefaultMinStatus, DefaultMaxStatus),
		"health.interval":               strictyaml.Short(DefaultInterval),
		"health.timeout":                strictyaml.Short(DefaultTimeout),
		"health.successes":              fmt.Sprint(DefaultSuccesses),
		"health.deadline":               strictyaml.Short(DefaultDeadline),
	} {
		if row := fmt.Sprintf("\n| `%s` | `%s` |", key, value); !strings.Contains(string(page), row) {
			t.Errorf("docs/recipe.md does not say %s", row)
		}
	}
}

func TestTheExamplesLoad(t *testing.T) {
	t.Parallel()
	for dir, check := range map[string]func(Recipe) bool{
		"hello":    func(r Recipe) bool { return len(r.Build.Run) == 3 && r.Health.Path == "/up" },
		"procfile": func(r Recipe) bool { return len(r.Build.Run) == 0 && r.Health.Path == "" && len(r.Processes) == 2 },
	} {
		r, err := Load(os.DirFS("../../examples/"+dir), nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if p, ok := r.Serving(); !ok || p.Name != "web" || !check(r) {
			t.Errorf("examples/%s: %+v", dir, r)
		}
	}
}
