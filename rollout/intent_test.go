package rollout_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"

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

// TestAnIntentReadsTheSameToEveryReader holds what two readers of JSON may take differently.
func TestAnIntentReadsTheSameToEveryReader(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"a key twice":           `{"schema":1,"ref":"main","ref":"evil"}`,
		"a key twice, by case":  `{"schema":1,"ref":"main","REF":"evil"}`,
		"a key in capitals":     `{"Schema":1,"Ref":"main"}`,
		"a key by an escape":    `{"schema":1,"ref":"main","r\u0065f":"evil"}`,
		"a key by a long s":     `{"ſchema":1,"ref":"main"}`,
		"a key that is nothing": `{"schema":1,"ref":"main","":1}`,
		"two values":            `{"schema":1,"ref":"main"}{"schema":1,"ref":"evil"}`,
		"a value after it":      `{"schema":1,"ref":"main"} evil`,
		"an escape":             `{"schema":1,"ref":"ma\u001b[2Jin"}`,
		"an escape in 8 bits":   "{\"schema\":1,\"ref\":\"ma\u009b2Jin\"}",
		"text that turns round": `{"schema":1,"ref":"ma\u202ein"}`,
		"half a character":      `{"schema":1,"ref":"\ud800"}`,
		"who turns round":       `{"schema":1,"ref":"main","by":"ann\u202e"}`,
		"who clears the screen": `{"schema":1,"ref":"main","by":"\u001b[2J"}`,
		"a message that does":   `{"schema":1,"ref":"main","message":"\u001b[2J"}`,
		"a lock of lines":       `{"schema":1,"ref":"main","lock":"a\nb"}`,
		"a repository of lines": `{"schema":1,"ref":"main","repository":"https://example.org/x\nhost"}`,
		"a number of pages":     `{"schema":1,"ref":"main","epoch":1` + strings.Repeat("0", 3000) + `}`,
		"a schema of pages":     `{"schema":1` + strings.Repeat("0", 3000) + `,"ref":"main"}`,
		"a key of pages":        `{"schema":1,"ref":"main","` + strings.Repeat("k", 3000) + `":1}`,
		"a deep nest, open":     `{"schema":1,"ref":"main","policy":` + strings.Repeat("[", 4000),
		"a revision of pages":   `{"schema":1,"revision":"` + strings.Repeat("\x9b", 3000) + `"}`,
		"a list":                `[{"schema":1,"ref":"main"}]`,
		"a byte order mark":     "\ufeffmain",
		"nothing that shows":    "main\u200b",
	} {
		got, err := rollout.ParseIntent(value)
		if err == nil {
			t.Errorf("%s was taken: %+v", name, got)
			continue
		}
		if text := err.Error(); len(text) > 400 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: told in %d bytes: %.200q", name, len(text), text)
		}
	}
	deep := `{"schema":1,"ref":"main","policy":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`
	if got, err := rollout.ParseIntent(deep); err != nil || got.Ref != "main" {
		t.Errorf("a deep nest that is JSON: %v", err)
	}
	said := `{"schema":1,"ref":"main","by":"Zoë 👩‍💻","message":"one\n\ttwo 👩‍💻"}`
	if got, err := rollout.ParseIntent(said); err != nil || got.Message != "one\n\ttwo 👩‍💻" {
		t.Errorf("a message of two lines: %+v, %v", got, err)
	}
}

func FuzzParseIntent(f *testing.F) {
	for _, seed := range []string{"main", sha, `{"schema":1,"ref":"v1"}`, "{", "-x", "a\nb", "a\u202eb", "\xff", `{"schema":1,"ref":"a","ref":"b"}`,
		`{"schema":1,"revision":"` + sha + `","policy":[[{}]],"by":"x"}`, `{"schema":1e3,"ref":"\ud800"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		intent, err := rollout.ParseIntent(value)
		if err != nil {
			if text := err.Error(); len(text) > 400 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q is told in %d bytes: %.200q", value, len(text), text)
			}
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
