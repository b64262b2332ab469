package dynamodb

import (
	"maps"
	"slices"
	"strings"
)

// placeholders are a request's names and values, and which of them its expressions have used.
type placeholders struct {
	names  map[string]string
	values map[string]value
	used   map[string]bool
}

func newPlaceholders(names map[string]string, values map[string]value) (*placeholders, error) {
	for member, keys := range map[string][]string{
		"ExpressionAttributeNames": slices.Sorted(maps.Keys(names)), "ExpressionAttributeValues": slices.Sorted(maps.Keys(values)),
	} {
		sign := map[string]string{"ExpressionAttributeNames": "#", "ExpressionAttributeValues": ":"}[member]
		for _, key := range keys {
			if !strings.HasPrefix(key, sign) || len(key) < 2 || strings.Trim(key[1:], wordLetters) != "" {
				return nil, invalid("%s contains invalid key: Syntax error; key: %q", member, key)
			}
		}
	}
	if names != nil && len(names) == 0 {
		return nil, invalid("ExpressionAttributeNames must not be empty")
	}
	if values != nil && len(values) == 0 {
		return nil, invalid("ExpressionAttributeValues must not be empty")
	}
	return &placeholders{names: names, values: values, used: map[string]bool{}}, nil
}

// settle refuses placeholders that no expression used.
func (p *placeholders) settle() error {
	for member, keys := range map[string][]string{
		"ExpressionAttributeNames": slices.Sorted(maps.Keys(p.names)), "ExpressionAttributeValues": slices.Sorted(maps.Keys(p.values)),
	} {
		for _, key := range keys {
			if !p.used[key] {
				return invalid("Value provided in %s unused in expressions: keys: {%s}", member, key)
			}
		}
	}
	return nil
}

const wordLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// parser reads one expression, token by token.
type parser struct {
	kind      string // "ConditionExpression": how errors call it
	tokens    []string
	at        int
	operators int
	holders   *placeholders
}

// newParser takes an expression apart.
func newParser(kind, text string, holders *placeholders) (*parser, error) {
	p := &parser{kind: kind, holders: holders}
	if text == "" {
		return nil, p.wrong("The expression can not be empty;")
	}
	if len(text) > maxExpression {
		return nil, p.wrong("Expression size has exceeded the maximum allowed size; expression size: %d", len(text))
	}
	for rest := strings.TrimLeft(text, " \t\r\n"); rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		n := tokenLength(rest)
		if n == 0 {
			return nil, p.wrong("Syntax error; token: %q", rest[:1])
		}
		p.tokens = append(p.tokens, rest[:n])
		rest = rest[n:]
	}
	return p, nil
}

func tokenLength(s string) int {
	for _, sign := range []string{"<>", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", "[", "]", "+", "-"} {
		if strings.HasPrefix(s, sign) {
			return len(sign)
		}
	}
	start := 0
	if s[0] == '#' || s[0] == ':' {
		start = 1
	}
	n := len(s) - len(strings.TrimLeft(s[start:], wordLetters))
	if n == start {
		return 0
	}
	return n
}

func (p *parser) wrong(format string, args ...any) error {
	return invalid("Invalid "+p.kind+": "+format, args...)
}

// missing refuses what AWS knows and this region does not.
func (p *parser) missing(what string) error {
	return p.wrong("this region on a laptop has no %s in expressions", what)
}

func (p *parser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

// take moves on if the next token is this one; words are the same in any case.
func (p *parser) take(token string) bool {
	if p.at < len(p.tokens) && strings.EqualFold(p.tokens[p.at], token) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(token string) error {
	if !p.take(token) {
		return p.syntax()
	}
	return nil
}

func (p *parser) syntax() error {
	if p.at >= len(p.tokens) {
		return p.wrong("Syntax error; token: <EOF>")
	}
	return p.wrong("Syntax error; token: %q, near: %q", p.tokens[p.at], strings.Join(p.tokens[max(p.at-1, 0):min(p.at+2, len(p.tokens))], " "))
}

// count bounds an expression's operators and functions.
func (p *parser) count() error {
	p.operators++
	if p.operators > maxOperators {
		return p.wrong("The expression contains too many operators; maximum: %d", maxOperators)
	}
	return nil
}

// name reads a name of an attribute. What leads into a map or a list is refused.
func (p *parser) name() (string, error) {
	token := p.peek()
	var name string
	switch {
	case token == "" || strings.HasPrefix(token, ":") || strings.Trim(token, wordLetters+"#") != "" || isDigit(token[0]):
		return "", p.syntax()
	case token[0] == '#':
		var ok bool
		if name, ok = p.holders.names[token]; !ok {
			return "", p.wrong("An expression attribute name used in the document path is not defined; attribute name: %s", token)
		}
		p.holders.used[token] = true
	default:
		name = token
	}
	p.at++
	if next := p.peek(); next == "." || next == "[" {
		return "", p.missing("paths into maps and lists (" + token + next + "…)")
	}
	return name, nil
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// placed reads a value's placeholder.
func (p *parser) placed() (value, error) {
	token := p.peek()
	v, ok := p.holders.values[token]
	if !ok {
		return value{}, p.wrong("An expression attribute value used in expression is not defined; attribute value: %s", token)
	}
	p.holders.used[token] = true
	p.at++
	return v, nil
}
