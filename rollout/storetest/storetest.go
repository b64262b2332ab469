// Package storetest is the contract of rollout.Store as a suite of tests,
// which every adapter passes.
package storetest

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Adapter is a store under test.
type Adapter struct {
	// Open makes a place without records, and gives what opens it: each call another handle, as another agent has.
	Open func(t testing.TB) func() rollout.Store
	// WithoutTable is a store whose table is not there; nil where a store has none.
	WithoutTable func(t testing.TB) rollout.Store
	// Writers is how many write one record at once; 0 is 200. It is for servers that would take long.
	Writers int
	// Narrow says why a change can't have as many attributes here as one may have; that test is left out, and says so.
	Narrow string
	// NoTransactions says why several records can't be written together here; such tests are left out, and say so.
	NoTransactions string
}

// patience bounds each test, on however slow a machine.
const patience = 2 * time.Minute

// Contract runs the suite.
func Contract(t *testing.T, a Adapter) {
	single := map[string]func(*bench){
		"what nobody wrote is no record":                                    nothing,
		"a change makes the record, and leaves what it does not name alone": unknownSurvive,
		"a record without attributes is one":                                empty,
		"values and keys come back as they were written":                    oddCharacters,
		"a large value comes back":                                          large,
		"a change whose expectation is not met writes nothing":              unmet,
		"a record that must be new is made once":                            newOnce,
		"a deletion is conditional too":                                     deletion,
		"a change that was made already is no conflict":                     doubled,
		"a stale writer of the same value has a conflict":                   stale,
		"a record that expires is there until then, and may be kept":        expires,
		"a list is in order of key, from either end":                        order,
		"a list has what begins with the prefix and nothing else":           prefixes,
		"a list is longer than a page":                                      pages,
		"two fleets don't see each other":                                   fleets,
		"writers of different attributes lose nothing":                      manyWriters,
		"of those who want to be first one is":                              first,
		"counting by expectation loses no count":                            counting,
		"a record that grows too large stays as it is":                      tooLarge,
		"what no store takes is refused in words":                           refused,
		"a cancelled context ends it":                                       cancelled,
	}
	together := map[string]func(*bench){
		"a condition alone writes nothing":                         conditionAlone,
		"changes are made together":                                together,
		"of changes with one conflict none is made":                allOrNone,
		"changes that were made already are no conflict":           doubledTogether,
		"a transaction of which a part was made is a conflict":     halfMade,
		"of two who promote one does":                              promotion,
		"a hundred records are written at once":                    hundred,
		"transactions and single writes don't lose each other's":   mixed,
		"of changes of which one is too large none is made at all": tooLargeTogether,
	}
	writers := a.Writers
	if writers == 0 {
		writers = 200
	}
	run := func(name string, test func(*bench), without string) {
		t.Run(name, func(t *testing.T) {
			if without != "" {
				t.Skipf("LEFT OUT: %s", without)
			}
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			open := a.Open(t)
			test(&bench{TB: t, Store: open(), open: open, other: func() rollout.Store { return a.Open(t)() }, ctx: ctx, writers: writers})
		})
	}
	for name, test := range single {
		run(name, test, "")
	}
	run("a change may have hundreds of attributes", wide, a.Narrow)
	for name, test := range together {
		run(name, test, a.NoTransactions)
	}
	if a.WithoutTable != nil {
		t.Run("a missing table is an error of configuration", func(t *testing.T) {
			t.Parallel()
			withoutTable(t, a.WithoutTable(t), a.NoTransactions)
		})
	}
}

// bench is one test's store, and what the tests do with it.
type bench struct {
	testing.TB
	rollout.Store
	ctx   context.Context
	open  func() rollout.Store // the same records
	other func() rollout.Store // other ones

	writers int // how many write one record at once
}

type attributes = map[string]string

// apply makes changes that have to succeed.
func (b *bench) apply(changes ...rollout.Change) {
	b.Helper()
	if err := b.Apply(b.ctx, changes...); err != nil {
		b.Fatalf("apply %s: %v", keys(changes), err)
	}
}

// put writes a record's attributes, whatever it was.
func (b *bench) put(key string, set attributes) {
	b.Helper()
	b.apply(rollout.Change{Key: key, Set: set})
}

// conflict makes changes that have to meet one.
func (b *bench) conflict(changes ...rollout.Change) {
	b.Helper()
	if err := b.Apply(b.ctx, changes...); !errors.Is(err, rollout.ErrConflict) {
		b.Errorf("apply %s: %v, want a conflict", keys(changes), err)
	}
}

// refuse makes changes that can't be written, and gives the sentence.
func (b *bench) refuse(changes ...rollout.Change) string {
	b.Helper()
	err := b.Apply(b.ctx, changes...)
	if err == nil || errors.Is(err, rollout.ErrConflict) {
		b.Errorf("apply %s: %v, want a refusal", keys(changes), err)
		return ""
	}
	return err.Error()
}

// is demands that a record is so; nil: that there is none.
func (b *bench) is(key string, want attributes) {
	b.Helper()
	r, err := b.Get(b.ctx, key)
	if err != nil {
		b.Fatalf("get %q: %v", key, err)
	}
	if r.Key != key {
		b.Errorf("asked for %q, got %q", key, r.Key)
	}
	if diff := cmp.Diff(want, r.Attributes, short()); diff != "" {
		b.Errorf("record %q (-want +got):\n%s", key, diff)
	}
	if (want == nil) != (r.Attributes == nil) {
		b.Errorf("record %q is %v, want %v: nil is for none", key, r.Attributes, want)
	}
}

// short compares long values without printing them.
func short() cmp.Option {
	return cmp.FilterValues(func(x, y string) bool { return len(x) > 1000 || len(y) > 1000 },
		cmp.Transformer("shortened", func(s string) []any { return []any{len(s), s[:min(20, len(s))], strings.Count(s, "x")} }))
}

// list demands that these keys are listed, in this order.
func (b *bench) list(prefix string, limit int, newestFirst bool, want ...string) {
	b.Helper()
	found, err := b.List(b.ctx, prefix, limit, newestFirst)
	if err != nil {
		b.Fatalf("list %q: %v", prefix, err)
	}
	got := make([]string, len(found))
	for i, r := range found {
		got[i] = r.Key
		if r.Attributes == nil {
			b.Errorf("list %q: %q has nil attributes, and there it is", prefix, r.Key)
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		b.Errorf("list %q, limit %d, newest first %t (-want +got):\n%s", prefix, limit, newestFirst, diff)
	}
}

func keys(changes []rollout.Change) []string {
	all := make([]string, 0, len(changes))
	for _, c := range changes {
		all = append(all, c.Key)
	}
	return all
}

// with is the attributes and these.
func with(some, more attributes) attributes {
	all := maps.Clone(some)
	maps.Copy(all, more)
	return all
}

func withoutTable(t *testing.T, s rollout.Store, noTransactions string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, get := s.Get(ctx, "stable")
	_, list := s.List(ctx, "release/", 0, false)
	put := s.Apply(ctx, rollout.Change{Key: "stable", Set: attributes{"number": "1"}})
	remove := s.Apply(ctx, rollout.Change{Key: "stable", Delete: true})
	all := map[string]error{"get": get, "list": list, "put": put, "delete": remove}
	if noTransactions == "" {
		all["transaction"] = s.Apply(ctx, rollout.Change{Key: "stable", Set: attributes{"number": "1"}}, rollout.Change{Key: "lock", Delete: true})
	}
	for what, err := range all {
		if !errors.Is(err, rollout.ErrNoTable) || !errors.Is(err, model.ErrConfiguration) || errors.Is(err, rollout.ErrConflict) {
			t.Errorf("%s: %v, want ErrNoTable, an error of configuration", what, err)
		}
	}
}
