package dynamodb

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/bootagent/bootagent/rollout"
)

// expression collects the placeholders of one request: names may hold any
// character and be one of DynamoDB's hundreds of reserved words.
type expression struct {
	names  map[string]string
	values map[string]types.AttributeValue
	placed map[string]string // the placeholder of a name
}

func newExpression() *expression {
	return &expression{placed: map[string]string{}}
}

func (e *expression) name(name string) string {
	if p, ok := e.placed[name]; ok {
		return p
	}
	if e.names == nil { // DynamoDB refuses an empty map
		e.names = map[string]string{}
	}
	p := "#" + strconv.Itoa(len(e.names))
	e.names[p], e.placed[name] = name, p
	return p
}

func (e *expression) value(s string) string {
	return e.attribute(&types.AttributeValueMemberS{Value: s})
}

func (e *expression) attribute(v types.AttributeValue) string {
	if e.values == nil { // as with names
		e.values = map[string]types.AttributeValue{}
	}
	p := ":" + strconv.Itoa(len(e.values))
	e.values[p] = v
	return p
}

// condition is what the change expects; nil where that is nothing.
func (e *expression) condition(c rollout.Change) *string {
	var all []string
	if c.New {
		all = append(all, "attribute_not_exists("+e.name(SortKey)+")")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Expect)) {
		all = append(all, e.name(name)+" = "+e.value(c.Expect[name]))
	}
	for _, name := range c.Absent {
		all = append(all, "attribute_not_exists("+e.name(name)+")")
	}
	if len(all) == 0 {
		return nil
	}
	s := strings.Join(all, " AND ")
	return &s
}

// update is what the change writes: never nothing, as each write says when the record expires.
func (e *expression) update(c rollout.Change) *string {
	var set, remove []string
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		set = append(set, e.name(name)+" = "+e.value(c.Set[name]))
	}
	for _, name := range c.Remove {
		remove = append(remove, e.name(name))
	}
	if c.Expires.IsZero() {
		remove = append(remove, e.name(Expiry))
	} else {
		set = append(set, e.name(Expiry)+" = "+e.attribute(seconds(c.Expires)))
	}
	var clauses []string
	if len(set) > 0 {
		clauses = append(clauses, "SET "+strings.Join(set, ", "))
	}
	if len(remove) > 0 {
		clauses = append(clauses, "REMOVE "+strings.Join(remove, ", "))
	}
	s := strings.Join(clauses, " ")
	return &s
}
