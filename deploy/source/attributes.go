package source

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/bootagent/bootagent/deploy/tree"
)

// attributesName is the file in which a repository says how its files are treated (gitattributes(5)).
const attributesName = ".gitattributes"

const (
	// attributesMax bounds such a file, attributeLine one line of it (git's attr.h; longer lines are ignored), in bytes.
	attributesMax = 1 << 20
	attributeLine = 2048
	// attributesAll bounds all such files of a repository together, in bytes: one blob can stand in every directory.
	attributesAll = 16 << 20
	// attributesHeld bounds the lines that hold at once in a directory, in bytes: each is matched with each file.
	attributesHeld = 128 << 10
	// expansionMax bounds what one line's macros stand for: macros of macros multiply.
	expansionMax = 1000
)

// attributes are the rules that hold in a directory: its own, and those of the directories above, over which they win.
// Only rules about what a checkout writes are kept.
type attributes struct {
	above  *attributes
	dir    string // where the rules stand: "" or "a/b/"
	rules  []rule
	macros map[string][]assignment // those of the repository's root
	held   int                     // bytes of the rules' lines, with those above
}

type rule struct {
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
		if c.rules += int(min(o.size, attributesMax)); c.rules > attributesAll {
			return nil, &tree.LimitError{Path: c.at(name), What: "bytes of .gitattributes in all directories", Limit: attributesAll}
		}
		content, err := c.read(o, attributesMax)
		if err != nil {
			return nil, err
		}
		own, err := above.with(dir, content)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", c.at(name), err)
		}
		return own, nil
	}
	return above, nil
}

// with gives the rules of a directory that has a .gitattributes of its own.
func (a *attributes) with(dir string, content []byte) (*attributes, error) {
	next := &attributes{above: a, macros: map[string][]assignment{"binary": {{"text", "-"}}}}
	if a != nil {
		next.macros, next.held = a.macros, a.held
	}
	if dir != "" {
		next.dir = dir + "/"
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
		left := expansionMax
		r := rule{assign: relevant(next.expand(assignments(l[1]), 0, &left))}
		if left < 0 {
			return nil, &tree.LimitError{Path: l[0], What: "attributes for which one line's macros stand", Limit: expansionMax}
		}
		if len(r.assign) == 0 {
			continue
		}
		if next.held += len(l[0]) + len(l[1]); next.held > attributesHeld {
			return nil, &tree.LimitError{Path: l[0], What: "bytes of rules that hold at once in a directory", Limit: attributesHeld}
		}
		for _, s := range r.assign {
			r.trigger = r.trigger || s.triggers()
		}
		if r.pattern = parsePattern(l[0]); r.pattern != nil {
			next.rules = append(next.rules, r)
		}
	}
	return next, nil
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

// expand replaces macros by what they stand for. It ends early where nothing is left.
func (a *attributes) expand(all []assignment, depth int, left *int) []assignment {
	const deep = 8
	var expanded []assignment
	for _, s := range all {
		if macro, ok := a.macros[s.name]; ok && s.state == "+" && depth < deep {
			expanded = append(expanded, a.expand(macro, depth+1, left)...)
		}
		if *left--; *left < 0 {
			return nil
		}
		expanded = append(expanded, s)
	}
	return expanded
}

// relevant keeps of each attribute that matters what is said last.
func relevant(all []assignment) []assignment {
	var kept []assignment
	for _, s := range all {
		switch s.name {
		case "filter", "working-tree-encoding", "ident", "eol", "text", "crlf":
			kept = slices.DeleteFunc(kept, func(before assignment) bool { return before.name == s.name })
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
	if !a.triggered(name) {
		return nil, nil
	}
	is := map[string]string{}
	a.collect(name, is)
	if value, ok := strings.CutPrefix(is["filter"], "="); ok {
		err := refuseFilter(name, value)
		if value == lfs {
			return nil, beyond(err)
		}
		return nil, err
	}
	if value, ok := strings.CutPrefix(is["working-tree-encoding"], "="); ok && !strings.EqualFold(value, "utf-8") && !strings.EqualFold(value, "utf8") {
		return nil, beyond(revisionf("%q has the working-tree-encoding %q in .gitattributes, which is not supported: commit it in UTF-8", name, value))
	}
	return both(noIdent(is["ident"]), lineEnds(is)), nil
}

// lfs is the name of the filter that Git LFS goes by.
const lfs = "lfs"

func refuseFilter(name, value string) error {
	return revisionf("%q has the filter %q in .gitattributes; filters (Git LFS is one) are not supported: "+
		"commit the file as it is needed, or let the build fetch it", name, value)
}

// triggered says whether a rule that holds for a file may change it.
func (a *attributes) triggered(name string) bool {
	for ; a != nil; a = a.above {
		below := strings.TrimPrefix(name, a.dir)
		if slices.ContainsFunc(a.rules, func(r rule) bool { return r.trigger && r.pattern(below) }) {
			return true
		}
	}
	return false
}

// collect puts the attributes of a file into is, those from above first.
func (a *attributes) collect(name string, is map[string]string) {
	if a == nil {
		return
	}
	a.above.collect(name, is)
	below := strings.TrimPrefix(name, a.dir)
	for _, r := range a.rules {
		if !r.pattern(below) {
			continue
		}
		for _, s := range r.assign {
			is[s.name] = s.state
		}
	}
}
