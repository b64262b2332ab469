package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strings"
)

// bags are names of packages that say nothing about what is in them.
func bags() []string {
	return []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "lib", "tools"}
}

// naming refuses packages that are bags.
func naming(m *module) (found []finding) {
	for _, f := range m.files {
		for _, name := range []string{f.syntax.Name.Name, path.Base(f.pkg)} {
			if slices.Contains(bags(), name) {
				found = append(found, finding{f.pkg, fmt.Sprintf("%s: a package named %s is a bag: name it after what it does", m.at(f.syntax.Name), name)})
				break
			}
		}
	}
	return found
}

// starting refuses func init: what happens at a start is to be read in main.
func starting(m *module) (found []finding) {
	for _, f := range m.files {
		for _, d := range f.syntax.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
				found = append(found, finding{f.path, m.at(d) + ": func init is not used here: let main call what has to happen"})
			}
		}
	}
	return found
}

// globals refuses package-level variables but for those that are constants in
// all but name: error values, regular expressions, tables, embedded files. Of
// those it refuses the change.
func globals(m *module) (found []finding) {
	for _, f := range m.files {
		info := m.kinds()[f.pkg]
		for _, d := range f.syntax.Decls {
			if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.VAR {
				found = append(found, m.variables(f, d)...)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			for _, target := range changed(n) {
				id := root(target)
				if id == nil {
					continue
				}
				if v, ok := info.Uses[id].(*types.Var); ok && !v.IsField() && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
					found = append(found, finding{f.pkg + "." + id.Name, fmt.Sprintf("%s: the package-level variable %s may be changed here: it must be a constant in all but name", m.at(id), id.Name)})
				}
			}
			return true
		})
	}
	return found
}

// variables looks at one declaration of package-level variables.
func (m *module) variables(f *file, d *ast.GenDecl) (found []finding) {
	for _, spec := range d.Specs {
		spec := spec.(*ast.ValueSpec) // the parser puts nothing else into a var declaration
		for n, name := range spec.Names {
			var value ast.Expr
			if n < len(spec.Values) {
				value = spec.Values[n]
			}
			if name.Name == "_" || embedded(d.Doc) || embedded(spec.Doc) || m.fixed(f.pkg, name.Name, value) {
				continue
			}
			found = append(found, finding{f.pkg + "." + name.Name,
				fmt.Sprintf("%s: the package-level variable %s is no error, regular expression, table or embedded file: give it to whoever needs it", m.at(name), name.Name)})
		}
	}
	return found
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// fixed says whether a variable's first value is one that nobody means to change.
func (m *module) fixed(pkg, name string, value ast.Expr) bool {
	isError := strings.HasPrefix(strings.ToLower(name), "err")
	switch v := value.(type) {
	case *ast.CallExpr:
		sel, ok := v.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		imported, function, _ := m.qualified(pkg, sel)
		switch imported + "." + function {
		case "regexp.MustCompile":
			return true
		case "errors.New", "fmt.Errorf":
			return isError
		}
	case *ast.UnaryExpr: // errClosed = &wire.Error{…}
		_, literal := v.X.(*ast.CompositeLit)
		return v.Op == token.AND && literal && isError
	case *ast.CompositeLit:
		switch v.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			return len(v.Elts) > 0 // an empty one waits to be filled
		}
	}
	return false
}

// changed are the expressions that a piece of code assigns to, or whose address
// it takes.
func changed(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(n.Args) > 0 {
			return n.Args[:1]
		}
	}
	return nil
}

// root is the variable at the beginning of an expression such as table[i].field.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}
