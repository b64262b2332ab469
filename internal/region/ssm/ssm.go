// Package ssm is the region's Parameter Store: versions, labels, selectors,
// history, paths, tags, the limits and the error types of the real one, as far
// as its API reference tells them.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/
//
// Left out, and refused by name: parameter policies, data types other than
// text, parameters shared by other accounts, and every operation of Systems
// Manager that is not about parameters. SecureString values are kept in the
// clear: there is no KMS here, and nothing leaves the process's memory.
package ssm

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Name is the service's SigV4 signing name.
const Name = "ssm"

// Limits of the real service.
// https://docs.aws.amazon.com/general/latest/gr/ssm.html#limits_ssm
const (
	maxVersions      = 100
	maxLabels        = 10
	maxTags          = 50
	maxStandardBytes = 4096
	maxAdvancedBytes = 8192
)

// Options of a Store; the zero value is usable.
type Options struct {
	// Account is the twelve-digit account in ARNs; "" is 123456789012.
	Account string
	// Region is the region in ARNs; "" is us-east-1.
	Region string
	// Clock dates the versions; nil is time.Now.
	Clock func() time.Time
}

// Store is the Parameter Store of one account in one region: a wire.Handler.
type Store struct {
	opts       Options
	operations map[string]operation

	mu         sync.Mutex
	parameters map[string]*parameter // by canonical name, see canonical
}

type operation func(call wire.Call) (any, error)

// New makes an empty store.
func New(opts Options) *Store {
	if opts.Account == "" {
		opts.Account = "123456789012"
	}
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	s := &Store{opts: opts, parameters: map[string]*parameter{}}
	s.operations = map[string]operation{
		"PutParameter":            in(s, s.put),
		"GetParameter":            in(s, s.get),
		"GetParameters":           in(s, s.getMany),
		"GetParametersByPath":     in(s, s.getByPath),
		"GetParameterHistory":     in(s, s.history),
		"LabelParameterVersion":   in(s, s.label),
		"UnlabelParameterVersion": in(s, s.unlabel),
		"DeleteParameter":         in(s, s.remove),
		"DeleteParameters":        in(s, s.removeMany),
		"DescribeParameters":      in(s, s.describe),
		"AddTagsToResource":       in(s, s.addTags),
		"RemoveTagsFromResource":  in(s, s.removeTags),
		"ListTagsForResource":     in(s, s.listTags),
	}
	return s
}

// Serve carries one call out.
func (s *Store) Serve(_ context.Context, call wire.Call) (any, error) {
	op, ok := s.operations[call.Operation]
	if !ok {
		return nil, wire.UnknownOperation(call)
	}
	return op(call)
}

// request is who calls, for what is recorded with a version.
type request struct {
	user string // ARN
	now  time.Time
}

// in makes an operation of a method: it decodes the document strictly, as a
// member that is silently dropped here would be one that AWS obeys, and holds
// the store's lock.
func in[T any](s *Store, method func(request, T) (any, error)) operation {
	return func(call wire.Call) (any, error) {
		var input T
		dec := json.NewDecoder(bytes.NewReader(call.Body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&input); err != nil {
			return nil, wire.Errorf("SerializationException", "%s: %v", call.Operation, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return method(request{user: call.Principal.ARN, now: s.opts.Clock()}, input)
	}
}

// epoch is a moment as awsJson writes it: seconds since 1970, with fractions.
type epoch time.Time

func (e epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(e).UnixMilli())/1000, 'f', 3, 64), nil
}

// invalid is a ValidationException in the words of AWS's front.
func invalid(value any, member, constraint string) *wire.Error {
	return wire.Errorf("ValidationException",
		"1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, member, constraint)
}

// count checks the number of items of a list.
func count(items []string, member string, most int) error {
	switch {
	case len(items) == 0:
		return invalid("[]", member, "Member must have length greater than or equal to 1")
	case len(items) > most:
		return invalid(items, member, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
	return nil
}
