package dynamodb

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"regexp"
	"strings"
)

// value is an attribute's value.
type value struct {
	kind   string // S, N, B, BOOL, NULL, L or M
	text   string // of S; of N, normalised; of B, decoded
	flag   bool   // of BOOL
	list   []value
	fields map[string]value
}

// item is what a table holds: values by attribute.
type item map[string]value

// UnmarshalJSON reads {"S": "text"} and the like. Sets are refused.
func (v *value) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	if len(members) != 1 {
		return invalid("Supplied AttributeValue has %d data types set, must contain exactly one of the supported datatypes", len(members))
	}
	for kind, raw := range members {
		v.kind = kind
		if err := v.read(raw); err != nil {
			return err
		}
	}
	return nil
}

func (v *value) read(raw json.RawMessage) error {
	switch v.kind {
	case "S":
		return json.Unmarshal(raw, &v.text)
	case "N":
		var err error
		if err = json.Unmarshal(raw, &v.text); err == nil {
			v.text, err = number(v.text)
		}
		return err
	case "B":
		var b []byte
		err := json.Unmarshal(raw, &b)
		v.text = string(b)
		return err
	case "BOOL", "NULL":
		return json.Unmarshal(raw, &v.flag)
	case "L":
		return json.Unmarshal(raw, &v.list)
	case "M":
		return json.Unmarshal(raw, &v.fields)
	}
	return invalid("this region on a laptop has no attribute values of type %s, only S, N, B, BOOL, NULL, L and M", v.kind)
}

var decimal = regexp.MustCompile(`^[-+]?(\d{1,60}(\.\d{0,60})?|\.\d{1,60})([eE][-+]?\d{1,3})?$`)

// number checks and normalises a number: at most 38 significant digits, without leading and trailing zeros.
func number(text string) (string, error) {
	if !decimal.MatchString(text) {
		return "", invalid("The parameter cannot be converted to a numeric value: %s", text)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return "", invalid("The parameter cannot be converted to a numeric value: %s", text)
	}
	out := r.FloatString(130)
	out = strings.TrimSuffix(strings.TrimRight(out, "0"), ".")
	digits := strings.TrimLeft(strings.Replace(strings.TrimPrefix(out, "-"), ".", "", 1), "0")
	if len(strings.TrimRight(digits, "0")) > 38 {
		return "", invalid("Attempting to store more than 38 significant digits in a Number")
	}
	if len(digits) > 126 {
		return "", invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
	}
	return out, nil
}

// MarshalJSON writes the value as it was read.
func (v value) MarshalJSON() ([]byte, error) {
	var inner any = v.text
	switch v.kind {
	case "B":
		inner = base64.StdEncoding.EncodeToString([]byte(v.text))
	case "BOOL", "NULL":
		inner = v.flag
	case "L":
		inner = append([]value{}, v.list...)
	case "M":
		inner = v.fields
	}
	return json.Marshal(map[string]any{v.kind: inner})
}

func (v value) equal(w value) bool {
	if v.kind != w.kind || v.text != w.text || v.flag != w.flag || len(v.list) != len(w.list) || len(v.fields) != len(w.fields) {
		return false
	}
	for i := range v.list {
		if !v.list[i].equal(w.list[i]) {
			return false
		}
	}
	for name, field := range v.fields {
		if other, ok := w.fields[name]; !ok || !field.equal(other) {
			return false
		}
	}
	return true
}

// size is what the value counts for, in bytes.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
func (v value) size() int {
	switch v.kind {
	case "N":
		return (len(v.text)+1)/2 + 1
	case "BOOL", "NULL":
		return 1
	case "L":
		n := 3
		for _, w := range v.list {
			n += 1 + w.size()
		}
		return n
	case "M":
		n := 3
		for name, w := range v.fields {
			n += 1 + len(name) + w.size()
		}
		return n
	}
	return len(v.text)
}

func (it item) size() int {
	n := 0
	for name, v := range it {
		n += len(name) + v.size()
	}
	return n
}
