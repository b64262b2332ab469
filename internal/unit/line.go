package unit

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLine is how many bytes of a line of output are kept: enough for a message, little enough that a few dozen
// lines fit into a record or an error.
const MaxLine = 500

// CleanLine makes one line of a program's output fit to be shown on a terminal or kept in a record: terminal
// escape sequences are taken out, bytes that are not UTF-8 become U+FFFD, control characters become spaces, marks
// that reorder text are dropped, trailing blanks are cut, and what is longer than max bytes ends in "…".
func CleanLine(line string, max int) string {
	var b strings.Builder
	for i := 0; i < len(line) && b.Len() <= max; {
		if n := escape(line[i:]); n > 0 {
			i += n
			continue
		}
		r, size := utf8.DecodeRuneInString(line[i:])
		i += size
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			b.WriteByte(' ')
		case unicode.Is(unicode.Bidi_Control, r):
		default:
			b.WriteRune(r) // RuneError for a byte that is no UTF-8
		}
	}
	return Cut(strings.TrimRight(b.String(), " "), max)
}

// Cut cuts text to max bytes, between two runes, and ends what was cut with "…".
func Cut(text string, max int) string {
	const more = "…"
	if len(text) <= max {
		return text
	}
	end := max - len(more)
	if end < 0 {
		return ""
	}
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}

// escape is the length of the terminal escape sequence that s begins with, 0 for none (ECMA-48: CSI, and the
// strings OSC, DCS, SOS, PM and APC, which BEL or ST ends; anything else that ESC introduces is two characters).
func escape(s string) int {
	if len(s) < 2 || s[0] != 0x1b {
		return 0
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
			if s[i] < 0x20 || s[i] > 0x7e {
				return i
			}
		}
		return len(s)
	case ']', 'P', 'X', '^', '_':
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b {
				return i // ST is ESC \, an escape of its own
			}
		}
		return len(s)
	}
	if s[1] >= 0x20 && s[1] <= 0x7e {
		return 2
	}
	return 1
}
