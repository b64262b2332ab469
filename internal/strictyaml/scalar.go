package strictyaml

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// String reads text, and says whether there was some. Numbers, true and false have to be quoted to be text: what YAML
// makes of 1.20 or 0x10 is not what was written.
func (v Value) String(dst *string) bool {
	s, ok := v.text()
	if ok {
		*dst = s
	}
	return ok
}

// Check reads text that has to pass a check; the check's error says what the text must be.
func (v Value) Check(dst *string, check func(string) error) bool {
	s, ok := v.text()
	if !ok {
		return false
	}
	if err := check(s); err != nil {
		v.Fail("%s: %s", v.Name(), err)
		return false
	}
	*dst = s
	return true
}

func (v Value) text() (string, bool) {
	switch n := v.node.(type) {
	case nil:
		return "", false
	case *ast.StringNode:
		if strings.ContainsRune(n.Value, 0) { // by an escape
			v.Fail("%s contains a NUL, which neither a command nor a variable can", v.Name())
			return "", false
		}
		return n.Value, true
	case *ast.LiteralNode:
		if n.Value != nil {
			return n.Value.Value, true
		}
		return "", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		v.Fail("%s must be text, not %s; put it in quotes: \"%s\"", v.Name(), v.Kind(), n.GetToken().Value)
	default:
		v.must("text")
	}
	return "", false
}

// Bool reads true or false.
func (v Value) Bool(dst *bool) bool {
	if !v.Given() {
		return false
	}
	n, ok := v.node.(*ast.BoolNode)
	if !ok {
		v.must("true or false")
		return false
	}
	*dst = n.Value
	return true
}

// Int reads a whole number between lo and hi, both included.
func (v Value) Int(dst *int, lo, hi int) bool {
	if !v.Given() {
		return false
	}
	n, ok := v.node.(*ast.IntegerNode)
	if !ok {
		v.must("a whole number")
		return false
	}
	var i int64
	switch x := n.Value.(type) {
	case int64:
		i = x
	case uint64:
		i = int64(min(x, math.MaxInt64))
	}
	if i < int64(lo) || i > int64(hi) {
		v.Fail("%s must be between %d and %d, not %s", v.Name(), lo, hi, quote(n.GetToken().Value))
		return false
	}
	*dst = int(i)
	return true
}

// Duration reads a duration with its unit, "30s", "2m" or "1h30m", between lo and hi, both included.
func (v Value) Duration(dst *time.Duration, lo, hi time.Duration) bool {
	const what = `a duration with a unit, such as "30s", "2m" or "1h"`
	if !v.Given() {
		return false
	}
	if v.Kind() == Number {
		v.Fail("%s must be %s; a bare number has no unit: write \"%ss\" if you mean seconds", v.Name(), what, v.node.GetToken().Value)
		return false
	}
	s, ok := v.node.(*ast.StringNode)
	if !ok {
		v.must(what)
		return false
	}
	d, err := time.ParseDuration(s.Value)
	if err != nil {
		v.Fail("%s must be %s, not %s", v.Name(), what, quote(s.Value))
		return false
	}
	if d < lo || d > hi {
		v.Fail("%s must be between %s and %s, not %s", v.Name(), Short(lo), Short(hi), quote(s.Value))
		return false
	}
	*dst = d
	return true
}

// Short writes a duration without its zero parts: 15m, not 15m0s.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var size = regexp.MustCompile(`^([0-9]{1,15}) ?(B|[kK]B|MB|GB|TB|KiB|MiB|GiB|TiB)$`)

// unit gives the bytes of a unit that size matched.
func unit(name string) int64 {
	power := int64(strings.IndexByte("BKMGT", strings.ToUpper(name)[0]))
	base := int64(1000)
	if strings.HasSuffix(name, "iB") {
		base = 1024
	}
	n := int64(1)
	for range power {
		n *= base
	}
	return n
}

// Bytes reads a size with its unit, "512MiB" or "1GB", between lo and hi bytes, both included.
func (v Value) Bytes(dst *int64, lo, hi int64) bool {
	const what = `a size with a unit, such as "512MiB" or "2GiB"`
	if !v.Given() {
		return false
	}
	s, ok := v.node.(*ast.StringNode)
	if !ok {
		v.must(what)
		return false
	}
	m := size.FindStringSubmatch(s.Value)
	if m == nil {
		v.Fail("%s must be %s, not %s", v.Name(), what, quote(s.Value))
		return false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/unit(m[2]) {
		n = math.MaxInt64
	} else {
		n *= unit(m[2])
	}
	if n < lo || n > hi {
		v.Fail("%s must be between %s and %s, not %s", v.Name(), Size(lo), Size(hi), quote(s.Value))
		return false
	}
	*dst = n
	return true
}

// Size writes a number of bytes for people, in the largest unit that leaves at least 1: 1.5GiB, 256MiB.
func Size(n int64) string {
	for _, u := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n >= unit(u) {
			s := strconv.FormatFloat(float64(n)/float64(unit(u)), 'f', 1, 64)
			return strings.TrimSuffix(s, ".0") + u
		}
	}
	return fmt.Sprintf("%dB", n)
}

// Enum reads one of a few words; held are words of a later version, which are refused as that.
func (v Value) Enum(dst *string, words []string, held ...string) bool {
	s, ok := v.text()
	switch {
	case !ok:
		return false
	case slices.Contains(words, s):
		*dst = s
		return true
	case slices.Contains(held, s):
		v.Fail("%s: %q is not supported by this version of bootagent; use %s", v.Name(), s, strings.Join(words, " or "))
	case Nearest(s, words) != "":
		v.Fail("%s can't be %s; did you mean %q?", v.Name(), quote(s), Nearest(s, words))
	default:
		v.Fail("%s must be %s, not %s", v.Name(), strings.Join(words, " or "), quote(s))
	}
	return false
}

// quote writes text of unknown origin safely: quoted, without control characters, at most 60 characters.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "..."
	}
	return strconv.Quote(s)
}
