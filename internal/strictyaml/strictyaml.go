// Package strictyaml reads small YAML files that people write, strictly: what
// it does not know is an error with file, line, column and the nearest right
// key, never ignored. All problems of a file are reported together.
//
// It reads a plain subset on purpose: one document of mappings, lists and
// scalars. Anchors, aliases, tags, merge keys and directives are refused, and
// size and depth are bounded before anything is parsed, so that a file from a
// repository costs little memory, and a second or two at worst (a list of 30,000).
//
// A reader asks for the keys it knows; asking is what makes a key known:
//
//	doc, err := strictyaml.Parse("bootagent.yaml", data)
//	m := doc.Root().Map()
//	m.Require("app").String(&c.App)
//	m.Get("drain_min").Duration(&c.DrainMin, time.Second, time.Hour)
//	m.Reserved("policy")
//	m.Done()
//	return doc.Err()
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxSize is the largest file that is read, in bytes.
	MaxSize = 64 << 10
	// maxDepth bounds nesting. The deepest file we define has four levels. The bound is needed: goccy/go-yaml
	// v1.19.2 took 18 s for 60,000 opening brackets, and 3 s for 30,000 dashes on one line.
	maxDepth = 20
	// maxProblems is how many problems of one file are told.
	maxProblems = 20
)

// Error is one problem in a file. Line and Column count from 1, columns in
// characters; both are 0 for a problem of the whole file.
type Error struct {
	File    string
	Line    int
	Column  int
	Message string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are two or more problems, in the order of the file. errors.As finds the first *Error in it.
type Errors []*Error

// Error gives one problem a line.
func (e Errors) Error() string {
	lines := make([]string, 0, len(e))
	for _, one := range e {
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the problems to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	out := make([]error, 0, len(e))
	for _, one := range e {
		out = append(out, one)
	}
	return out
}

// Document is a parsed file and the problems that were found in it so far.
type Document struct {
	file     string
	body     ast.Node
	problems []*Error
	last     int // the last line that holds anything
}

// Parse reads the syntax of one file; file is the name that errors carry. Every error is an *Error.
func Parse(file string, data []byte) (*Document, error) {
	d := &Document{file: file}
	if len(data) > MaxSize {
		return nil, d.at(0, 0, "is larger than the %d KiB that are read", MaxSize>>10)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if line, column, bad := unreadable(data); bad {
		return nil, d.at(line, column, "is not text: it must be UTF-8 without control characters")
	}
	d.last = 1 + bytes.Count(bytes.TrimRight(data, "\r\n \t"), []byte("\n"))
	body, err := d.parse(string(data))
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, d.at(0, 0, "is empty")
	}
	d.body = body
	return d, nil
}

// Root is the file's whole content.
func (d *Document) Root() Value { return Value{doc: d, node: d.body} }

// Err is nil, an *Error, or Errors: every problem that was found until now.
func (d *Document) Err() error {
	slices.SortStableFunc(d.problems, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	switch n := len(d.problems); {
	case n == 0:
		return nil
	case n == 1:
		return d.problems[0]
	case n > maxProblems:
		more := d.at(0, 0, "and %d more problems", n-maxProblems)
		return append(Errors(slices.Clone(d.problems[:maxProblems])), more)
	default:
		return Errors(slices.Clone(d.problems))
	}
}

func (d *Document) at(line, column int, format string, args ...any) *Error {
	return &Error{File: d.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
}

func (d *Document) atToken(t *token.Token, format string, args ...any) *Error {
	if t == nil || t.Position == nil {
		return d.at(0, 0, format, args...)
	}
	return d.at(min(t.Position.Line, d.last), t.Position.Column, format, args...)
}

// parse runs the YAML library between our bounds.
func (d *Document) parse(text string) (body ast.Node, err error) {
	// A recipe comes from a repository: whatever it makes the library do, it must not take the agent down.
	defer func() {
		if recover() != nil {
			body, err = nil, d.at(0, 0, "is not YAML that can be read")
		}
	}()
	tokens := lexer.Tokenize(text)
	if err := d.plain(tokens); err != nil {
		return nil, err
	}
	// Duplicate keys are found by Map, in our words.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, d.syntax(err)
	}
	for _, doc := range file.Docs {
		switch {
		case doc == nil || doc.Body == nil:
		case body == nil:
			body = doc.Body
		default:
			return nil, d.atToken(doc.Body.GetToken(), "holds more than one YAML document; keep one")
		}
	}
	return body, nil
}

// plain refuses what is outside the subset, before the parser sees it.
func (d *Document) plain(tokens token.Tokens) error {
	flow, onLine, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, onLine = t.Position.Line, 0
		}
		switch t.Type {
		case token.AnchorType, token.AliasType:
			return d.atToken(t, "anchors (&) and aliases (*) are not supported; quote the value if it begins with one of these")
		case token.MergeKeyType:
			return d.atToken(t, "merge keys (<<) are not supported; write the keys out")
		case token.TagType:
			return d.atToken(t, "tags (!) are not supported; quote the value if it begins with one")
		case token.DirectiveType:
			return d.atToken(t, "directives (%%) are not supported")
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			onLine++
		}
		// Block nesting needs a column more for each level, so columns bound it.
		if flow > maxDepth || onLine > maxDepth || (t.Type == token.MappingValueType && flow == 0 && indent(t) > 10*maxDepth) {
			return d.atToken(t, "is nested too deeply")
		}
	}
	return nil
}

// indent is how far the line of a token's mapping is indented.
func indent(t *token.Token) int {
	if t.Prev == nil || t.Prev.Position.Line != t.Position.Line {
		return t.Position.Column
	}
	return t.Prev.Position.Column
}

// syntax turns the library's error, which quotes the source in many lines, into one of ours.
func (d *Document) syntax(err error) error {
	var pretty yaml.Error
	if errors.As(err, &pretty) {
		return d.atToken(pretty.GetToken(), "is not valid YAML: %s", pretty.GetMessage())
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return d.at(0, 0, "is not valid YAML: %s", line)
}

// unreadable finds the first byte that does not belong in a text file.
func unreadable(data []byte) (line, column int, bad bool) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if (r == utf8.RuneError && size <= 1) || (unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t') {
			return line, column, true
		}
		if column++; r == '\n' {
			line, column = line+1, 1
		}
		data = data[size:]
	}
	return 0, 0, false
}
