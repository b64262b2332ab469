package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

func nothing(b *bench) {
	b.is("stable", nil)
	b.list("", 0, false)
	b.list("release/", 0, true)
}

func unknownSurvive(b *bench) {
	b.put("rollout", attributes{"schema": "2", "of a later version": `{"x":1}`, "term": "1"})
	b.apply(rollout.Change{Key: "rollout", Expect: attributes{"term": "1"}, Set: attributes{"term": "2", "leader": `"i-1"`}})
	b.is("rollout", attributes{"schema": "2", "of a later version": `{"x":1}`, "term": "2", "leader": `"i-1"`})
	b.apply(rollout.Change{Key: "rollout", Remove: []string{"leader", "never there"}})
	b.is("rollout", attributes{"schema": "2", "of a later version": `{"x":1}`, "term": "2"})
}

func empty(b *bench) {
	b.apply(rollout.Change{Key: "freeze", New: true})
	b.is("freeze", attributes{})
	b.conflict(rollout.Change{Key: "freeze", New: true, Set: attributes{"by": `"ann"`}})
	b.list("", 0, false, "freeze")
	b.put("stable", attributes{"number": "1"})
	b.apply(rollout.Change{Key: "stable", Remove: []string{"number"}})
	b.is("stable", attributes{})
}

func oddCharacters(b *bench) {
	odd := attributes{
		"part/i-0123456789abcdef0": `{"state":"open"}`, "a.b[0]": "1", "#0": "2", ":0": "3", "size": "4", "SET": "5", "key": "6",
		"ünï 空 🚀": `"ünï 空 🚀"`, `"quoted"`: `"\"\\\u0000\n\t</script>&"`, "with space": "{ \"x\" : 1e400 }", "empty": "",
		"line\nbreak": "\"a\nb\"",
	}
	for _, key := range []string{"stable", "release/000000000001/000000000042", "artifact/linux-amd64+é=%2F..", "claim/a b\"c'd#0:0\n", "🚀", `failed/\`} {
		b.put(key, odd)
		b.is(key, odd)
		b.apply(rollout.Change{Key: key, Expect: odd, Set: attributes{"ünï 空 🚀": "2"}, Remove: []string{"a.b[0]"}})
		b.conflict(rollout.Change{Key: key, Absent: []string{`"quoted"`}, Set: attributes{"x": "1"}})
		b.apply(rollout.Change{Key: key, Absent: []string{"a.b[0]"}, Delete: true})
		b.is(key, nil)
	}
}

func large(b *bench) {
	value := `"` + strings.Repeat("x", 390_000) + `"`
	b.put("rollout", attributes{"parts": value, "n": "1"})
	b.is("rollout", attributes{"parts": value, "n": "1"})
	b.apply(rollout.Change{Key: "rollout", Expect: attributes{"n": "1"}, Set: attributes{"n": "2"}})
	b.is("rollout", attributes{"parts": value, "n": "2"})
}

func unmet(b *bench) {
	was := attributes{"term": "3", "leader": `"i-1"`}
	b.put("rollout", was)
	set := attributes{"leader": `"i-2"`, "more": "1"}
	for _, c := range []rollout.Change{
		{Expect: attributes{"term": "2"}, Set: set},
		{Expect: attributes{"term": "3", "leader": `"i-3"`}, Set: set},
		{Expect: attributes{"other": "1"}, Set: set},
		{Expect: attributes{"term": "03"}, Set: set}, // byte by byte, not as numbers
		{Expect: attributes{"term": "3 "}, Remove: []string{"leader"}},
		{Absent: []string{"leader"}, Set: set},
		{Absent: []string{"other", "term"}, Remove: []string{"leader"}},
		{New: true, Set: set},
	} {
		c.Key = "rollout"
		b.conflict(c)
		b.is("rollout", was)
	}
	b.conflict(rollout.Change{Key: "lock", Expect: attributes{"nonce": "1"}, Set: set})
	b.is("lock", nil)
	b.apply(rollout.Change{Key: "rollout", Expect: attributes{"term": "3", "leader": `"i-1"`}, Absent: []string{"other"}, Set: set})
	b.is("rollout", with(was, set))
}

func newOnce(b *bench) {
	b.apply(rollout.Change{Key: "claim/task", New: true, Set: attributes{"by": `"i-1"`}})
	b.conflict(rollout.Change{Key: "claim/task", New: true, Set: attributes{"by": `"i-2"`}})
	b.is("claim/task", attributes{"by": `"i-1"`})
	b.apply(rollout.Change{Key: "claim/task", Delete: true})
	b.apply(rollout.Change{Key: "claim/task", New: true, Set: attributes{"by": `"i-2"`}})
	b.is("claim/task", attributes{"by": `"i-2"`})
}

func deletion(b *bench) {
	b.put("lock", attributes{"nonce": "1"})
	b.conflict(rollout.Change{Key: "lock", Expect: attributes{"nonce": "2"}, Delete: true})
	b.conflict(rollout.Change{Key: "lock", Absent: []string{"nonce"}, Delete: true})
	b.is("lock", attributes{"nonce": "1"})
	b.apply(rollout.Change{Key: "lock", Expect: attributes{"nonce": "1"}, Delete: true})
	b.is("lock", nil)
	b.list("", 0, false)
	b.apply(rollout.Change{Key: "never there", Delete: true})
}

func doubled(b *bench) {
	b.put("rollout", attributes{"term": "3", "leader": `"i-1"`, "beat": "7", "slot": "1"})
	for _, c := range []rollout.Change{
		{Key: "rollout", Expect: attributes{"term": "3", "beat": "7"}, Set: attributes{"beat": "8"}},
		{Key: "rollout", Expect: attributes{"slot": "1"}, Remove: []string{"slot"}},
		{Key: "rollout", Absent: []string{"part/i-2"}, Set: attributes{"part/i-2": `"open"`}},
		{Key: "claim/task", New: true, Set: attributes{"by": `"i-1"`}},
		{Key: "rollout", Expect: attributes{"term": "3"}, Delete: true},
	} {
		b.apply(c)
		b.apply(c)
		if err := b.open().Apply(b.ctx, c); err != nil {
			b.Errorf("by another handle: %v", err)
		}
	}
	b.is("rollout", nil)
	b.is("claim/task", attributes{"by": `"i-1"`})
}

func stale(b *bench) {
	b.put("rollout", attributes{"term": "4", "beat": "8", "x": "1"})
	// The beat is what it would set, but its term has passed.
	b.conflict(rollout.Change{Key: "rollout", Expect: attributes{"term": "3", "beat": "7"}, Set: attributes{"beat": "8"}})
	b.conflict(rollout.Change{Key: "rollout", Absent: []string{"x"}, Set: attributes{"beat": "8"}})
	b.conflict(rollout.Change{Key: "rollout", Expect: attributes{"term": "3"}, Remove: []string{"slot"}})
	b.conflict(rollout.Change{Key: "rollout", Expect: attributes{"term": "3"}, Delete: true})
	b.is("rollout", attributes{"term": "4", "beat": "8", "x": "1"})
}

func expires(b *bench) {
	later := time.Now().Add(time.Hour)
	b.apply(rollout.Change{Key: "claim/x", New: true, Set: attributes{"by": "1"}, Expires: later})
	b.is("claim/x", attributes{"by": "1"})
	b.apply(rollout.Change{Key: "claim/x", Expect: attributes{"by": "1"}, Set: attributes{"by": "2"}, Expires: later})
	b.apply(rollout.Change{Key: "claim/x", Expect: attributes{"by": "2"}, Set: attributes{"by": "3"}})
	b.is("claim/x", attributes{"by": "3"})
	b.list("claim/", 0, false, "claim/x")
}

func wide(b *bench) {
	was, set, all := attributes{}, attributes{}, attributes{}
	for n := range rollout.MaxWrites {
		name := fmt.Sprintf("part/%03d", n)
		set[name], all[name] = "2", "2"
		if n < rollout.MaxConditions {
			was[name] = "1"
		}
	}
	b.put("rollout", was)
	b.apply(rollout.Change{Key: "rollout", Expect: was, Set: set})
	b.is("rollout", all)
	set["one more"] = "2"
	if sentence := b.refuse(rollout.Change{Key: "rollout", Set: set}); !strings.Contains(sentence, "attributes are too many") {
		b.Errorf("the refusal is %q", sentence)
	}
}

func order(b *bench) {
	want := []string{"release/000001/000001", "release/000001/000002", "release/000001/000010", "release/000002/000001"}
	for _, i := range []int{2, 0, 3, 1} {
		b.put(want[i], attributes{"number": fmt.Sprint(i)})
	}
	reversed := []string{want[3], want[2], want[1], want[0]}
	b.list("release/", 0, false, want...)
	b.list("release/", 0, true, reversed...)
	b.list("release/", 3, false, want[:3]...)
	b.list("release/", 2, true, reversed[:2]...)
	b.list("release/", 100, true, reversed...)
	b.list("release/000001/", 1, true, want[2])
	found, err := b.List(b.ctx, "release/", 1, true)
	if err != nil || len(found) != 1 || found[0].Attributes["number"] != "3" {
		b.Errorf("the newest is %v (%v)", found, err)
	}
}

func prefixes(b *bench) {
	all := []string{"Release/1", "lock", "log/1", "log/%", "log_1", "log/é", "log/😀", "log", "log0", "stable"}
	for _, key := range all {
		b.put(key, attributes{"x": "1"})
	}
	b.list("log/", 0, false, "log/%", "log/1", "log/é", "log/😀")
	b.list("log", 0, false, "log", "log/%", "log/1", "log/é", "log/😀", "log0", "log_1")
	b.list("log/1", 0, false, "log/1")
	b.list("release/", 0, false)
	b.list("", 0, false, "Release/1", "lock", "log", "log/%", "log/1", "log/é", "log/😀", "log0", "log_1", "stable")
}

// pages writes more than one of DynamoDB's pages of 1 MB.
func pages(b *bench) {
	value := strings.Repeat("x", 300_000)
	var want, reversed []string
	for n := range 5 {
		key := fmt.Sprintf("log/%03d", n)
		b.put(key, attributes{"text": value})
		want, reversed = append(want, key), append([]string{key}, reversed...)
	}
	b.list("log/", 0, false, want...)
	b.list("log/", 0, true, reversed...)
	b.list("log/", 4, true, reversed[:4]...)
}

func fleets(b *bench) {
	other := b.other()
	b.put("stable", attributes{"number": "1"})
	if err := other.Apply(b.ctx, rollout.Change{Key: "stable", New: true, Set: attributes{"number": "9"}}); err != nil {
		b.Error(err)
	}
	b.is("stable", attributes{"number": "1"})
	b.list("", 0, false, "stable")
}

func cancelled(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.Apply(ctx, rollout.Change{Key: "stable", Set: attributes{"x": "1"}}); !errors.Is(err, context.Canceled) {
		b.Errorf("apply: %v", err)
	}
	if _, err := b.Get(ctx, "stable"); !errors.Is(err, context.Canceled) {
		b.Errorf("get: %v", err)
	}
	if _, err := b.List(ctx, "", 0, false); !errors.Is(err, context.Canceled) {
		b.Errorf("list: %v", err)
	}
}
