package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bootagent/bootagent/internal/model"
)

// ErrConflict is in the error of an Apply whose expectations were not met: somebody else was there first.
var ErrConflict = errors.New("the records are no longer as they were read")

// ErrNoTable is in the error of a store whose table is not there.
var ErrNoTable = fmt.Errorf("the table of the fleet's records is missing: %w", model.ErrConfiguration)

// Limits of a store. Those of sizes are DynamoDB's, and every store keeps them,
// so that what works in a fleet of one works in any.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const (
	MaxChanges = 100        // records in one Apply
	MaxRecord  = 400 * 1000 // bytes of a record, its key and its attributes' names included; AWS says 400 KB, and means 1024s
	MaxKey     = 512        // bytes of a key: DynamoDB's sort key takes 1024
	maxName    = 255        // bytes of an attribute's name
	maxApply   = 4000 * 1000
	// MaxConditions (expected and absent) and MaxWrites (set and removed) are attributes of one change. They
	// keep its expressions below DynamoDB's 4 KB and 300 operators.
	MaxConditions = 120
	MaxWrites     = 200
)

// CheckChanges refuses what no store takes. It names the record, and never a value.
func CheckChanges(changes ...Change) error {
	if len(changes) == 0 {
		return errors.New("there is nothing to write: an Apply has at least one change")
	}
	if len(changes) > MaxChanges {
		return fmt.Errorf("%d records are too many for one transaction: DynamoDB takes %d; write them one after the other", len(changes), MaxChanges)
	}
	total := 0
	keys := make(map[string]bool, len(changes))
	for _, c := range changes {
		if err := c.check(); err != nil {
			return fmt.Errorf("record %q: %w", c.Key, err)
		}
		if keys[c.Key] {
			return fmt.Errorf("record %q: it is changed twice in one transaction: make one change of the two", c.Key)
		}
		keys[c.Key] = true
		total += sizeOf(c.Key, c.Set)
	}
	if total > maxApply {
		return fmt.Errorf("%d bytes are too many for one transaction: DynamoDB takes 4 MB", total)
	}
	return nil
}

func (c Change) check() error {
	if err := CheckKey(c.Key); err != nil {
		return err
	}
	switch {
	case c.Delete && (len(c.Set) > 0 || len(c.Remove) > 0 || c.New || !c.Expires.IsZero()):
		return errors.New("a change that deletes the record can't write it too")
	case c.New && (len(c.Expect) > 0 || len(c.Absent) > 0 || len(c.Remove) > 0):
		return errors.New("a record that must not exist has no attributes to expect or to remove")
	case len(c.Expect)+len(c.Absent) > MaxConditions:
		return fmt.Errorf("%d conditions are too many for one write: at most %d", len(c.Expect)+len(c.Absent), MaxConditions)
	case len(c.Set)+len(c.Remove) > MaxWrites:
		return fmt.Errorf("%d attributes are too many for one write: at most %d", len(c.Set)+len(c.Remove), MaxWrites)
	}
	if err := distinct("expected", slices.Concat(slices.Sorted(maps.Keys(c.Expect)), c.Absent)); err != nil {
		return err
	}
	if err := distinct("written", slices.Concat(slices.Sorted(maps.Keys(c.Set)), c.Remove)); err != nil {
		return err
	}
	for _, values := range []map[string]string{c.Expect, c.Set} {
		for name, value := range values {
			if !utf8.ValidString(value) {
				return fmt.Errorf("the value of attribute %q is not UTF-8", name)
			}
		}
	}
	return CheckSize(Record{c.Key, c.Set})
}

// distinct refuses names that stand there twice, or that no attribute may have.
func distinct(how string, names []string) error {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		switch {
		case name == "" || len(name) > maxName || !utf8.ValidString(name):
			return fmt.Errorf("%q is no name of an attribute: it has 1 to %d bytes of UTF-8", name, maxName)
		case strings.HasPrefix(name, "_"):
			return fmt.Errorf("attribute %q: names that begin with _ are the store's own", name)
		case seen[name]:
			return fmt.Errorf("attribute %q is %s twice", name, how)
		}
		seen[name] = true
	}
	return nil
}

// CheckKey refuses what can't be a record's key.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey || !utf8.ValidString(key) {
		return fmt.Errorf("%q is no key of a record: it has 1 to %d bytes of UTF-8", key, MaxKey)
	}
	return nil
}

// CheckSize refuses a record that has grown too large.
func CheckSize(r Record) error {
	if n := sizeOf(r.Key, r.Attributes); n > MaxRecord {
		return fmt.Errorf("the record has %d bytes, and DynamoDB takes 400 KB: it was left as it is; keep less in it", n)
	}
	return nil
}

func sizeOf(key string, attributes map[string]string) int {
	n := len(key)
	for name, value := range attributes {
		n += len(name) + len(value)
	}
	return n
}

// Met says whether the record is as the change expects it.
func (c Change) Met(r Record) bool {
	if c.New && r.Attributes != nil {
		return false
	}
	return c.expected(r, func(string) bool { return false })
}

// expected says whether the expectations are met, those of attributes that may be skipped aside.
func (c Change) expected(r Record, skip func(name string) bool) bool {
	for name, want := range c.Expect {
		if value, ok := r.Attributes[name]; (!ok || value != want) && !skip(name) {
			return false
		}
	}
	return !slices.ContainsFunc(c.Absent, func(name string) bool {
		_, ok := r.Attributes[name]
		return ok && !skip(name)
	})
}

// Made says whether the record is as the change leaves it: what it would set is
// set, what it would remove is gone, and what it expects and does not touch is as
// expected. That is how a request that was sent twice is told from a conflict;
// and so two writers who want the very same both have it. A change that must have one
// winner sets something of its writer's own, a nonce or a name. One that writes nothing is never made.
func (c Change) Made(r Record) bool {
	if c.Delete {
		return r.Attributes == nil
	}
	if !c.Writes() || r.Attributes == nil {
		return false
	}
	for name, want := range c.Set {
		if value, ok := r.Attributes[name]; !ok || value != want {
			return false
		}
	}
	for _, name := range c.Remove {
		if _, ok := r.Attributes[name]; ok {
			return false
		}
	}
	return c.expected(r, func(name string) bool {
		_, set := c.Set[name]
		return set || slices.Contains(c.Remove, name)
	})
}

// Writes says whether the change is more than a condition.
func (c Change) Writes() bool { return c.Delete || c.New || len(c.Set) > 0 || len(c.Remove) > 0 }

// Make gives the record as the change leaves it; the one that is given stays as it is.
func (c Change) Make(r Record) Record {
	if c.Delete {
		return Record{Key: c.Key}
	}
	if !c.Writes() {
		return r
	}
	out := Record{Key: c.Key, Attributes: maps.Clone(r.Attributes)}
	if out.Attributes == nil {
		out.Attributes = map[string]string{}
	}
	maps.Copy(out.Attributes, c.Set)
	for _, name := range c.Remove {
		delete(out.Attributes, name)
	}
	return out
}

// MakeAll decides an Apply on the records as they are, by key: all changes or
// none. It gives the records as they are left, nothing where all were made already, and an
// error that is ErrConflict, or names what is too large.
func MakeAll(now map[string]Record, changes []Change) ([]Record, error) {
	made, left := 0, make([]Record, len(changes))
	var unmet []string
	for i, c := range changes {
		r := now[c.Key]
		if !c.Met(r) {
			unmet = append(unmet, c.Key)
		}
		if c.Made(r) || !c.Writes() && c.Met(r) {
			made++
		}
		left[i] = c.Make(r)
	}
	switch {
	case len(unmet) > 0 && made == len(changes):
		return nil, nil
	case len(unmet) > 0:
		return nil, fmt.Errorf("%s: %w", strings.Join(unmet, ", "), ErrConflict)
	}
	for _, r := range left {
		if err := CheckSize(r); err != nil {
			return nil, fmt.Errorf("record %q: %w", r.Key, err)
		}
	}
	return left, nil
}
