// Package arch holds the code to its architecture: who may import whom, who
// owns which library, what is pure, and what is not done at all. It reads the
// sources themselves, every file for every platform, without building them.
package arch

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// module is all code of a Go module that is not in a _test.go file.
type module struct {
	path  string // "example.com/m"
	fset  *token.FileSet
	files []*file
	// packages are the directories that have files, relative to the root, sorted.
	packages []string
	kinds    func() map[string]*types.Info // by package; see resolve
}

type file struct {
	path, pkg string // "agent/plan.go", "agent"
	syntax    *ast.File
}

// read parses a module. Nested modules, testdata and what begins with a dot or
// an underscore are none of it, as for the go command.
func read(tree fs.FS) (*module, error) {
	gomod, err := fs.ReadFile(tree, "go.mod")
	if err != nil {
		return nil, err
	}
	m := &module{fset: token.NewFileSet()}
	m.kinds = sync.OnceValue(m.resolve)
	for line := range strings.Lines(string(gomod)) {
		if rest, ok := strings.CutPrefix(line, "module "); ok {
			m.path = strings.TrimSpace(rest)
		}
	}
	if m.path == "" {
		return nil, errors.New("go.mod has no module line")
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if _, err := fs.Stat(tree, path.Join(name, "go.mod")); name != "." && (err == nil || base == "testdata" || strings.ContainsAny(base[:1], "._")) {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(m.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		m.files = append(m.files, &file{name, path.Dir(name), syntax})
		m.packages = append(m.packages, path.Dir(name))
		return nil
	})
	slices.Sort(m.packages)
	m.packages = slices.Compact(m.packages)
	return m, err
}

// at says where something is, as "agent/plan.go:12".
func (m *module) at(n ast.Node) string {
	p := m.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// imports calls f with everything that the file imports.
func (f *file) imports(yield func(spec *ast.ImportSpec, imported string)) {
	for _, spec := range f.syntax.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value) // the parser has looked at it
		yield(spec, imported)
	}
}

// ours gives the directory of an imported package of this module.
func (m *module) ours(imported string) (pkg string, ok bool) {
	return strings.CutPrefix(imported, m.path+"/")
}

// resolve finds out what the identifiers of each package mean. Packages are
// looked at one by one, without what they import: what comes from elsewhere is
// unknown, and errors are expected.
func (m *module) resolve() map[string]*types.Info {
	out := map[string]*types.Info{}
	for _, pkg := range m.packages {
		var files []*ast.File
		for _, f := range m.files {
			if f.pkg == pkg {
				files = append(files, f.syntax)
			}
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
		config := types.Config{Importer: stranger{}, Error: func(error) {}}
		_, _ = config.Check(m.path+"/"+pkg, m.fset, files, info)
		out[pkg] = info
	}
	return out
}

// stranger imports every package as an empty one.
type stranger struct{}

func (stranger) Import(imported string) (*types.Package, error) {
	p := types.NewPackage(imported, path.Base(imported))
	p.MarkComplete()
	return p, nil
}

// qualified gives what a selector on an imported package names: ("time", "Now").
func (m *module) qualified(pkg string, sel *ast.SelectorExpr) (imported, name string, ok bool) {
	if x, isIdent := sel.X.(*ast.Ident); isIdent {
		if p, isPackage := m.kinds()[pkg].Uses[x].(*types.PkgName); isPackage {
			return p.Imported().Path(), sel.Sel.Name, true
		}
	}
	return "", "", false
}

// matches holds a package against patterns as the go command has them:
// "health", or "deploy/..." for deploy and all below it.
func matches(pkg string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		parent, below := strings.CutSuffix(pattern, "/...")
		return pkg == parent || below && strings.HasPrefix(pkg, parent+"/")
	})
}
