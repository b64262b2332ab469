package wire

import (
	"encoding/xml"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The readers below take apart the parameters of an awsQuery call, where a
// list of scalars is X.member.1, X.member.2 … and a list of structures is
// X.member.1.Field …
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html

// List returns the scalars of the list prefix in their order: for "Names" the
// values of Names.member.1, Names.member.2 … It is nil where there is no list.
func List(form url.Values, prefix string) []string {
	var out []string
	for _, index := range indices(form, prefix) {
		key := prefix + ".member." + index
		if form.Has(key) {
			out = append(out, form.Get(key))
		}
	}
	return out
}

// Structs returns the structures of the list prefix in their order, each as a
// form of its own: Targets.member.1.Id becomes Id in the first. Nested lists
// keep their names below the structure, so that List and Structs read them again.
func Structs(form url.Values, prefix string) []url.Values {
	var out []url.Values
	for _, index := range indices(form, prefix) {
		if s := Struct(form, prefix+".member."+index); len(s) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// Struct returns the fields of one nested structure as a form of its own:
// for "Matcher" the parameter Matcher.HttpCode becomes HttpCode.
func Struct(form url.Values, prefix string) url.Values {
	out := url.Values{}
	for key, values := range form {
		if field, ok := strings.CutPrefix(key, prefix+"."); ok {
			out[field] = values
		}
	}
	return out
}

// Int returns the number at key and whether it was given. What is no number is
// a ValidationError, ready to be returned by a handler.
func Int(form url.Values, key string) (n int, given bool, err error) {
	if !form.Has(key) || form.Get(key) == "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(form.Get(key))
	if err != nil {
		return 0, true, Errorf("ValidationError", "Value '%s' at '%s' is not an integer", form.Get(key), key)
	}
	return n, true, nil
}

// Bool returns the truth value at key and whether it was given. What is
// neither true nor false is a ValidationError, ready to be returned by a handler.
func Bool(form url.Values, key string) (value, given bool, err error) {
	switch strings.ToLower(form.Get(key)) {
	case "":
		return false, false, nil
	case "true":
		return true, true, nil
	case "false":
		return false, true, nil
	}
	return false, true, Errorf("ValidationError", "Value '%s' at '%s' is neither true nor false", form.Get(key), key)
}

// indices are the list's indices as they are written, in numeric order.
func indices(form url.Values, prefix string) []string {
	seen := map[int]string{}
	for key := range form {
		rest, ok := strings.CutPrefix(key, prefix+".member.")
		if !ok {
			continue
		}
		index, _, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(index); err == nil && n > 0 {
			seen[n] = index
		}
	}
	order := make([]int, 0, len(seen))
	for n := range seen {
		order = append(order, n)
	}
	slices.Sort(order)
	out := make([]string, len(order))
	for i, n := range order {
		out[i] = seen[n]
	}
	return out
}

// Members is a list in an awsQuery answer: a field `X Members[T]` is written
// as <X><member>…</member></X>, and an empty one as <X></X>.
type Members[T any] struct {
	Member []T `xml:"member"`
}

// ListOf makes the Members of items.
func ListOf[T any](items ...T) Members[T] { return Members[T]{Member: items} }

// Time is a moment in an awsQuery answer, written as 2006-01-02T15:04:05.000Z.
// The zero Time leaves its element out.
type Time time.Time

// MarshalXML writes the moment in UTC with milliseconds, as AWS does.
func (t Time) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	moment := time.Time(t)
	if moment.IsZero() {
		return nil
	}
	return e.EncodeElement(moment.UTC().Format("2006-01-02T15:04:05.000Z"), start)
}
