package arch

import (
	"fmt"
	"go/ast"
	"go/types"
	"path"
	"slices"
	"strings"
)

// pure are the files whose code decides, and only that: no clock, no goroutine,
// no I/O, so that the daemon, a dry run and a simulator can run the very same
// code. A directory stands for all its files.
func pure() []string {
	return []string{
		"agent/plan.go", "agent/plan_retire.go", "agent/plan_launch.go", "agent/memory.go", "agent/memory_maps.go", "agent/retry.go", "agent/leaving.go", "agent/restart.go", "agent/attached.go",
		"agent/desired.go", "agent/fleet_rules.go", "agent/standby.go", "agent/step.go", "agent/observed.go", "internal/model",
		// Of rollout everything but the port, which names a context.
		"rollout/advance.go", "rollout/aside.go", "rollout/change.go", "rollout/decode.go", "rollout/end.go", "rollout/forecast.go", "rollout/goal.go", "rollout/goback.go", "rollout/intent.go", "rollout/lead.go", "rollout/look.go", "rollout/open.go",
		"rollout/operate.go", "rollout/part.go", "rollout/policy.go", "rollout/record.go", "rollout/release.go", "rollout/step.go", "rollout/takepart.go", "rollout/view.go",
	}
}

// harmless are the standard packages that pure code may import, those that can
// only compute; of time and fmt not everything.
func harmless() []string {
	return []string{"cmp", "encoding/json", "errors", "fmt", "hash/fnv", "iter", "maps", "math", "regexp", "slices", "strconv", "strings", "time", "unicode", "unicode/utf8"}
}

// worldly are the functions of harmless packages that look at the world or change it.
func worldly() map[string][]string {
	return map[string][]string{
		"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "LoadLocation"},
		"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	}
}

// purity holds the pure files to what they are. What it can't see is a method
// of another package's type that does more than it should: the types that pure
// files use are plain data.
func purity(m *module) (found []finding) {
	for _, f := range m.files {
		if isPure(f.path) {
			p := &purist{m: m, f: f}
			f.imports(p.imported)
			ast.Inspect(f.syntax, p.look)
			found = append(found, p.found...)
		}
	}
	return found
}

func isPure(file string) bool {
	return slices.Contains(pure(), file) || slices.Contains(pure(), path.Dir(file))
}

type purist struct {
	m     *module
	f     *file
	found []finding
}

func (p *purist) report(n ast.Node, key, format string, args ...any) {
	p.found = append(p.found, finding{p.f.path + ": " + key, p.m.at(n) + ": pure code " + fmt.Sprintf(format, args...)})
}

func (p *purist) imported(spec *ast.ImportSpec, imported string) {
	if _, ours := p.m.ours(imported); ours || slices.Contains(harmless(), imported) {
		return
	}
	p.report(spec, imported, "must not import %s: it may only compute", imported)
}

func (p *purist) look(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		p.report(n, "go", "must not start a goroutine")
	case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
		p.report(n, "channel", "must not use channels")
	case *ast.SelectorExpr:
		p.selected(n)
	case *ast.Ident:
		p.used(n)
	}
	return true
}

// selected looks at time.Now and deploy.Function.
func (p *purist) selected(sel *ast.SelectorExpr) {
	imported, name, ok := p.m.qualified(p.f.pkg, sel)
	if !ok {
		return
	}
	if slices.Contains(worldly()[imported], name) {
		p.report(sel, path.Base(imported)+"."+name, "must not use %s.%s: what it needs to know is given to it", path.Base(imported), name)
	}
	if pkg, ours := p.m.ours(imported); ours && p.m.isImpureFunc(pkg, name) {
		p.report(sel, pkg+"."+name, "must not call %s.%s: nothing says that it is pure", pkg, name)
	}
}

// isImpureFunc says whether a package has a function of that name that does not
// stand in a pure file.
func (m *module) isImpureFunc(pkg, name string) bool {
	for _, f := range m.files {
		for _, d := range f.syntax.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && f.pkg == pkg && d.Recv == nil && d.Name.Name == name && !isPure(f.path) {
				return true
			}
		}
	}
	return false
}

// used looks at functions, methods and variables of the same package that
// stand in a file that is not pure.
func (p *purist) used(id *ast.Ident) {
	object := p.m.kinds()[p.f.pkg].Uses[id]
	switch o := object.(type) {
	case *types.Func:
	case *types.Var:
		if o.IsField() || o.Pkg() == nil || o.Parent() != o.Pkg().Scope() {
			return
		}
	default:
		return
	}
	where := p.m.fset.Position(object.Pos())
	if strings.HasSuffix(where.Filename, ".go") && path.Dir(where.Filename) == p.f.pkg && !isPure(where.Filename) {
		p.report(id, id.Name, "must not use %s, which stands in %s:%d, where nothing is pure", id.Name, where.Filename, where.Line)
	}
}
