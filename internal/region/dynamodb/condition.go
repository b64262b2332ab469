package dynamodb

import (
	"slices"
	"strings"
)

// condition is a parsed condition, of a write or on keys.
type condition struct {
	op   string // AND, OR, NOT, =, <>, attribute_exists, attribute_not_exists, begins_with
	of   []*condition
	args []operand
}

// operand is a name or a value.
type operand struct {
	name  string // "" for a value
	value value
}

// parseCondition reads a condition; nil where there is none.
//
//	condition ::= and [OR and]…   and ::= not [AND not]…   not ::= [NOT] ( "(" condition ")" | comparison | function )
func parseCondition(kind string, text *string, holders *placeholders) (*condition, error) {
	if text == nil {
		return nil, nil
	}
	p, err := newParser(kind, *text, holders)
	if err != nil {
		return nil, err
	}
	c, err := p.either()
	if err != nil {
		return nil, err
	}
	if p.at < len(p.tokens) {
		return nil, p.syntax()
	}
	return c, nil
}

func (p *parser) either() (*condition, error) { return p.chain("OR", p.both) }
func (p *parser) both() (*condition, error)   { return p.chain("AND", p.negated) }

func (p *parser) chain(word string, next func() (*condition, error)) (*condition, error) {
	left, err := next()
	for err == nil && p.take(word) {
		var right *condition
		if err = p.count(); err == nil {
			right, err = next()
		}
		left = &condition{op: word, of: []*condition{left, right}}
	}
	return left, err
}

func (p *parser) negated() (*condition, error) {
	if p.take("NOT") {
		if err := p.count(); err != nil {
			return nil, err
		}
		c, err := p.negated()
		return &condition{op: "NOT", of: []*condition{c}}, err
	}
	if p.take("(") {
		c, err := p.either()
		if err != nil {
			return nil, err
		}
		return c, p.expect(")")
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	if p.at+1 < len(p.tokens) && p.tokens[p.at+1] == "(" {
		return p.function()
	}
	return p.comparison()
}

func (p *parser) comparison() (*condition, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	op := p.peek()
	switch {
	case op == "=" || op == "<>":
	case slices.Contains([]string{"<", "<=", ">", ">="}, op), strings.EqualFold(op, "BETWEEN"), strings.EqualFold(op, "IN"):
		return nil, p.missing(op)
	default:
		return nil, p.syntax()
	}
	p.at++
	right, err := p.operand()
	return &condition{op: op, args: []operand{left, right}}, err
}

func (p *parser) operand() (operand, error) {
	if strings.HasPrefix(p.peek(), ":") {
		v, err := p.placed()
		return operand{value: v}, err
	}
	name, err := p.name()
	return operand{name: name}, err
}

func (p *parser) function() (*condition, error) {
	function := p.peek()
	arguments := map[string]int{"attribute_exists": 1, "attribute_not_exists": 1, "begins_with": 2}[function]
	if arguments == 0 {
		if slices.Contains([]string{"attribute_type", "contains", "size"}, function) {
			return nil, p.missing(function)
		}
		return nil, p.wrong("Invalid function name; function: %s", function)
	}
	p.at += 2
	c := &condition{op: function}
	for n := range arguments {
		if n > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		arg, err := p.operand()
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
	}
	if c.args[0].name == "" {
		return nil, p.wrong("Operator or function requires a document path; operator or function: %s", function)
	}
	return c, p.expect(")")
}

// holds says whether the item meets the condition; none is always met, and nil is an item that is not there.
func (c *condition) holds(it item) bool {
	if c == nil {
		return true
	}
	switch c.op {
	case "AND":
		return c.of[0].holds(it) && c.of[1].holds(it)
	case "OR":
		return c.of[0].holds(it) || c.of[1].holds(it)
	case "NOT":
		return !c.of[0].holds(it)
	}
	left, there := c.args[0].in(it)
	switch c.op {
	case "attribute_exists":
		return there
	case "attribute_not_exists":
		return !there
	}
	right, both := c.args[1].in(it)
	both = both && there
	switch c.op {
	case "=":
		return both && left.equal(right)
	case "<>": // what is not there differs from everything
		return !both || !left.equal(right)
	default: // begins_with
		return both && left.kind == right.kind && (left.kind == "S" || left.kind == "B") && strings.HasPrefix(left.text, right.text)
	}
}

func (o operand) in(it item) (value, bool) {
	if o.name == "" {
		return o.value, true
	}
	v, ok := it[o.name]
	return v, ok
}
