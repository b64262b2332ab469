package strictyaml

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Kind is what a value is.
type Kind string

// The kinds, as they stand in messages.
const (
	Absent  Kind = "absent"
	Empty   Kind = "empty"
	Text    Kind = "text"
	Number  Kind = "a number"
	Boolean Kind = "true or false"
	List    Kind = "a list"
	Mapping Kind = "a mapping"
	Other   Kind = "something else"
)

// Value is a value at a known place in a file, or an absent one. The methods
// that take a pointer leave it alone when the value is absent or wrong; a
// wrong one is recorded as a problem of the document.
type Value struct {
	doc  *Document
	node ast.Node
	name string   // build.timeout, target_groups[0]; "" for the file itself
	key  ast.Node // the key that it belongs to, if there is one
}

// Given says whether the key is in the file.
func (v Value) Given() bool { return v.node != nil }

// Name is the dotted path to the value.
func (v Value) Name() string {
	if v.name == "" {
		return "the file"
	}
	return v.name
}

// Kind is what the value is.
func (v Value) Kind() Kind {
	switch v.node.(type) {
	case nil:
		return Absent
	case *ast.NullNode:
		return Empty
	case *ast.StringNode, *ast.LiteralNode:
		return Text
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return Number
	case *ast.BoolNode:
		return Boolean
	case *ast.SequenceNode:
		return List
	case *ast.MappingNode, *ast.MappingValueNode:
		return Mapping
	}
	return Other
}

// Fail records a problem at the value's place. The message starts with what is wrong; the place is put before it.
func (v Value) Fail(format string, args ...any) {
	if v.doc == nil {
		return
	}
	at := start(v.node)
	if v.Kind() == Empty && v.key != nil {
		at = start(v.key) // an empty value has no place of its own
	}
	v.doc.problems = append(v.doc.problems, v.doc.atToken(at, format, args...))
}

// must records what the value has to be.
func (v Value) must(what string) {
	if k := v.Kind(); k == Empty {
		v.Fail("%s is empty; it must be %s (or leave the key out)", v.Name(), what)
	} else {
		v.Fail("%s must be %s, not %s", v.Name(), what, k)
	}
}

// start is the token where a value begins; a block mapping's own token is its first colon.
func start(n ast.Node) *token.Token {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return start(n.Values[0])
		}
	case *ast.MappingValueNode:
		if n.Key != nil {
			return n.Key.GetToken()
		}
	}
	return n.GetToken()
}

// List gives the elements of a list, and none for an absent value.
func (v Value) List() []Value {
	if !v.Given() {
		return nil
	}
	seq, ok := v.node.(*ast.SequenceNode)
	if !ok {
		v.must("a list")
		return nil
	}
	out := make([]Value, 0, len(seq.Values))
	for i, n := range seq.Values {
		if n == nil {
			v.Fail("%s[%d] is empty", v.Name(), i)
			continue
		}
		out = append(out, Value{doc: v.doc, node: n, name: fmt.Sprintf("%s[%d]", v.Name(), i)})
	}
	return out
}

// Entry is one key of a mapping whose keys are names that the user chose.
type Entry struct {
	Key   string
	Place Value // the key itself, for Fail
	Value Value
}

// Map is a mapping that is being read.
type Map struct {
	at      Value
	entries []Entry
	asked   []string
	held    []string
}

// Map gives the value's mapping; an absent value or one of another kind gives an empty one. Duplicate keys are problems.
func (v Value) Map() *Map {
	m := &Map{at: v}
	var values []*ast.MappingValueNode
	switch n := v.node.(type) {
	case nil:
		return m
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		v.must("a mapping (key: value)")
		return m
	}
	first := map[string]Value{}
	for _, kv := range values {
		place := Value{doc: v.doc, node: kv.Key, name: v.name}
		key, ok := kv.Key.(*ast.StringNode)
		if !ok {
			place.Fail("a key must be text; put quotes around it")
			continue
		}
		name := key.Value
		if v.name != "" {
			name = v.name + "." + key.Value
		}
		if before, twice := first[key.Value]; twice {
			place.Fail("%s is given twice, first in line %d", quote(name), start(before.node).Position.Line)
			continue
		}
		first[key.Value] = place
		if kv.Value == nil {
			kv.Value = ast.Null(key.GetToken())
		}
		m.entries = append(m.entries, Entry{
			Key:   key.Value,
			Place: place,
			Value: Value{doc: v.doc, node: kv.Value, name: name, key: kv.Key},
		})
	}
	return m
}

// Entries gives all keys, in the order of the file, and makes every key known.
func (m *Map) Entries() []Entry {
	for _, e := range m.entries {
		m.asked = append(m.asked, e.Key)
	}
	return m.entries
}

// Get gives the value of a key, absent if the key is not there, and makes the key known.
func (m *Map) Get(key string) Value {
	if !slices.Contains(m.asked, key) {
		m.asked = append(m.asked, key)
	}
	for _, e := range m.entries {
		if e.Key == key {
			return e.Value
		}
	}
	return Value{doc: m.at.doc, name: m.path(key)}
}

// Require is Get for a key that has to be there; a missing one is a problem of the mapping.
func (m *Map) Require(key, why string) Value {
	v := m.Get(key)
	if k := m.at.Kind(); !v.Given() && (k == Mapping || k == Absent) {
		m.at.Fail("%s is missing: %s", m.path(key), why)
	}
	return v
}

// Reserved declares keys that a later version knows: they are refused as that, not as unknown.
func (m *Map) Reserved(keys ...string) { m.held = append(m.held, keys...) }

// Done records every key that was not asked for.
func (m *Map) Done() {
	for _, e := range m.entries {
		switch {
		case slices.Contains(m.asked, e.Key):
		case slices.Contains(m.held, e.Key):
			e.Place.Fail("%s is not supported by this version of bootagent; remove it or upgrade", m.path(e.Key))
		default:
			e.Place.Fail("%s", m.unknown(e.Key))
		}
	}
}

func (m *Map) unknown(key string) string {
	msg := "unknown key " + quote(key)
	if m.at.name != "" {
		msg += " in " + m.at.name
	}
	if near := Nearest(key, m.asked); near != "" {
		return msg + fmt.Sprintf("; did you mean %q?", near)
	}
	if near := Nearest(key, m.held); near != "" {
		return msg + fmt.Sprintf("; if you mean %q, that is not supported by this version of bootagent", near)
	}
	return msg + "; the keys here are " + strings.Join(m.asked, ", ")
}

func (m *Map) path(key string) string {
	if m.at.name == "" {
		return key
	}
	return m.at.name + "." + key
}
