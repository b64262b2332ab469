package unit

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestCleanLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, line, want string }{
		{"plain text stays", "GET /up 200 (12 ms) – naïve", "GET /up 200 (12 ms) – naïve"},
		{"colors go", "\x1b[1;31mError:\x1b[0m boom", "Error: boom"},
		{"a title ended by BEL goes", "a\x1b]0;owned\x07b", "ab"},
		{"a title ended by ST goes", "a\x1b]0;owned\x1b\\b", "ab"},
		{"a title without an end goes", "a\x1b]0;owned", "a"},
		{"a cut color goes", "a\x1b[31", "a"},
		{"a color cut by text keeps the text", "a\x1b[3é", "aé"},
		{"a reset of the terminal goes", "a\x1bcb", "ab"},
		{"a lone escape becomes a blank", "a\x1b", "a"},
		{"control characters become blanks", "a\tb\rc\x00d\x7fe", "a b c d e"},
		{"C1 controls become blanks", "a\u009b31mb", "a 31mb"},
		{"what reorders text goes", "a\u202eb\u2066c", "abc"},
		{"bytes that are no UTF-8 are shown as such", "a\xff\xfeb", "a\ufffd\ufffdb"},
		{"a CRLF's CR goes", "line\r", "line"},
		{"long lines are cut", strings.Repeat("x", 30), strings.Repeat("x", 17) + "…"},
		{"and never within a character", strings.Repeat("é", 30), strings.Repeat("é", 8) + "…"},
		{"nothing stays nothing", "", ""},
	} {
		max := MaxLine
		if strings.Contains(c.want, "…") {
			max = 20
		}
		if got := CleanLine(c.line, max); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.name, c.line, got, c.want)
		}
	}
}

func TestCleanLineIsAlwaysFitForATerminal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		line := string(rapid.SliceOf(rapid.Byte()).Draw(t, "line"))
		max := rapid.IntRange(0, 100).Draw(t, "max")
		got := CleanLine(line, max)
		if len(got) > max || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("%q became %q (%d bytes of %d)", line, got, len(got), max)
		}
	})
}
