package source

import (
	"bytes"
	"errors"
	"path"
	"regexp"
	"strings"
)

// both makes one conversion of two, either of which may be nil.
func both(first, second conversion) conversion {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(content []byte) ([]byte, error) {
		content, err := first(content)
		if err != nil {
			return nil, err
		}
		return second(content)
	}
}

// noIdent refuses a file in which git would put its object name.
func noIdent(state string) conversion {
	if state != "+" {
		return nil
	}
	return func(content []byte) ([]byte, error) {
		if bytes.Contains(content, []byte("$Id$")) || bytes.Contains(content, []byte("$Id:")) {
			return nil, errors.New("it has the attribute ident in .gitattributes and a $Id$ in it, which is not supported: remove one of them")
		}
		return content, nil
	}
}

// lineEnds follows git's convert.c (convert_attrs, crlf_to_worktree) on a machine whose own line ends are LF: only
// eol=crlf changes anything, unless the file is said to be, or with text=auto looks, binary.
func lineEnds(is map[string]string) conversion {
	text := is["text"]
	if text == "" || text == "!" { // the old name of the same
		if text = is["crlf"]; text == "=input" {
			return nil
		}
	}
	if is["eol"] != "=crlf" || text == "-" {
		return nil
	}
	auto := text == "=auto"
	return func(content []byte) ([]byte, error) {
		if auto && (bytes.ContainsRune(content, '\r') || looksBinary(content)) {
			return content, nil
		}
		converted := make([]byte, 0, len(content)+bytes.Count(content, []byte("\n")))
		for i, b := range content {
			if b == '\n' && (i == 0 || content[i-1] != '\r') {
				converted = append(converted, '\r')
			}
			converted = append(converted, b)
		}
		return converted, nil
	}
}

// looksBinary is git's convert_is_binary, for a content without CR: a NUL, or more than one odd byte in 128.
func looksBinary(content []byte) bool {
	var printable, odd int
	for _, b := range content {
		switch {
		case b == 0:
			return true
		case b == 127:
			odd++
		case b >= ' ', b == '\b', b == '\t', b == 0x1b, b == '\f':
			printable++
		case b != '\n':
			odd++
		}
	}
	if len(content) > 0 && content[len(content)-1] == 0x1a { // DOS's end of file
		odd--
	}
	return printable>>7 < odd
}

// pattern matches a path relative to the directory of its .gitattributes.
type pattern func(name string) bool

// parsePattern reads a pattern as gitattributes(5) has it; nil is one that matches no file.
func parsePattern(p string) pattern {
	if strings.HasPrefix(p, "!") || strings.HasSuffix(p, "/") {
		return nil // negative ones are forbidden, those of directories match no file
	}
	if !strings.Contains(p, "/") {
		if suffix, ok := strings.CutPrefix(p, "*"); ok && !strings.ContainsAny(suffix, `*?[\`) {
			return func(name string) bool { return strings.HasSuffix(name, suffix) } // by far the most
		}
		return matcher(p, path.Base)
	}
	return matcher(strings.TrimPrefix(p, "/"), func(name string) string { return name })
}

// matcher matches part of a name by git's wildmatch. What git takes for malformed matches nothing, there as here.
func matcher(p string, part func(string) string) pattern {
	re, err := regexp.Compile(wildcards(p))
	if err != nil {
		return nil
	}
	return func(name string) bool { return re.MatchString(part(name)) }
}

// wildcards translates git's wildmatch(3) with WM_PATHNAME to a regular expression.
func wildcards(p string) string {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	for i := 0; i < len(p); i++ {
		rest := p[i:]
		atStart := i == 0 || p[i-1] == '/'
		switch {
		case atStart && strings.HasPrefix(rest, "**/"):
			re.WriteString(`(?:.*/)?`)
			i += 2
		case atStart && rest == "**":
			re.WriteString(`.*`)
			i++
		case p[i] == '*':
			re.WriteString(`[^/]*`)
		case p[i] == '?':
			re.WriteString(`[^/]`)
		case p[i] == '[':
			class, length := bracket(rest)
			re.WriteString(class)
			i += length - 1
		case p[i] == '\\' && len(rest) > 1:
			i++
			re.WriteString(regexp.QuoteMeta(p[i : i+1]))
		default:
			re.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	re.WriteString(`\z`)
	return re.String()
}

// bracket translates the [...] that p begins with, and says how long it is; one without an end never compiles.
func bracket(p string) (class string, length int) {
	i := 1
	class = "["
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		class += "^/"
		i++
	}
	for first := true; i < len(p); first = false {
		switch {
		case p[i] == ']' && !first:
			return class + "]", i + 1
		case strings.HasPrefix(p[i:], "[:"):
			end := strings.Index(p[i:], ":]")
			if end < 0 {
				return "[", len(p)
			}
			class += p[i : i+end+2]
			i += end + 2
			continue
		case p[i] == '\\' && i+1 < len(p):
			i++
			class += regexp.QuoteMeta(p[i : i+1])
		case p[i] == '-' || p[i] > 0x7f:
			class += p[i : i+1]
		default:
			class += regexp.QuoteMeta(p[i : i+1])
		}
		i++
	}
	return "[", len(p)
}
