package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/bootagent/bootagent/rollout"
)

func conditionAlone(b *bench) {
	b.put("lock", attributes{"nonce": "1"})
	b.apply(rollout.Change{Key: "lock", Expect: attributes{"nonce": "1"}})
	b.conflict(rollout.Change{Key: "lock", Expect: attributes{"nonce": "2"}})
	b.apply(rollout.Change{Key: "freeze", Absent: []string{"by"}})
	b.apply(rollout.Change{Key: "freeze"})
	b.is("freeze", nil)
	b.is("lock", attributes{"nonce": "1"})
}

func together(b *bench) {
	b.put("lock", attributes{"nonce": "1"})
	b.put("stable", attributes{"number": "1", "later": "x"})
	b.apply(
		rollout.Change{Key: "lock", Expect: attributes{"nonce": "1"}, Delete: true},
		rollout.Change{Key: "stable", Expect: attributes{"number": "1"}, Set: attributes{"number": "2"}},
		rollout.Change{Key: "rollout", New: true, Set: attributes{"number": "2"}},
		rollout.Change{Key: "freeze", Absent: []string{"by"}},
	)
	b.is("lock", nil)
	b.is("stable", attributes{"number": "2", "later": "x"})
	b.is("rollout", attributes{"number": "2"})
	b.is("freeze", nil)
}

func allOrNone(b *bench) {
	b.put("lock", attributes{"nonce": "1"})
	b.put("stable", attributes{"number": "1"})
	good := []rollout.Change{
		{Key: "stable", Expect: attributes{"number": "1"}, Set: attributes{"number": "2"}},
		{Key: "rollout", New: true, Set: attributes{"number": "2"}},
	}
	for _, bad := range []rollout.Change{
		{Key: "lock", Expect: attributes{"nonce": "2"}},
		{Key: "lock", Expect: attributes{"nonce": "2"}, Delete: true},
		{Key: "lock", Absent: []string{"nonce"}, Set: attributes{"nonce": "3"}},
		{Key: "lock", New: true, Set: attributes{"nonce": "3"}},
		{Key: "freeze", Expect: attributes{"by": "1"}, Set: attributes{"by": "2"}},
	} {
		b.conflict(append([]rollout.Change{bad}, good...)...)
		b.conflict(append(good, bad)...)
		b.is("lock", attributes{"nonce": "1"})
		b.is("stable", attributes{"number": "1"})
		b.is("rollout", nil)
		b.is("freeze", nil)
	}
}

func doubledTogether(b *bench) {
	b.put("lock", attributes{"nonce": "1"})
	b.put("stable", attributes{"number": "1"})
	open := []rollout.Change{
		{Key: "lock", Expect: attributes{"nonce": "1"}, Delete: true},
		{Key: "stable", Expect: attributes{"number": "1"}},
		{Key: "rollout", New: true, Set: attributes{"number": "2"}},
		{Key: "log/1", Set: attributes{"text": `"opened"`}},
	}
	b.apply(open...)
	b.apply(open...)
	if err := b.open().Apply(b.ctx, open...); err != nil {
		b.Errorf("by another handle: %v", err)
	}
	b.is("rollout", attributes{"number": "2"})
	b.put("stable", attributes{"number": "3"})
	b.conflict(open...)
}

// halfMade tells an Apply that was made from one of which somebody else made a part.
func halfMade(b *bench) {
	b.put("rollout", attributes{"state": `"baking"`})
	b.put("stable", attributes{"number": "2"})
	b.conflict(
		rollout.Change{Key: "stable", Expect: attributes{"number": "1"}, Set: attributes{"number": "2"}},
		rollout.Change{Key: "rollout", Expect: attributes{"state": `"baking"`}, Set: attributes{"state": `"succeeded"`}},
	)
	b.conflict(
		rollout.Change{Key: "stable", Expect: attributes{"number": "1"}, Set: attributes{"number": "2"}},
		rollout.Change{Key: "log/1", Set: attributes{"text": "1"}},
	)
	b.is("rollout", attributes{"state": `"baking"`})
	b.is("log/1", nil)
}

func promotion(b *bench) {
	b.put("stable", attributes{"number": "1"})
	b.put("rollout", attributes{"state": `"baking"`})
	won := b.race(8, func(s rollout.Store, n int) error {
		return s.Apply(b.ctx,
			rollout.Change{Key: "stable", Expect: attributes{"number": "1"}, Set: attributes{"number": "2", "by": strconv.Itoa(n)}},
			rollout.Change{Key: "rollout", Expect: attributes{"state": `"baking"`}, Set: attributes{"state": `"succeeded"`, "by": strconv.Itoa(n)}})
	})
	if len(won) != 1 {
		b.Fatalf("%v promoted, want one", won)
	}
	by := strconv.Itoa(won[0])
	b.is("stable", attributes{"number": "2", "by": by})
	b.is("rollout", attributes{"state": `"succeeded"`, "by": by})
}

func hundred(b *bench) {
	var all []rollout.Change
	var want []string
	for n := range rollout.MaxChanges {
		key := fmt.Sprintf("log/%03d", n)
		all, want = append(all, rollout.Change{Key: key, New: true, Set: attributes{"n": strconv.Itoa(n)}}), append(want, key)
	}
	b.apply(all...)
	b.list("log/", 0, false, want...)
	b.apply(all...)
	all[50].Set = attributes{"n": "of another"}
	b.conflict(all...)
}

func mixed(b *bench) {
	b.put("stable", attributes{"x": "1"})
	won := b.race(20, func(s rollout.Store, n int) error {
		name := "part/" + strconv.Itoa(n)
		change := rollout.Change{Key: "rollout", Absent: []string{name}, Set: attributes{name: "1"}}
		if n%4 != 0 {
			return s.Apply(b.ctx, change)
		}
		return s.Apply(b.ctx, change, rollout.Change{Key: "log/" + strconv.Itoa(n), New: true, Set: attributes{"x": "1"}})
	})
	r, err := b.Get(b.ctx, "rollout")
	if err != nil || len(r.Attributes) != 20 || len(won) != 20 {
		b.Errorf("%d of 20 wrote, and %d attributes are there (%v)", len(won), len(r.Attributes), err)
	}
	b.list("log/", 0, false, "log/0", "log/12", "log/16", "log/4", "log/8")
}

func tooLargeTogether(b *bench) {
	b.put("rollout", attributes{"a": strings.Repeat("x", 300_000)})
	sentence := b.refuse(
		rollout.Change{Key: "log/1", Set: attributes{"x": "1"}},
		rollout.Change{Key: "rollout", Set: attributes{"b": strings.Repeat("x", 150_000)}},
	)
	if !strings.Contains(sentence, "400 KB") {
		b.Errorf("the refusal is %q", sentence)
	}
	b.is("rollout", attributes{"a": strings.Repeat("x", 300_000)})
	b.is("log/1", nil)
}

// race lets n writers, each with a handle of its own, do something at the same time; it gives those without a conflict.
func (b *bench) race(n int, write func(s rollout.Store, n int) error) []int {
	b.Helper()
	var mu sync.Mutex
	var won []int
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		store := b.open()
		all.Go(func() {
			<-start
			err := write(store, i)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, i)
			case !errors.Is(err, rollout.ErrConflict):
				b.Errorf("writer %d: %v", i, err)
			}
		})
	}
	close(start)
	all.Wait()
	return won
}

func manyWriters(b *bench) {
	n := b.writers
	b.put("rollout", attributes{"term": "1"})
	won := b.race(n, func(s rollout.Store, n int) error {
		name := fmt.Sprintf("part/i-%017d", n)
		if err := s.Apply(b.ctx, rollout.Change{Key: "rollout", Absent: []string{name}, Set: attributes{name: `"open"`}}); err != nil {
			return err
		}
		return s.Apply(b.ctx, rollout.Change{Key: "rollout", Expect: attributes{name: `"open"`, "term": "1"}, Set: attributes{name: `"done"`}})
	})
	want := attributes{"term": "1"}
	for i := range n {
		want[fmt.Sprintf("part/i-%017d", i)] = `"done"`
	}
	b.is("rollout", want)
	if len(won) != n {
		b.Errorf("%d of %d writers succeeded", len(won), n)
	}
}

func first(b *bench) {
	won := b.race(20, func(s rollout.Store, n int) error {
		return s.Apply(b.ctx, rollout.Change{Key: "claim/task", New: true, Set: attributes{"by": strconv.Itoa(n)}})
	})
	if len(won) != 1 {
		b.Fatalf("%v were first, want one", won)
	}
	b.is("claim/task", attributes{"by": strconv.Itoa(won[0])})
}

func counting(b *bench) {
	const n = 20
	b.put("rollout", attributes{"count": "0"})
	b.race(n, func(s rollout.Store, n int) error {
		for {
			r, err := s.Get(b.ctx, "rollout")
			if err != nil {
				return err
			}
			count, err := strconv.Atoi(r.Attributes["count"])
			if err != nil {
				return err
			}
			err = s.Apply(b.ctx, rollout.Change{Key: "rollout", Expect: attributes{"count": strconv.Itoa(count)},
				Set: attributes{"count": strconv.Itoa(count + 1), "by": strconv.Itoa(n)}})
			if !errors.Is(err, rollout.ErrConflict) {
				return err
			}
		}
	})
	r, err := b.Get(b.ctx, "rollout")
	if err != nil || r.Attributes["count"] != strconv.Itoa(n) {
		b.Errorf("%d counted to %s (%v)", n, r.Attributes["count"], err)
	}
}

func tooLarge(b *bench) {
	half := strings.Repeat("x", 250_000)
	b.put("rollout", attributes{"a": half})
	for _, c := range []rollout.Change{
		{Key: "rollout", Set: attributes{"b": half}},
		{Key: "rollout", Expect: attributes{"a": half}, Set: attributes{"b": half}},
		{Key: "lock", Set: attributes{"a": half, "b": half}},
	} {
		if sentence := b.refuse(c); !strings.Contains(sentence, "400 KB") {
			b.Errorf("the refusal is %.300q", sentence)
		}
	}
	b.is("rollout", attributes{"a": half})
	b.is("lock", nil)
}

func refused(b *bench) {
	many := make([]rollout.Change, rollout.MaxChanges+1)
	for i := range many {
		many[i] = rollout.Change{Key: fmt.Sprint("log/", i), Set: attributes{"x": "1"}}
	}
	one := attributes{"x": "1"}
	for words, changes := range map[string][]rollout.Change{
		"nothing to write":  nil,
		"101 records":       many,
		"changed twice":     {{Key: "lock", Set: one}, {Key: "lock", Delete: true}},
		"no key":            {{Set: one}},
		"1 to 512 bytes":    {{Key: strings.Repeat("k", rollout.MaxKey+1), Set: one}},
		"no name":           {{Key: "lock", Set: attributes{"": "1"}}},
		"begin with _":      {{Key: "lock", Set: attributes{"_ttl": "1"}}},
		"not UTF-8":         {{Key: "lock", Set: attributes{"x": "\xff"}}},
		"can't write it":    {{Key: "lock", Delete: true, Set: one}},
		"must not exist":    {{Key: "lock", New: true, Expect: one}},
		"is written twice":  {{Key: "lock", Set: one, Remove: []string{"x"}}},
		"is expected twice": {{Key: "lock", Expect: one, Absent: []string{"x"}, Delete: true}},
	} {
		if sentence := b.refuse(changes...); !strings.Contains(sentence, words) {
			b.Errorf("the refusal is %q, want %q in it", sentence, words)
		}
	}
	if _, err := b.Get(b.ctx, ""); err == nil {
		b.Error("a record without a key is read")
	}
	b.list("", 0, false)
}
