package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const partPrefix = "part/"

// DecodeRollout reads the rollout record; nil where there is none. A record of a higher schema is given with what every
// schema has: Schema, and Release and State where they can be read.
func DecodeRollout(record Record) (*Rollout, error) {
	if record.Attributes == nil {
		return nil, nil
	}
	r := &Rollout{Parts: map[string]Part{}, text: record.Attributes}
	if err := read(record, "schema", &r.Schema); err != nil {
		return nil, err
	}
	for _, field := range []struct {
		name string
		into any
	}{
		{"release", &r.Release}, {"state", &r.State}, {"origin", &r.Origin}, {"policy", &r.Policy}, {"lease", &r.Lead}, {"failures", &r.Failures},
	} {
		if err := read(record, field.name, field.into); err != nil {
			if r.Schema > Schema {
				return r, nil
			}
			return nil, err
		}
	}
	if err := optional(record, "task", &r.Task); err != nil {
		return nil, err
	}
	if err := optional(record, "failure", &r.Failure); err != nil {
		return nil, err
	}
	return r, r.readParts(record)
}

func (r *Rollout) readParts(record Record) error {
	for _, name := range slices.Sorted(maps.Keys(record.Attributes)) {
		instance, ok := strings.CutPrefix(name, partPrefix)
		if !ok {
			continue
		}
		var part Part
		if err := read(record, name, &part); err != nil {
			return err
		}
		if part.ID == r.Release.ID {
			r.Parts[instance] = part
		} else {
			r.Stale = append(r.Stale, instance)
		}
	}
	return nil
}

// Stable is the release that the whole fleet took and kept through its bake.
type Stable struct {
	Schema   int
	Release  Release
	Previous Release

	text map[string]string
}

// DecodeStable reads the stable record; the zero value where there is none.
func DecodeStable(record Record) (Stable, error) {
	s := Stable{text: record.Attributes}
	if record.Attributes == nil {
		return s, nil
	}
	for _, field := range []struct {
		name string
		into any
	}{
		{"schema", &s.Schema}, {"epoch", &s.Release.Epoch}, {"number", &s.Release.Number}, {"revision", &s.Release.Revision},
	} {
		if err := read(record, field.name, field.into); err != nil {
			return Stable{}, err
		}
	}
	if s.Schema > Schema { // {epoch, number, revision} never change their shape
		return s, nil
	}
	if err := optional(record, "ref", &s.Release.Ref); err != nil {
		return Stable{}, err
	}
	return s, optional(record, "previous", &s.Previous)
}

// promote is the change that makes a release stable, if stable still is what it was.
func (s Stable) promote(to Release) Change {
	c := Change{Key: StableKey, Set: map[string]string{
		"schema": text(Schema), "epoch": text(to.Epoch), "number": text(to.Number), "revision": text(to.Revision), "ref": text(to.Ref),
		"previous": text(s.Release),
	}}
	if s.text == nil {
		c.New = true
	} else {
		c.Expect = expect(s.text, "schema", "epoch", "number")
	}
	return c
}

// Outcome is what became of a release: the record release/<epoch>/<number>.
type Outcome struct {
	// What is "open" while its rollout lives, else how that ended, "superseded", or "refused" where it never began.
	What  string
	Cause string
}

// What may become of a release beside what its rollout ended in.
const (
	OutcomeOpen       = "open"
	OutcomeSuperseded = "superseded"
	OutcomeRefused    = "refused"
)

// DecodeOutcome reads it; the zero value where there is none.
func DecodeOutcome(record Record) (o Outcome, err error) {
	if err = optional(record, "outcome", &o.What); err == nil {
		err = optional(record, "cause", &o.Cause)
	}
	return o, err
}

// Lock is an operator's deploy in flight.
type Lock struct {
	Nonce   string
	By      string
	Counter int
}

// DecodeLock reads it; the zero value where there is none.
func DecodeLock(record Record) (l Lock, err error) {
	if err = optional(record, "nonce", &l.Nonce); err == nil {
		if err = optional(record, "by", &l.By); err == nil {
			err = optional(record, "counter", &l.Counter)
		}
	}
	return l, err
}

// read takes an attribute that every such record has.
func read(record Record, name string, into any) error {
	value, ok := record.Attributes[name]
	if !ok {
		return fmt.Errorf("the record %q has no %q", record.Key, name)
	}
	if err := json.Unmarshal([]byte(value), into); err != nil {
		return fmt.Errorf("the %q of the record %q can't be read: %w", name, record.Key, told(err))
	}
	return nil
}

func optional(record Record, name string, into any) error {
	if _, ok := record.Attributes[name]; !ok {
		return nil
	}
	return read(record, name, into)
}

// text is a value as an attribute. Everything that is written here can be.
func text(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		return "null"
	}
	return string(b)
}

// expect gives the attributes as they were read. What was not there is left out; where absence matters a change says Absent.
func expect(attributes map[string]string, names ...string) map[string]string {
	out := make(map[string]string, len(names))
	for _, name := range names {
		if value, ok := attributes[name]; ok {
			out[name] = value
		}
	}
	return out
}

// Seeded is how an empty store got its stable release: from the mirror, where a fleet of one was replaced and its store was lost.
type Seeded struct {
	Release ID `json:"release"`
	// Newest was the parameter's newest version then: what is newer than Release, up to this one, may have been tried before.
	Newest int64 `json:"newest"`
}

// Seed is the change that gives it.
func Seed(r Release, newest int64) Change {
	c := Stable{}.promote(r)
	c.Set["seeded"] = text(Seeded{r.ID, newest})
	return c
}

// DecodeSeeded reads it of a stable record that still is the one that Seed made; the zero value where it is not.
func DecodeSeeded(stable Record) Seeded {
	var seeded Seeded
	s, err := DecodeStable(stable)
	if err != nil || optional(stable, "seeded", &seeded) != nil || s.Release.ID != seeded.Release {
		return Seeded{}
	}
	return seeded
}
