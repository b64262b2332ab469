package arch

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// layer is packages with the same place in the order of imports, which runs one way:
//
//	cmd → {agent, internal/operator} → {deploy, health, rollout} → internal/{unit, model}
//
// Adapters hang below: they implement the ports of those above without knowing them.
type layer struct {
	name     string
	packages []string
	// imports are the layers whose packages it may import.
	imports []string
	// inside says that its packages may import each other.
	inside bool
}

// layers are all there are. A package belongs to the first layer that lists it.
func layers() []layer {
	production := []string{"model", "unit", "disk", "tools", "recipe", "steps", "deploy", "health", "rollout", "agent", "operator",
		"config", "aws", "rolecreds", "process", "systemd", "localstore", "region", "trial"}
	return []layer{
		// What only tests use, and the demo and the benchmark, which are such.
		{"tests", []string{"test/...", "bench", "rollout/storetest", "internal/unit/unittest", "internal/aws/awstest", "internal/gittest",
			"internal/disk/disktest"}, production, true},

		{"model", []string{"internal/model"}, nil, false},
		{"unit", []string{"internal/unit"}, []string{"model"}, false},
		{"disk", []string{"internal/disk"}, nil, false},
		// Tools know nothing of what bootagent is.
		{"tools", []string{"internal/timeline", "internal/strictyaml", "internal/sockets", "internal/state", "internal/local",
			"internal/gitserver", "internal/mask"}, []string{"disk"}, false},
		{"recipe", []string{"deploy/recipe"}, []string{"model", "tools"}, false},
		{"steps", []string{"deploy/source", "deploy/signature", "deploy/tree", "deploy/build", "deploy/artifact", "deploy/dependencies", "deploy/releases"},
			[]string{"recipe", "unit", "model", "disk", "tools"}, true},
		{"deploy", []string{"deploy"}, []string{"steps", "recipe", "unit", "model", "tools"}, false},
		{"health", []string{"health"}, []string{"unit", "model", "tools"}, false},
		{"rollout", []string{"rollout"}, []string{"model", "tools"}, false},
		{"agent", []string{"agent"}, []string{"deploy", "recipe", "health", "rollout", "unit", "model", "tools"}, false},
		{"operator", []string{"internal/operator"}, []string{"deploy", "recipe", "health", "rollout", "unit", "model", "tools"}, false},
		{"config", []string{"internal/config"}, []string{"rollout", "model", "tools"}, false},

		// The adapters. None knows another one.
		{"aws", []string{"internal/aws/..."}, []string{"rollout", "unit", "model", "tools"}, true},
		{"rolecreds", []string{"internal/rolecreds"}, []string{"model", "tools"}, false},
		{"process", []string{"internal/process"}, []string{"rollout", "unit", "model", "tools"}, false},
		{"localstore", []string{"internal/localstore"}, []string{"rollout", "model", "tools"}, false},
		{"systemd", []string{"internal/systemd"}, []string{"rollout", "unit", "model", "tools"}, false},
		{"region", []string{"internal/region/..."}, []string{"model", "tools"}, true},

		{"trial", []string{"internal/trial"}, []string{"region", "model", "tools"}, false},
		{"cmd", []string{"cmd/..."}, production, true},
	}
}

// owners are the libraries that belong to one place, so that leaving them means
// to change one place.
func owners() map[string][]string {
	return map[string][]string{
		"github.com/aws/":              {"internal/aws/..."},
		"github.com/coreos/go-systemd": {"internal/systemd"},
		"github.com/go-git/":           {"deploy/source"},
		"github.com/ProtonMail/":       {"deploy/signature"},
		"github.com/spf13/cobra":       {"cmd/..."},
		"github.com/goccy/go-yaml":     {"internal/strictyaml"},
		"github.com/klauspost/":        {"deploy/artifact"},
		// Libraries for tests.
		"testing":                   {"rollout/storetest", "internal/unit/unittest", "internal/aws/awstest", "internal/gittest"},
		"github.com/google/go-cmp/": {"rollout/storetest", "internal/unit/unittest", "internal/aws/awstest", "internal/gittest"},
		"pgregory.net/rapid":        {"internal/unit/unittest"},
	}
}

// finding is a breach of a rule. The key stands for all alike in one place, and
// is what exceptions are made for.
type finding struct{ key, text string }

// direction holds every import of this module's own packages to the layers.
func direction(m *module) (found []finding) {
	all := layers()
	layerOf := func(pkg string) *layer {
		n := slices.IndexFunc(all, func(l layer) bool { return matches(pkg, l.packages...) })
		if n < 0 {
			return nil
		}
		return &all[n]
	}
	for _, pkg := range m.packages {
		if layerOf(pkg) == nil {
			found = append(found, finding{pkg, fmt.Sprintf("package %s is in no layer: say in test/arch whom it may import", pkg)})
		}
	}
	for _, f := range m.files {
		from := layerOf(f.pkg)
		f.imports(func(spec *ast.ImportSpec, imported string) {
			pkg, ok := m.ours(imported)
			to := layerOf(pkg)
			if !ok || from == nil || to == nil || slices.Contains(from.imports, to.name) || from == to && from.inside {
				return
			}
			found = append(found, finding{f.pkg + " → " + pkg, fmt.Sprintf("%s: %s (layer %s) must not import %s (layer %s): %s may import %s only",
				m.at(spec), f.pkg, from.name, pkg, to.name, from.name, listed(from.imports))})
		})
	}
	return found
}

func listed(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}

// ownership holds every import of a library to its owner.
func ownership(m *module) (found []finding) {
	for _, f := range m.files {
		f.imports(func(spec *ast.ImportSpec, imported string) {
			for library, packages := range owners() {
				if strings.HasPrefix(imported+"/", strings.TrimSuffix(library, "/")+"/") && !matches(f.pkg, packages...) && !matches(f.pkg, "test/...") {
					found = append(found, finding{f.pkg + " → " + imported, fmt.Sprintf("%s: %s must not import %s: outside tests only %s may",
						m.at(spec), f.pkg, imported, strings.Join(packages, ", "))})
				}
			}
		})
	}
	return found
}
