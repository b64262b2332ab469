package dynamodb

import (
	"maps"
	"slices"
	"strings"
)

type queryInput struct {
	TableName                 string
	KeyConditionExpression    *string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]value
	ConsistentRead            bool
	ScanIndexForward          *bool
	Limit                     *int
	ExclusiveStartKey         item
	ReturnConsumedCapacity    string
}

type queryOutput struct {
	Items            []item
	Count            int
	ScannedCount     int
	LastEvaluatedKey item      `json:",omitempty"`
	ConsumedCapacity *capacity `json:",omitempty"`
}

// query gives one page: at most 1 MB, and Limit items. Like AWS it ends a page
// that is full by Limit with a LastEvaluatedKey also where nothing follows.
func (s *Service) query(in queryInput) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	if in.KeyConditionExpression == nil {
		return nil, invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	if in.Limit != nil && *in.Limit < 1 {
		return nil, invalid("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1", *in.Limit)
	}
	holders, err := newPlaceholders(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	if err != nil {
		return nil, err
	}
	c, err := parseCondition("KeyConditionExpression", in.KeyConditionExpression, holders)
	if err != nil {
		return nil, err
	}
	if err := holders.settle(); err != nil {
		return nil, err
	}
	keys, err := t.keyCondition(c)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(slices.Sorted(maps.Keys(t.items[keys.partition])), func(sort string) bool { return !keys.matches(sort) })
	forward := in.ScanIndexForward == nil || *in.ScanIndexForward
	if !forward {
		slices.Reverse(found)
	}
	if len(in.ExclusiveStartKey) > 0 {
		partition, start, err := t.key(in.ExclusiveStartKey, true)
		if err != nil || partition != keys.partition || !keys.matches(start) {
			return nil, invalid("The provided starting key is outside query boundaries based on provided conditions")
		}
		found = slices.DeleteFunc(found, func(sort string) bool { return forward && sort <= start || !forward && sort >= start })
	}
	return t.page(in, keys.partition, found)
}

// page reads the items of sort keys that are in order, as far as a page goes.
func (t *table) page(in queryInput, partition string, found []string) (any, error) {
	out := queryOutput{Items: []item{}}
	bytes := 0
	for _, sort := range found {
		it := t.items[partition][sort]
		out.Items = append(out.Items, it)
		bytes += it.size()
		if in.Limit != nil && len(out.Items) == *in.Limit || bytes > maxPage {
			out.LastEvaluatedKey = t.keyOf(partition, sort)
			break
		}
	}
	out.Count, out.ScannedCount = len(out.Items), len(out.Items)
	var err error
	out.ConsumedCapacity, err = consumed(in.ReturnConsumedCapacity, t, reads(bytes, in.ConsistentRead))
	return out, err
}

// keyRange is what a condition on keys selects.
type keyRange struct {
	partition string
	sort      *string
	prefix    string
}

func (k keyRange) matches(sort string) bool {
	if k.sort != nil {
		return sort == *k.sort
	}
	return strings.HasPrefix(sort, k.prefix)
}

// keyCondition takes "partition = :p [AND (sort = :s | begins_with(sort, :s))]".
func (t *table) keyCondition(c *condition) (keyRange, error) {
	parts := []*condition{c}
	if c.op == "AND" {
		parts = c.of
	}
	var k keyRange
	var ofPartition, ofSort bool
	for _, part := range parts {
		if part.op != "=" && part.op != "begins_with" {
			return k, invalid("Invalid operator used in KeyConditionExpression: %s", part.op)
		}
		name, v := part.args[0].name, part.args[1].value
		if name == "" || part.args[1].name != "" {
			return k, invalid("Invalid condition in KeyConditionExpression: a key is compared with a value, the key on the left")
		}
		switch {
		case v.kind != "S":
			return k, invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
		case v.text == "":
			return k, invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", name)
		case name == t.partition && part.op == "=" && !ofPartition:
			k.partition, ofPartition = v.text, true
		case name == t.partition:
			return k, invalid("Query key condition not supported")
		case name == t.sort && t.sort != "" && !ofSort:
			ofSort = true
			if part.op == "=" {
				k.sort = &v.text
			} else {
				k.prefix = v.text
			}
		default:
			return k, invalid("Query condition missed key schema element: %s", t.partition)
		}
	}
	if !ofPartition {
		return k, invalid("Query condition missed key schema element: %s", t.partition)
	}
	return k, nil
}
