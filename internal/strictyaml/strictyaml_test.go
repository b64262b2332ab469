package strictyaml

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shop is a schema with one of everything.
type shop struct {
	Name    string
	Open    bool
	Tables  int
	Close   time.Duration
	Cellar  int64
	Mode    string
	Dishes  []string
	Prices  map[string]string
	Kitchen string
}

func read(data string) (shop, error) {
	s := shop{Tables: 4, Close: time.Minute, Mode: "fast"}
	doc, err := Parse("shop.yaml", []byte(data))
	if err != nil {
		return shop{}, err
	}
	m := doc.Root().Map()
	m.Require("name", `write "name: …"`).String(&s.Name)
	m.Get("open").Bool(&s.Open)
	m.Get("tables").Int(&s.Tables, 1, 100)
	m.Get("close").Duration(&s.Close, time.Second, time.Hour)
	m.Get("cellar").Bytes(&s.Cellar, 1, 1<<40)
	m.Get("mode").Enum(&s.Mode, []string{"fast", "slow"}, "warp")
	for _, v := range m.Get("dishes").List() {
		var d string
		if v.String(&d) {
			s.Dishes = append(s.Dishes, d)
		}
	}
	for _, e := range m.Get("prices").Map().Entries() {
		var p string
		if e.Value.String(&p) {
			if s.Prices == nil {
				s.Prices = map[string]string{}
			}
			s.Prices[e.Key] = p
		}
	}
	kitchen := m.Get("kitchen").Map()
	kitchen.Get("cook").Check(&s.Kitchen, func(c string) error {
		if c == "nobody" {
			return errors.New("somebody has to cook")
		}
		return nil
	})
	kitchen.Done()
	m.Reserved("garden")
	m.Done()
	if err := doc.Err(); err != nil {
		return shop{}, err
	}
	return s, nil
}

func TestAFileIsReadOverItsDefaults(t *testing.T) {
	t.Parallel()
	got, err := read("\ufeff--- # the shop\r\nname: 'Zum Löwen'\r\nopen: true\r\nclose: 1h\r\ncellar: 2GiB\r\n" +
		"dishes: [soup, \"1\"]\r\nprices:\r\n  soup: \"3\"\r\n  EMPTY: \"\"\r\nkitchen:\r\n  cook: |\r\n    anna\r\n    & otto\r\n")
	if err != nil {
		t.Fatal(err)
	}
	want := shop{Name: "Zum Löwen", Open: true, Tables: 4, Close: time.Hour, Cellar: 2 << 30, Mode: "fast",
		Dishes: []string{"soup", "1"}, Prices: map[string]string{"soup": "3", "EMPTY": ""}, Kitchen: "anna\n& otto\n"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEveryProblemIsToldWithItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, data, want string }{
		{"near key", "name: x\ntabels: 3", `shop.yaml:2:1: unknown key "tabels"; did you mean "tables"?`},
		{"far key", "name: x\nkitchen:\n  waiter: x", `shop.yaml:3:3: unknown key "waiter" in kitchen; the keys here are cook`},
		{"reserved key", "name: x\ngarden: {}", `shop.yaml:2:1: garden is not supported by this version of bootagent; remove it or upgrade`},
		{"near a reserved key", "name: x\ngardn: {}", `shop.yaml:2:1: unknown key "gardn"; if you mean "garden", that is not supported by this version of bootagent`},
		{"missing key", "open: true", `shop.yaml:1:1: name is missing: write "name: …"`},
		{"twice", "name: x\nkitchen:\n  cook: a\n  cook: b", `shop.yaml:4:3: "kitchen.cook" is given twice, first in line 3`},
		{"all at once", "naem: x\nopen: 1\n", `shop.yaml:1:1: name is missing: write "name: …"` + "\n" +
			`shop.yaml:1:1: unknown key "naem"; did you mean "name"?` + "\n" + `shop.yaml:2:7: open must be true or false, not a number`},
		{"number for text", "name: 1.20", `shop.yaml:1:7: name must be text, not a number; put it in quotes: "1.20"`},
		{"bool for text", "name: x\nprices:\n  DEBUG: true", `shop.yaml:3:10: prices.DEBUG must be text, not true or false; put it in quotes: "true"`},
		{"nothing for text", "name:", `shop.yaml:1:1: name is empty; it must be text (or leave the key out)`},
		{"list for text", "name: [x]", `shop.yaml:1:7: name must be text, not a list`},
		{"text for list", "name: x\ndishes: soup", `shop.yaml:2:9: dishes must be a list, not text`},
		{"text for mapping", "name: x\nkitchen: soup", `shop.yaml:2:10: kitchen must be a mapping (key: value), not text`},
		{"in a list", "name: x\ndishes:\n  - a\n  - b: c", `shop.yaml:4:5: dishes[1] must be text, not a mapping`},
		{"text for file", "hello", `shop.yaml:1:1: the file must be a mapping (key: value), not text`},
		{"bare duration", "name: x\nclose: 30", `shop.yaml:2:8: close must be a duration with a unit, such as "30s", "2m" or "1h"; a bare number has no unit: write "30s" if you mean seconds`},
		{"no duration", "name: x\nclose: soon", `shop.yaml:2:8: close must be a duration with a unit, such as "30s", "2m" or "1h", not "soon"`},
		{"duration out of range", "name: x\nclose: 2h", `shop.yaml:2:8: close must be between 1s and 1h, not "2h"`},
		{"bare size", "name: x\ncellar: 30", `shop.yaml:2:9: cellar must be a size with a unit, such as "512MiB" or "2GiB", not a number`},
		{"size without end", "name: x\ncellar: 999999999999999TiB", `shop.yaml:2:9: cellar must be between 1B and 1TiB, not "999999999999999TiB"`},
		{"int out of range", "name: x\ntables: 99999999999999999999", `shop.yaml:2:9: tables must be a whole number, not text`},
		{"int too large", "name: x\ntables: 18446744073709551615", `shop.yaml:2:9: tables must be between 1 and 100, not "18446744073709551615"`},
		{"near word", "name: x\nmode: fsat", `shop.yaml:2:7: mode can't be "fsat"; did you mean "fast"?`},
		{"other word", "name: x\nmode: sideways", `shop.yaml:2:7: mode must be fast or slow, not "sideways"`},
		{"reserved word", "name: x\nmode: warp", `shop.yaml:2:7: mode: "warp" is not supported by this version of bootagent; use fast or slow`},
		{"failed check", "name: x\nkitchen: {cook: nobody}", `shop.yaml:2:17: kitchen.cook: somebody has to cook`},
		{"key that is no text", "name: x\n1: y", `shop.yaml:2:1: a key must be text; put quotes around it`},
		{"noise in a key", "name: x\n\"a\\x1b[31m\\nb\": y", `shop.yaml:2:1: unknown key "a\x1b[31m\nb"; the keys here are name, open, tables, close, cellar, mode, dishes, prices, kitchen`},
		{"anchor", "name: &x y", `shop.yaml:1:7: anchors (&) and aliases (*) are not supported; quote the value if it begins with one of these`},
		{"alias", "name: *x", `shop.yaml:1:7: anchors (&) and aliases (*) are not supported; quote the value if it begins with one of these`},
		{"merge", "<<: {}\nname: x", `shop.yaml:1:1: merge keys (<<) are not supported; write the keys out`},
		{"tag", "name: !!str 1", `shop.yaml:1:7: tags (!) are not supported; quote the value if it begins with one`},
		{"directive", "%YAML 1.2\n---\nname: x", `shop.yaml:1:1: directives (%) are not supported`},
		{"two documents", "name: x\n---\nname: y", `shop.yaml:3:5: holds more than one YAML document; keep one`},
		{"tab", "kitchen:\n\tcook: x", `shop.yaml:2:1: is not valid YAML: found character '	' that cannot start any token`},
		{"not closed", "name: \"x\nopen: true", `shop.yaml:1:7: is not valid YAML: could not find end character of double-quoted text`},
		{"colon in text", "name: a: b", `shop.yaml:1:7: is not valid YAML: mapping value is not allowed in this context`},
		{"empty", " \n# nothing\n", `shop.yaml: is empty`},
		{"binary", "name: x\nab\x00", `shop.yaml:2:3: is not text: it must be UTF-8 without control characters`},
		{"8-bit escape", "name: x\u009b2J", `shop.yaml:1:8: is not text: it must be UTF-8 without control characters`},
		{"NUL by an escape", `name: "x\0"`, `shop.yaml:1:7: name contains a NUL, which neither a command nor a variable can`},
		{"latin-1", "name: L\xf6we", `shop.yaml:1:8: is not text: it must be UTF-8 without control characters`},
		{"huge", "name: " + strings.Repeat("x", MaxSize), `shop.yaml: is larger than the 64 KiB that are read`},
		{"deep brackets", strings.Repeat("[", 60_000), `shop.yaml:1:21: is nested too deeply`},
		{"deep dashes", strings.Repeat("- ", 30_000), `shop.yaml:1:41: is nested too deeply`},
		{"deep keys", strings.Repeat("? ", 30_000), `shop.yaml:1:41: is nested too deeply`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := read(c.data)
			if err == nil {
				t.Fatal("no error")
			}
			if d := cmp.Diff(c.want, err.Error()); d != "" {
				t.Error(d)
			}
			var typed *Error
			if !errors.As(err, &typed) || typed.File != "shop.yaml" {
				t.Errorf("%#v carries no *Error with its file", err)
			}
		})
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	t.Parallel()
	_, err := read("name: x\nprices:\n" + strings.Repeat("  a: b\n", 100))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != maxProblems+1 || lines[maxProblems] != "shop.yaml: and 79 more problems" {
		t.Error(err)
	}
}

func TestSizesAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 256 << 20: "256MiB", 3 << 40: "3TiB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestSizesAreReadInBothSystems(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"7B": 7, "1kB": 1000, "1 KB": 1000, "2KiB": 2048, "3MB": 3e6, "3MiB": 3 << 20, "1GB": 1e9, "2GiB": 2 << 30, "1TB": 1e12, "1TiB": 1 << 40} {
		if got, err := read("name: x\ncellar: " + text); err != nil || got.Cellar != want {
			t.Errorf("%s is %d, %v; want %d", text, got.Cellar, err, want)
		}
	}
}

// FuzzParse: no input panics, takes long, or gives an error outside the file.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"name: x\nkitchen: {cook: a}", "- [", "a: |\n b", "? a\n: b", "a: \"\\", "a:\r\n- b\r\n", "{a: {b: [", "a: !!x &b *c", "%x\n---\n...", "? - a\n: -"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		begin := time.Now()
		_, err := read(string(data))
		if took := time.Since(begin); took > 5*time.Second {
			t.Fatalf("took %s", took)
		}
		var typed *Error
		if err == nil {
			return
		}
		if !errors.As(err, &typed) {
			t.Fatalf("%T is no *Error", err)
		}
		if lines := strings.Count(string(data), "\n") + 1; typed.Line > lines || typed.Line < 0 || typed.Column < 0 {
			t.Fatalf("%v is outside of a file of %d lines", err, lines)
		}
	})
}
