package source

import (
	"path"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// attributesName is the file in which a repository says how its files are treated (gitattributes(5)).
const attributesName = ".gitattributes"

// attributesMax bounds such a file, attributeLine one line of it (git's attr.h; longer lines are ignored).
const (
	attributesMax = 1 << 20
	attributeLine = 2048
)

// attributes are the rules that hold in a directory: those of the directories above first, so that later ones win.
// Only rules about what a checkout writes are kept.
type attributes struct {
	rules  []rule
	macros map[string][]assignment
}

type rule struct {
	dir     string // where the rule stands: "" or "a/b/"
	pattern pattern
	assign  []assignment
	trigger bool // may change what is written, or be refused
}

// assignment is one attribute with its state: "+" set, "-" unset, "!" unspecified, "=value".
type assignment struct{ name, state string }

// conversion makes what a checkout writes of what is in the repository.
type conversion func([]byte) ([]byte, error)

// attributes adds a directory's own rules to those from above.
func (c *checkout) attributes(dir string, entries []entry, above *attributes) (*attributes, error) {
	for _, e := range entries {
		if e.name != attributesName || (e.mode != modeFile && e.mode != modeExecutable) {
			continue
		}
		name := path.Join(dir, e.name)
		o, err := c.object(e.hash, plumbing.BlobObject, name)
		if err != nil {
			return nil, err
		}
		content, err := c.read(o, attributesMax)
		if err != nil {
			return nil, err
		}
		return above.with(dir, content), nil
	}
	return above, nil
}

// with gives the rules of a directory that has a .gitattributes of its own.
func (a *attributes) with(dir string, content []byte) *attributes {
	next := &attributes{macros: map[string][]assignment{"binary": {{"text", "-"}}}}
	if a != nil {
		next.rules, next.macros = a.rules[:len(a.rules):len(a.rules)], a.macros
	}
	prefix := dir
	if dir != "" {
		prefix += "/"
	}
	var lines [][2]string
	for line := range strings.SplitSeq(strings.TrimPrefix(string(content), "\ufeff"), "\n") {
		name, rest := attributeFields(line)
		if macro, ok := strings.CutPrefix(name, "[attr]"); ok {
			if dir == "" { // elsewhere git ignores them
				next.macros[macro] = assignments(rest)
			}
		} else if name != "" {
			lines = append(lines, [2]string{name, rest})
		}
	}
	for _, l := range lines {
		r := rule{dir: prefix, assign: relevant(next.expand(assignments(l[1]), 0))}
		if len(r.assign) == 0 {
			continue
		}
		for _, s := range r.assign {
			r.trigger = r.trigger || s.triggers()
		}
		if r.pattern = parsePattern(l[0]); r.pattern != nil {
			next.rules = append(next.rules, r)
		}
	}
	return next
}

// attributeFields splits a line into its pattern and the rest; an empty pattern is a line that says nothing.
func attributeFields(line string) (name, rest string) {
	line = strings.TrimLeft(strings.TrimRight(line, " \t\r"), " \t")
	if line == "" || line[0] == '#' || len(line) > attributeLine {
		return "", ""
	}
	if line[0] == '"' {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			if name, err := strconv.Unquote(quoted); err == nil {
				return name, line[len(quoted):]
			}
		}
	}
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return line[:i], line[i:]
	}
	return line, ""
}

func assignments(fields string) []assignment {
	var all []assignment
	for _, f := range strings.Fields(fields) {
		name, value, hasValue := strings.Cut(f, "=")
		switch {
		case hasValue:
			all = append(all, assignment{name, "=" + value})
		case f[0] == '-' || f[0] == '!':
			all = append(all, assignment{f[1:], f[:1]})
		default:
			all = append(all, assignment{f, "+"})
		}
	}
	return all
}

// expand replaces macros by what they stand for.
func (a *attributes) expand(all []assignment, depth int) []assignment {
	const deep = 8
	var expanded []assignment
	for _, s := range all {
		if macro, ok := a.macros[s.name]; ok && s.state == "+" && depth < deep {
			expanded = append(expanded, a.expand(macro, depth+1)...)
		}
		expanded = append(expanded, s)
	}
	return expanded
}

func relevant(all []assignment) []assignment {
	var kept []assignment
	for _, s := range all {
		switch s.name {
		case "filter", "working-tree-encoding", "ident", "eol", "text", "crlf":
			kept = append(kept, s)
		}
	}
	return kept
}

func (s assignment) triggers() bool {
	switch s.name {
	case "filter", "working-tree-encoding":
		return s.state[0] == '='
	case "ident":
		return s.state == "+"
	case "eol":
		return s.state == "=crlf"
	}
	return false
}

// conversion says what a checkout would do to a file: nil for nothing, and an error for what we can't do.
func (a *attributes) conversion(name string) (conversion, error) {
	if a == nil {
		return nil, nil
	}
	triggered := false
	for _, r := range a.rules {
		triggered = triggered || (r.trigger && r.match(name))
	}
	if !triggered {
		return nil, nil
	}
	is := map[string]string{}
	for _, r := range a.rules {
		if r.match(name) {
			for _, s := range r.assign {
				is[s.name] = s.state
			}
		}
	}
	if value, ok := strings.CutPrefix(is["filter"], "="); ok {
		return nil, revisionf("%q has the filter %q in .gitattributes; filters (Git LFS is one) are not supported: "+
			"commit the file as it is needed, or let the build fetch it", name, value)
	}
	if value, ok := strings.CutPrefix(is["working-tree-encoding"], "="); ok && !strings.EqualFold(value, "utf-8") && !strings.EqualFold(value, "utf8") {
		return nil, revisionf("%q has the working-tree-encoding %q in .gitattributes, which is not supported: commit it in UTF-8", name, value)
	}
	return both(noIdent(is["ident"]), lineEnds(is)), nil
}

func (r rule) match(name string) bool {
	rest, ok := strings.CutPrefix(name, r.dir)
	return ok && r.pattern(rest)
}
