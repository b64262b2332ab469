package dynamodb

// capacity is the shape ConsumedCapacity of the API.
type capacity struct {
	TableName     string
	CapacityUnits float64
}

// consumed says what an operation costs, if that was asked for.
func consumed(asked string, t *table, units float64) (*capacity, error) {
	switch asked {
	case "", "NONE":
		return nil, nil
	case "TOTAL", "INDEXES": // there are no indexes
		return &capacity{t.name, units}, nil
	}
	return nil, invalid("ReturnConsumedCapacity is %q, not NONE, TOTAL or INDEXES", asked)
}

// reads are the units of reading so many bytes: one for 4 KB, half where the answer may be stale.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
func reads(bytes int, consistent bool) float64 {
	units := float64(max((bytes+4095)/4096, 1))
	if !consistent {
		units /= 2
	}
	return units
}

// writes are the units of a write: one for each KB of the larger of the items before and after.
func writes(was, is item) float64 { return float64(max((max(was.size(), is.size())+1023)/1024, 1)) }

type getInput struct {
	TableName              string
	Key                    item
	ConsistentRead         bool
	ReturnConsumedCapacity string
}

func (s *Service) get(in getInput) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	partition, sort, err := t.key(in.Key, true)
	if err != nil {
		return nil, err
	}
	it := t.items[partition][sort]
	c, err := consumed(in.ReturnConsumedCapacity, t, reads(it.size(), in.ConsistentRead))
	return struct {
		Item             item      `json:",omitempty"`
		ConsumedCapacity *capacity `json:",omitempty"`
	}{it, c}, err
}

// returns are the members of a write of its own that say what to answer.
type returns struct {
	ReturnValues           string
	ReturnConsumedCapacity string
}

type putInput struct {
	putSpec
	returns
}

type updateInput struct {
	updateSpec
	returns
}

type deleteInput struct {
	keySpec
	returns
}

func (s *Service) put(in putInput) (any, error) {
	w, err := s.planPut(in.putSpec)
	return in.answer(w, err, false)
}

func (s *Service) update(in updateInput) (any, error) {
	w, err := s.planUpdate(in.updateSpec)
	return in.answer(w, err, true)
}

func (s *Service) remove(in deleteInput) (any, error) {
	w, err := s.planDelete(in.keySpec)
	return in.answer(w, err, false)
}

// answer carries a write out that was planned without an error. Updates may give the item that they leave.
func (r returns) answer(w *write, err error, update bool) (any, error) {
	if err != nil {
		return nil, err
	}
	switch r.ReturnValues {
	case "", "NONE", "ALL_OLD":
	case "ALL_NEW":
		if !update {
			return nil, invalid("Return values set to invalid value: %s is for UpdateItem", r.ReturnValues)
		}
	default:
		return nil, invalid("ReturnValues is %q: this region on a laptop has NONE, ALL_OLD and, for updates, ALL_NEW", r.ReturnValues)
	}
	if _, err := consumed(r.ReturnConsumedCapacity, w.table, 0); err != nil {
		return nil, err
	}
	was, is, err := w.carryOut()
	if err != nil {
		return nil, err
	}
	var out struct {
		Attributes       item      `json:",omitempty"`
		ConsumedCapacity *capacity `json:",omitempty"`
	}
	switch r.ReturnValues {
	case "ALL_OLD":
		out.Attributes = was
	case "ALL_NEW":
		out.Attributes = is
	}
	out.ConsumedCapacity, err = consumed(r.ReturnConsumedCapacity, w.table, writes(was, is))
	return out, err
}
