package rollout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/rollout"
)

const sha = "0123456789abcdef0123456789abcdef01234567"

func TestAPersonMayWriteABareRef(t *testing.T) {
	t.Parallel()
	cases := []struct{ value, ref, revision string }{
		{"main", "main", ""},
		{"v1.4.2\n", "v1.4.2", ""},
		{"feature/new-cart", "feature/new-cart", ""},
		{"refs/tags/v1", "refs/tags/v1", ""},
		{sha, sha, sha},
		{strings.ToUpper(sha), strings.ToUpper(sha), sha},
		{sha[:12], sha[:12], ""},
	}
	for _, c := range cases {
		got, err := rollout.ParseIntent(c.value)
		if err != nil || got.Ref != c.ref || got.Revision != c.revision {
			t.Errorf("%q: got %+v, %v", c.value, got, err)
		}
	}
}

func TestTheCLIWritesAnIntent(t *testing.T) {
	t.Parallel()
	got, err := rollout.ParseIntent(`{"schema":1,"epoch":2,"revision":"` + sha + `","repository":"https://example.org/shop","ref":"main","by":"ann","message":"try","force":true,"rollback_of":3,"of_the_future":1}`)
	if err != nil {
		t.Fatal(err)
	}
	if got.Epoch != 2 || got.Revision != sha || got.Ref != "main" || got.By != "ann" || !got.Force || got.RollbackOf != 3 || got.Repository != "https://example.org/shop" {
		t.Errorf("got %+v", got)
	}
	if got, err := rollout.ParseIntent(`{"schema":1,"revision":"` + sha + `"}`); err != nil || got.Ref != sha {
		t.Errorf("a revision alone: got %+v, %v", got, err)
	}
}

func TestWhatIsNotARefIsRefusedInASentence(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", " ", "-x", "--upload-pack=/bin/sh", "a b", "a;rm -rf /", "main\nmain", "a..b", "a~1", "a^", "a:b", "x?", "*", "[", `a\b`, "@", "a@{0}",
		"/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.", "\x00", "a\x7f", "\xff", strings.Repeat("a", 256),
	} {
		_, err := rollout.ParseIntent(value)
		if value == "a;rm -rf /" || errors.Is(err, rollout.ErrNotARef) {
			if err == nil {
				t.Errorf("%q was taken", value)
			}
			continue
		}
		t.Errorf("%q: got %v", value, err)
	}
	if _, err := rollout.ParseIntent(strings.Repeat("x\x1b[2J", 2000)); err == nil || strings.ContainsRune(err.Error(), '\x1b') {
		t.Errorf("4 KiB of noise: got %v", err)
	}
}

func TestAnIntentThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	var newer *rollout.SchemaError
	if _, err := rollout.ParseIntent(`{"schema":2,"ref":"main"}`); !errors.As(err, &newer) || newer.Schema != 2 {
		t.Errorf("a newer schema: got %v", err)
	}
	for _, value := range []string{`{`, `{"ref":"main"}`, `{"schema":1}`, `{"schema":1,"ref":"-x"}`, `{"schema":1,"revision":"abc","ref":"main"}`, `{"schema":"1"}`} {
		if got, err := rollout.ParseIntent(value); err == nil {
			t.Errorf("%s was taken: %+v", value, got)
		}
	}
}

func FuzzParseIntent(f *testing.F) {
	for _, seed := range []string{"main", sha, `{"schema":1,"ref":"v1"}`, "{", "-x", "a\nb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		intent, err := rollout.ParseIntent(value)
		if err != nil {
			return
		}
		if rollout.CheckRef(intent.Ref) != nil || strings.HasPrefix(intent.Ref, "-") || strings.ContainsAny(intent.Ref, " \n\x00") {
			t.Errorf("%q gave the ref %q", value, intent.Ref)
		}
		if intent.Revision != "" && (len(intent.Revision) != 40 || strings.Trim(intent.Revision, "0123456789abcdef") != "") {
			t.Errorf("%q gave the revision %q", value, intent.Revision)
		}
	})
}
