package dynamodb

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

type transactInput struct {
	TransactItems          []action
	ClientRequestToken     string
	ReturnConsumedCapacity string
}

// action is one part of a transaction: exactly one of these.
type action struct {
	Put            *putSpec    `json:",omitempty"`
	Update         *updateSpec `json:",omitempty"`
	Delete         *keySpec    `json:",omitempty"`
	ConditionCheck *keySpec    `json:",omitempty"`
}

// token remembers a transaction that was carried out.
type token struct {
	request [sha256.Size]byte
	when    time.Time
}

// reason is the shape CancellationReason of the API.
type reason struct {
	Code    string
	Message string `json:",omitempty"`
	Item    item   `json:",omitempty"`
}

// transact is TransactWriteItems.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
func (s *Service) transact(in transactInput) (any, error) {
	if n := len(in.TransactItems); n < 1 || n > maxActions {
		return nil, invalid("1 validation error detected: %d actions at 'transactItems' failed to satisfy constraint: "+
			"Member must have length between 1 and %d", n, maxActions)
	}
	all := make([]*write, len(in.TransactItems))
	type place struct {
		table           *table
		partition, sort string
	}
	seen := map[place]bool{}
	for i, a := range in.TransactItems {
		w, err := s.planAction(a)
		if err != nil {
			return nil, err
		}
		at := place{w.table, w.partition, w.sort}
		if seen[at] {
			return nil, invalid("Transaction request cannot include multiple operations on one item")
		}
		seen[at], all[i] = true, w
	}
	request, err := in.digest()
	if err != nil {
		return nil, err
	}
	done, err := s.known(in.ClientRequestToken, request)
	if err != nil {
		return nil, err
	}
	var units map[*table]float64
	if !done {
		if units, err = carryOutAll(all); err != nil {
			return nil, err
		}
		if in.ClientRequestToken != "" {
			s.tokens[in.ClientRequestToken] = token{request, s.opts.Clock()}
		}
	}
	var out struct {
		ConsumedCapacity []*capacity `json:",omitempty"`
	}
	for t, n := range units {
		c, err := consumed(in.ReturnConsumedCapacity, t, n)
		if err != nil {
			return nil, err
		}
		if c != nil {
			out.ConsumedCapacity = append(out.ConsumedCapacity, c)
		}
	}
	return out, nil
}

func (s *Service) planAction(a action) (*write, error) {
	var w *write
	err := error(invalid("TransactItems can only contain one of Check, Put, Update or Delete"))
	given := 0
	if a.Put != nil {
		given++
		w, err = s.planPut(*a.Put)
	}
	if a.Update != nil {
		given++
		w, err = s.planUpdate(*a.Update)
	}
	if a.Delete != nil {
		given++
		w, err = s.planDelete(*a.Delete)
	}
	if a.ConditionCheck != nil {
		given++
		w, err = s.planCheck(*a.ConditionCheck)
	}
	if given > 1 {
		return nil, invalid("TransactItems can only contain one of Check, Put, Update or Delete")
	}
	return w, err
}

// digest tells a request from another one of the same token.
func (in transactInput) digest() ([sha256.Size]byte, error) {
	text, err := json.Marshal(in.TransactItems)
	return sha256.Sum256(text), err
}

// known says whether the token's request was carried out less than ten minutes ago.
func (s *Service) known(name string, request [sha256.Size]byte) (bool, error) {
	if len(name) > 36 {
		return false, invalid("1 validation error detected: the value at 'clientRequestToken' failed to satisfy constraint: Member must have length less than or equal to 36")
	}
	now := s.opts.Clock()
	maps.DeleteFunc(s.tokens, func(_ string, t token) bool { return now.Sub(t.when) > tokenLife })
	t, ok := s.tokens[name]
	if ok && t.request != request {
		return false, wire.Errorf("IdempotentParameterMismatchException", "Request with the same client token was sent with other parameters")
	}
	return ok, nil
}

// carryOutAll makes all writes or none, and says what they cost: twice what each of them does alone.
func carryOutAll(all []*write) (map[*table]float64, error) {
	reasons, left := make([]reason, len(all)), make([]item, len(all))
	units := map[*table]float64{}
	failed, bytes := false, 0
	for i, w := range all {
		was := w.now()
		reasons[i].Code = "None"
		if !w.condition.holds(was) {
			failed = true
			reasons[i] = reason{Code: "ConditionalCheckFailed", Message: "The conditional request failed"}
			if w.returnOld {
				reasons[i].Item = was
			}
			continue
		}
		is, err := w.leaves(was)
		if err == nil {
			err = w.sized(is)
		}
		var e *wire.Error
		if errors.As(err, &e) {
			failed = true
			reasons[i] = reason{Code: "ValidationError", Message: e.Message} // of no other kind are a write's own errors
			continue
		}
		left[i] = is
		bytes += max(was.size(), is.size())
		units[w.table] += 2 * writes(was, is)
	}
	if failed {
		codes := make([]string, len(reasons))
		for i, r := range reasons {
			codes[i] = r.Code
		}
		e := wire.Errorf("TransactionCanceledException",
			"Transaction cancelled, please refer cancellation reasons for specific reasons [%s]", strings.Join(codes, ", "))
		e.Members = map[string]any{"CancellationReasons": reasons}
		return nil, e
	}
	if bytes > maxTransaction {
		return nil, invalid("Transaction request cannot exceed 4 MB: it has %d bytes", bytes)
	}
	for i, w := range all {
		w.keep(left[i])
	}
	return units, nil
}
