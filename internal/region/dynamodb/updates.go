package dynamodb

import (
	"maps"
	"slices"
	"strings"
)

// assignment is one part of an update: SET name = from, or REMOVE name.
type assignment struct {
	name   string
	from   operand
	remove bool
}

// parseUpdate reads an update expression: SET a = :v, b = c REMOVE d, e.
func parseUpdate(text *string, holders *placeholders) ([]assignment, error) {
	if text == nil {
		return nil, nil
	}
	p, err := newParser("UpdateExpression", *text, holders)
	if err != nil {
		return nil, err
	}
	var all []assignment
	seen := map[string]bool{}
	for p.at < len(p.tokens) {
		clause := strings.ToUpper(p.peek())
		switch {
		case clause == "ADD" || clause == "DELETE":
			return nil, p.missing(clause)
		case clause != "SET" && clause != "REMOVE":
			return nil, p.syntax()
		case seen[clause]:
			return nil, p.wrong("The %q section can only be used once in an update expression;", clause)
		}
		seen[clause] = true
		p.at++
		for first := true; first || p.take(","); first = false {
			a, err := p.assignment(clause == "REMOVE")
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(all, func(b assignment) bool { return a.name == b.name }) {
				return nil, p.wrong("Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [%s], path two: [%s]", a.name, a.name)
			}
			all = append(all, a)
		}
	}
	return all, nil
}

func (p *parser) assignment(remove bool) (assignment, error) {
	name, err := p.name()
	if err != nil || remove {
		return assignment{name: name, remove: remove}, err
	}
	if err := p.expect("="); err != nil {
		return assignment{}, err
	}
	if p.at+1 < len(p.tokens) && p.tokens[p.at+1] == "(" {
		return assignment{}, p.missing(p.peek() + "()")
	}
	from, err := p.operand()
	if err != nil {
		return assignment{}, err
	}
	if next := p.peek(); next == "+" || next == "-" {
		return assignment{}, p.missing("arithmetic (" + next + ")")
	}
	return assignment{name: name, from: from}, nil
}

// updated is the item after the assignments, which all see it as it was.
func updated(it item, all []assignment) (item, error) {
	out := maps.Clone(it)
	for _, a := range all {
		if a.remove {
			delete(out, a.name)
			continue
		}
		v, ok := a.from.in(it)
		if !ok {
			return nil, invalid("The provided expression refers to an attribute that does not exist in the item")
		}
		out[a.name] = v
	}
	return out, nil
}
