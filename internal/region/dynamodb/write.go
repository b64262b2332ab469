package dynamodb

import (
	"maps"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// write is one write, read and checked, of an operation or inside a transaction: what it depends on and what it leaves.
type write struct {
	table           *table
	partition, sort string
	condition       *condition
	returnOld       bool // on a failed condition
	updates         bool // it is an Update
	// leaves gives the item as the write leaves it, nil for none.
	leaves func(was item) (item, error)
}

// expressions are the members that all writes have.
type expressions struct {
	TableName                           string
	ConditionExpression                 *string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           map[string]value
	ReturnValuesOnConditionCheckFailure string
}

type updateSpec struct {
	expressions
	Key              item
	UpdateExpression *string
}

type keySpec struct {
	expressions
	Key item
}

type putSpec struct {
	expressions
	Item item
}

// plan reads what all writes have in common; key holds the item's keys and, where alone, nothing else.
func (s *Service) plan(e expressions, key item, alone bool) (*write, *placeholders, error) {
	t, err := s.table(e.TableName)
	if err != nil {
		return nil, nil, err
	}
	w := &write{table: t}
	switch e.ReturnValuesOnConditionCheckFailure {
	case "", "NONE":
	case "ALL_OLD":
		w.returnOld = true
	default:
		return nil, nil, invalid("ReturnValuesOnConditionCheckFailure is %q, not NONE or ALL_OLD", e.ReturnValuesOnConditionCheckFailure)
	}
	holders, err := newPlaceholders(e.ExpressionAttributeNames, e.ExpressionAttributeValues)
	if err != nil {
		return nil, nil, err
	}
	if w.condition, err = parseCondition("ConditionExpression", e.ConditionExpression, holders); err != nil {
		return nil, nil, err
	}
	w.partition, w.sort, err = t.key(key, alone)
	return w, holders, err
}

func (s *Service) planPut(in putSpec) (*write, error) {
	w, holders, err := s.plan(in.expressions, in.Item, false)
	if err != nil {
		return nil, err
	}
	w.leaves = func(item) (item, error) { return in.Item, nil }
	return w, holders.settle()
}

func (s *Service) planDelete(in keySpec) (*write, error) {
	w, holders, err := s.plan(in.expressions, in.Key, true)
	if err != nil {
		return nil, err
	}
	w.leaves = func(item) (item, error) { return nil, nil }
	return w, holders.settle()
}

func (s *Service) planCheck(in keySpec) (*write, error) {
	w, holders, err := s.plan(in.expressions, in.Key, true)
	if err != nil {
		return nil, err
	}
	if w.condition == nil {
		return nil, invalid("The expression can not be empty: a ConditionCheck has a ConditionExpression")
	}
	w.leaves = func(was item) (item, error) { return was, nil }
	return w, holders.settle()
}

func (s *Service) planUpdate(in updateSpec) (*write, error) {
	w, holders, err := s.plan(in.expressions, in.Key, true)
	if err != nil {
		return nil, err
	}
	all, err := parseUpdate(in.UpdateExpression, holders)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.name == w.table.partition || a.name == w.table.sort {
			return nil, invalid("One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", a.name)
		}
	}
	w.updates = true
	w.leaves = func(was item) (item, error) {
		if was == nil {
			was = maps.Clone(in.Key)
		}
		return updated(was, all)
	}
	return w, holders.settle()
}

func (w *write) now() item { return w.table.items[w.partition][w.sort] }

// conditionFailed is the error of a condition that is not met.
func (w *write) conditionFailed() *wire.Error {
	e := wire.Errorf("ConditionalCheckFailedException", "The conditional request failed")
	if was := w.now(); w.returnOld && was != nil {
		e.Members = map[string]any{"Item": was}
	}
	return e
}

// sized refuses an item that is too large.
func (w *write) sized(it item) error {
	if it.size() <= maxItem {
		return nil
	}
	if w.updates {
		return invalid("Item size to update has exceeded the maximum allowed size")
	}
	return invalid("Item size has exceeded the maximum allowed size")
}

// keep puts what a write leaves into the table.
func (w *write) keep(it item) {
	if it == nil {
		delete(w.table.items[w.partition], w.sort)
		return
	}
	if w.table.items[w.partition] == nil {
		w.table.items[w.partition] = map[string]item{}
	}
	w.table.items[w.partition][w.sort] = it
}

// carryOut makes one write, and gives the item before and after.
func (w *write) carryOut() (was, is item, err error) {
	was = w.now()
	if !w.condition.holds(was) {
		return nil, nil, w.conditionFailed()
	}
	if is, err = w.leaves(was); err != nil {
		return nil, nil, err
	}
	if err := w.sized(is); err != nil {
		return nil, nil, err
	}
	w.keep(is)
	return was, is, nil
}
