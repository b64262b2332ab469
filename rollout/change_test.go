package rollout_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

func TestAMissingTableIsAMatterOfConfiguration(t *testing.T) {
	t.Parallel()
	if !errors.Is(rollout.ErrNoTable, model.ErrConfiguration) || errors.Is(rollout.ErrConflict, model.ErrConfiguration) {
		t.Error("a missing table is for a person to mend, a conflict is not")
	}
}

func changes() *rapid.Generator[rollout.Change] {
	name, value := rapid.SampledFrom([]string{"a", "b", "c"}), rapid.SampledFrom([]string{"1", "2"})
	return rapid.Custom(func(t *rapid.T) rollout.Change {
		c := rollout.Change{Key: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "key"), Expect: rapid.MapOfN(name, value, 0, 2).Draw(t, "expect"),
			Absent: rapid.SliceOfNDistinct(name, 0, 2, rapid.ID).Draw(t, "absent"), Set: rapid.MapOfN(name, value, 0, 2).Draw(t, "set"),
			Remove: rapid.SliceOfNDistinct(name, 0, 2, rapid.ID).Draw(t, "remove"), New: rapid.Bool().Draw(t, "new"), Delete: rapid.Bool().Draw(t, "delete")}
		return c
	}).Filter(func(c rollout.Change) bool { return rollout.CheckChanges(c) == nil })
}

func records() *rapid.Generator[rollout.Record] {
	name, value := rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.SampledFrom([]string{"1", "2"})
	return rapid.Custom(func(t *rapid.T) rollout.Record {
		r := rollout.Record{Key: "x"}
		if rapid.Bool().Draw(t, "there") {
			r.Attributes = rapid.MapOf(name, value).Draw(t, "attributes")
		}
		return r
	})
}

func TestWhatAChangeLeavesIsMade(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, r := changes().Draw(t, "change"), records().Draw(t, "record")
		if !c.Met(r) {
			return
		}
		left := c.Make(r)
		if c.Writes() != c.Made(left) {
			t.Fatalf("%+v leaves %v of %v, and is it made? %t", c, left, r, c.Made(left))
		}
		if diff := cmp.Diff(left, c.Make(left)); diff != "" {
			t.Fatalf("made again it is another (-once +twice):\n%s", diff)
		}
		if d, was := left.Attributes["d"], r.Attributes["d"]; !c.Delete && d != was {
			t.Fatalf("what it does not name was %q and is %q", was, d)
		}
	})
}

// The same transaction, carried out again on what it left, changes nothing and is no conflict: however often it is sent.
func TestATransactionThatIsSentTwiceIsMadeOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfNDistinct(changes(), 1, 2, func(c rollout.Change) string { return c.Key }).Draw(t, "changes")
		now := map[string]rollout.Record{"x": records().Draw(t, "x"), "y": {Key: "y"}}
		left, err := rollout.MakeAll(now, all)
		if err != nil {
			if left != nil || !errors.Is(err, rollout.ErrConflict) {
				t.Fatalf("%v, %v", left, err)
			}
			return
		}
		if left == nil {
			return // it was made before
		}
		for _, r := range left {
			now[r.Key] = r
		}
		again, err := rollout.MakeAll(now, all)
		if err != nil {
			t.Fatalf("sent again: %v", err)
		}
		for _, r := range again {
			if diff := cmp.Diff(now[r.Key], r); diff != "" {
				t.Fatalf("sent again it changes %s (-once +twice):\n%s", r.Key, diff)
			}
		}
	})
}
