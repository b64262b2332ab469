// Package mask takes secrets out of what programs print, and finds them in what
// programs wrote. A secret shows in more forms than its own: escaped in JSON or
// a URL, in base64 behind a user's name, a line of it by itself, or only its
// beginning, where a text was cut. Those are known too. One that was compressed,
// encrypted or turned around is not.
package mask

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Shortest is the length in bytes from which a value is masked: a port or
// "true" is no secret, and masking it would garble a text.
const Shortest = 6

// The least that is taken for the beginning of a secret where a text was cut.
const shortestCut = 4

// more is how a text that was cut ends (unit.Cut).
const more = "…"

// Mask knows secrets. It never changes, so that several may use it at once.
// The zero value knows none.
type Mask struct {
	printed set
	written []pattern // what a Finder looks for
	longest int       // of written
}

// pattern is one form of a secret.
type pattern struct{ text, name string }

// set is patterns by their first byte, the longest first.
type set struct {
	of      [256][]pattern
	longest int
}

// New makes a mask of secrets: the names that are shown instead, by value. Values shorter than Shortest are left out.
func New(names map[string]string) *Mask {
	m := &Mask{}
	var printed []pattern
	for value, name := range names {
		if len(value) < Shortest {
			continue
		}
		whole := forms(value)
		for _, text := range whole {
			m.written = append(m.written, pattern{text, name})
		}
		for _, text := range append(whole, lines(value)...) {
			printed = append(printed, pattern{text, name})
		}
	}
	longestFirst := func(a, b pattern) int {
		return cmp.Or(cmp.Compare(len(b.text), len(a.text)), cmp.Compare(a.text, b.text), cmp.Compare(a.name, b.name))
	}
	slices.SortFunc(printed, longestFirst)
	slices.SortFunc(m.written, longestFirst)
	for _, p := range printed {
		m.printed.of[p.text[0]] = append(m.printed.of[p.text[0]], p)
	}
	if len(printed) > 0 {
		m.printed.longest, m.longest = len(printed[0].text), len(m.written[0].text)
	}
	return m
}

// forms are the ways in which a whole value is written, also without the blanks around it.
func forms(value string) []string {
	var all []string
	for _, v := range []string{value, strings.TrimSpace(value)} {
		all = append(all, v, strings.ReplaceAll(v, "\n", "\r\n"), inside(strconv.Quote(v)), encoded(v, true), encoded(v, false),
			url.QueryEscape(v), url.PathEscape(v))
		all = append(all, base64Forms(v)...)
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < Shortest })
	slices.Sort(all)
	return slices.Compact(all)
}

// encoded is a text in JSON, without its quotes. Encoders escape <, > and & or don't.
func encoded(text string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	_ = e.Encode(text) // a text can always be encoded
	return inside(strings.TrimSpace(b.String()))
}

func inside(quoted string) string { return quoted[1 : len(quoted)-1] }

// base64Forms are the characters that say nothing but the value, wherever in a longer text (user:value) it stood.
func base64Forms(value string) (out []string) {
	if len(value) < Shortest {
		return nil
	}
	for before := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), value...))
		// The first characters have bits of what stood before the value, the last one may have bits of what follows.
		text = text[(before*8+5)/6:]
		if (before+len(value))%3 != 0 {
			text = text[:len(text)-1]
		}
		out = append(out, text, strings.NewReplacer("+", "-", "/", "_").Replace(text))
	}
	return out
}

// lines are those of a value of several, and a value as a cleaned line shows it (unit.CleanLine).
func lines(value string) []string {
	out := []string{strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, value))}
	if strings.Contains(value, "\n") {
		for line := range strings.Lines(value) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return len(s) < Shortest })
}

// Text gives the text with the name of a secret, [NAME], wherever one stood.
func (m *Mask) Text(text string) string {
	out, _ := m.printed.scan(nil, []byte(text), true)
	return m.printed.cuts(string(out))
}

// scan appends src without secrets to dst. What may yet become a secret is given back, unless this is the end.
func (s *set) scan(dst, src []byte, end bool) (out, rest []byte) {
	if s.longest == 0 {
		return append(dst, src...), nil
	}
scan:
	for i := 0; i < len(src); {
		for _, p := range s.of[src[i]] {
			switch here := src[i:]; {
			case len(p.text) > len(here):
				if !end && strings.HasPrefix(p.text, string(here)) {
					return dst, here
				}
			case string(here[:len(p.text)]) == p.text:
				dst = append(dst, "["+p.name+"]"...)
				i += len(p.text)
				continue scan
			}
		}
		dst = append(dst, src[i])
		i++
	}
	return dst, nil
}

// cuts masks the beginning of a secret that a cut left.
func (s *set) cuts(text string) string {
	if s.longest == 0 || !strings.Contains(text, more) {
		return text
	}
	var b strings.Builder
	for {
		before, after, cut := strings.Cut(text, more)
		if !cut {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(s.beginning(before) + more)
		text = after
	}
}

// beginning masks what a text ends with where that is the beginning of a secret.
func (s *set) beginning(text string) string {
	for i := max(0, len(text)-s.longest); i <= len(text)-shortestCut; i++ {
		for _, p := range s.of[text[i]] {
			if strings.HasPrefix(p.text, text[i:]) {
				return text[:i] + "[" + p.name + "]"
			}
		}
	}
	return text
}

// Writer masks a stream, also a secret that comes in pieces.
type Writer struct {
	set  *set
	to   io.Writer
	held []byte // what may yet become a secret
	err  error
}

// Writer gives a writer that masks what it passes on to to. Close it: what it holds back is written then.
func (m *Mask) Writer(to io.Writer) *Writer { return &Writer{set: &m.printed, to: to} }

// Write is in io.Writer. Once the writer below has failed, so does this one.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	out, rest := w.set.scan(nil, append(w.held, p...), false)
	w.held = append([]byte(nil), rest...)
	if len(out) > 0 {
		_, w.err = w.to.Write(out)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// Close writes what was held back. It does not close the writer below.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	out, _ := w.set.scan(nil, w.held, true)
	w.held = nil
	if len(out) > 0 {
		_, w.err = w.to.Write(out)
	}
	return w.err
}

// chunk is how much of a file a Finder holds in memory.
const chunk = 256 << 10

// Finder looks for secrets in many files, one after the other.
type Finder struct {
	m      *Mask
	buffer []byte
}

// Finder makes one.
func (m *Mask) Finder() *Finder { return &Finder{m: m, buffer: make([]byte, 0, m.longest+chunk)} }

// Find reads to the end and gives the name of a secret that it met, "" for none. Lines of a secret by themselves are not
// looked for: what a configuration has in common with its template is none.
func (f *Finder) Find(r io.Reader) (string, error) {
	m, buffer := f.m, f.buffer[:0]
	if m.longest == 0 {
		return "", nil
	}
	for {
		n, err := io.ReadFull(r, buffer[len(buffer):len(buffer)+chunk])
		buffer = buffer[:len(buffer)+n]
		for _, p := range m.written {
			if bytes.Contains(buffer, []byte(p.text)) {
				return p.name, nil
			}
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return "", nil
		case err != nil:
			return "", err
		}
		buffer = append(buffer[:0], buffer[len(buffer)-min(len(buffer), m.longest-1):]...)
	}
}
