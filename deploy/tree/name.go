package tree

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// HostileError is a name or a link that must not be written. Trying the same tree again gives the same.
type HostileError struct {
	Path   string
	Reason string
}

func (e *HostileError) Error() string {
	return fmt.Sprintf("%q is refused: %s", shorten(e.Path), e.Reason)
}

// LimitError is a tree that is bigger than what was allowed.
type LimitError struct {
	Path  string // where the limit was passed
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%q goes past the limit of %d %s", shorten(e.Path), e.Limit, e.What)
}

// shorten keeps a hostile path from filling the log.
func shorten(name string) string {
	const most = 300
	if len(name) <= most {
		return name
	}
	return name[:most] + "…"
}

// nameMax is NAME_MAX of every usual Linux filesystem.
const nameMax = 255

// check validates a whole slash-separated path.
func (w *Writer) check(name string) error {
	if len(name) > w.limits.PathBytes {
		return &LimitError{Path: name, What: "bytes in a path", Limit: int64(w.limits.PathBytes)}
	}
	if strings.HasPrefix(name, "/") {
		return &HostileError{Path: name, Reason: "a path must not be absolute"}
	}
	if depth := strings.Count(name, "/"); depth > w.limits.Depth {
		return &LimitError{Path: name, What: "directories above a file", Limit: int64(w.limits.Depth)}
	}
	for component := range strings.SplitSeq(name, "/") {
		if reason := badName(component); reason != "" {
			return &HostileError{Path: name, Reason: reason}
		}
	}
	if _, isLink := w.links[name]; isLink {
		return &HostileError{Path: name, Reason: "the name stands there twice"}
	}
	return nil
}

// CheckName says whether name may be one component of a path; the error is a *HostileError.
func CheckName(name string) error {
	if strings.Contains(name, "/") {
		return &HostileError{Path: name, Reason: "a name must not contain a slash"}
	}
	if reason := badName(name); reason != "" {
		return &HostileError{Path: name, Reason: reason}
	}
	return nil
}

// badName gives the reason why a component must not be written, or "".
func badName(name string) string {
	switch {
	case name == "":
		return "a name must not be empty"
	case name == "." || name == "..":
		return "a name must not be . or .."
	case len(name) > nameMax:
		return fmt.Sprintf("a name must not be longer than %d bytes", nameMax)
	case isDotGit(name):
		return "a name must not be .git, nor read as .git on another filesystem"
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return "a name must not contain control characters"
		}
	}
	return ""
}

// isDotGit follows git's own verify_path with core.protectHFS and core.protectNTFS (path.c, utf8.c): nothing that any
// filesystem may take for the repository's own directory.
func isDotGit(name string) bool {
	lower := strings.ToLower(name)
	// NTFS: .git and its short name git~1, then dots and spaces, which it drops, or a stream or directory separator.
	for _, prefix := range []string{".git", "git~1"} {
		if rest, ok := strings.CutPrefix(lower, prefix); ok {
			rest = strings.TrimLeft(rest, ". ")
			if rest == "" || rest[0] == '\\' || rest[0] == ':' {
				return true
			}
		}
	}
	return strings.EqualFold(hfsFold(name), ".git")
}

// hfsFold drops the characters that HFS+ ignores in names (git's utf8.c, next_hfs_char).
func hfsFold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		case r == utf8.RuneError:
			return '?'
		}
		return r
	}, name)
}
