// Package dynamodb is the region's DynamoDB: tables on demand with keys that are
// strings, conditional writes, transactions, queries by key, and the limits and
// error types of the real one, as far as its API reference tells them.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/
//
// Left out, and refused by name: indexes, streams, scans, batches, PartiQL, filters,
// projections, paths into maps and lists, sets, arithmetic, ADD and DELETE in updates, and the legacy
// parameters that expressions have replaced. A TTL is taken and never cleans.
package dynamodb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Name is the service's SigV4 signing name.
const Name = "dynamodb"

// Limits of the real service.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const (
	maxItem        = 400 << 10
	maxPage        = 1 << 20
	maxTransaction = 4 << 20
	maxActions     = 100
	maxPartition   = 2048
	maxSort        = 1024
	maxExpression  = 4096
	maxOperators   = 300
	tokenLife      = 10 * time.Minute
)

// Options of a Service; the zero value is usable.
type Options struct {
	// Account is the twelve-digit account in ARNs; "" is 123456789012.
	Account string
	// Region is the region in ARNs; "" is us-east-1.
	Region string
	// Clock dates tables and forgets tokens; nil is time.Now.
	Clock func() time.Time
}

// Service is the DynamoDB of one account in one region: a wire.Handler. Every call is
// carried out whole before the next one.
type Service struct {
	opts       Options
	operations map[string]operation

	mu     sync.Mutex
	tables map[string]*table
	tokens map[string]token
}

type operation func(call wire.Call) (any, error)

// New makes a service without tables.
func New(opts Options) *Service {
	if opts.Account == "" {
		opts.Account = "123456789012"
	}
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	s := &Service{opts: opts, tables: map[string]*table{}, tokens: map[string]token{}}
	s.operations = map[string]operation{
		"CreateTable":        in(s, s.createTable),
		"DescribeTable":      in(s, s.describeTable),
		"ListTables":         in(s, s.listTables),
		"UpdateTimeToLive":   in(s, s.updateTTL),
		"DescribeTimeToLive": in(s, s.describeTTL),
		"GetItem":            in(s, s.get),
		"PutItem":            in(s, s.put),
		"UpdateItem":         in(s, s.update),
		"DeleteItem":         in(s, s.remove),
		"Query":              in(s, s.query),
		"TransactWriteItems": in(s, s.transact),
	}
	return s
}

// Serve carries one call out.
func (s *Service) Serve(_ context.Context, call wire.Call) (any, error) {
	op, ok := s.operations[call.Operation]
	if !ok {
		return nil, wire.UnknownOperation(call)
	}
	return op(call)
}

// in makes an operation of a method: it decodes the document strictly, as a
// member that is silently dropped here would be one that AWS obeys, and holds the lock.
func in[T any](s *Service, method func(T) (any, error)) operation {
	return func(call wire.Call) (any, error) {
		var input T
		dec := json.NewDecoder(bytes.NewReader(call.Body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&input); err != nil {
			if refused := (*wire.Error)(nil); errors.As(err, &refused) { // by a value
				return nil, refused
			}
			if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
				return nil, invalid("%s: this region on a laptop has no %s", call.Operation, strings.Trim(field, `"`))
			}
			return nil, wire.Errorf("SerializationException", "%s: %v", call.Operation, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return method(input)
	}
}

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf("ValidationException", format, args...)
}
