package recipe

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

var (
	nameForm     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})(:[0-9]{1,5})?$`)
)

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q can't be a process's name; use lower-case letters, digits and dashes, a letter first, at most 31", shorten(name))
	}
	return nil
}

// checkShared says whether a path may be a shared directory's.
func checkShared(path string) error { return checkDirectory(path, "uploads") }

// checkCached says whether a path may be that of a directory which is carried from one build to the next.
func checkCached(path string) error {
	if err := checkDirectory(path, "node_modules"); err != nil {
		return err
	}
	if top, _, _ := strings.Cut(path, "/"); top == FileName || top == ProcfileName {
		return fmt.Errorf("%q is what says how the app is built and run, and comes from the commit alone", shorten(path))
	}
	return nil
}

// checkDirectory says whether a path may be that of a directory below the app's.
func checkDirectory(path, example string) error {
	parts := strings.Split(path, "/")
	switch {
	case path == "" || path == ".":
		return fmt.Errorf("it is the app's own directory; name one below it, such as %s", example)
	case strings.HasPrefix(path, "/"):
		return fmt.Errorf("%q must be relative to the app's directory, such as %s", shorten(path), example)
	case slices.Contains(parts, ".."):
		return fmt.Errorf("%q leads out of the app's directory", shorten(path))
	case len(path) > maxSharedPath || strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		return fmt.Errorf("%q can't be a directory's name; it has at most %d bytes, no backslash and no control characters", shorten(path), maxSharedPath)
	case slices.Contains(parts, "") || slices.Contains(parts, "."):
		return fmt.Errorf("%q has an empty part, or a dot for one; write it as a/b", shorten(path))
	case slices.ContainsFunc(parts, func(part string) bool { return strings.EqualFold(part, ".git") }):
		return fmt.Errorf("%q is git's own", shorten(path))
	}
	return nil
}

// CheckVariable says whether an app may be given an environment variable of that name.
func CheckVariable(name string) error {
	switch {
	case name == "PORT":
		return errors.New("PORT is chosen by bootagent for each start; the app reads it")
	case strings.HasPrefix(name, "BOOTAGENT_"):
		return fmt.Errorf("%q: names that begin with BOOTAGENT_ are set by bootagent itself", shorten(name))
	case !variableForm.MatchString(name):
		return fmt.Errorf("%q can't be a variable's name; use letters, digits and underscores, no digit first", shorten(name))
	}
	return nil
}

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || len(path) > 1024 || strings.ContainsAny(path, " #\r\n\t") {
		return fmt.Errorf("%q is not a path; it begins with one slash and has no spaces, for example /up", shorten(path))
	}
	if _, err := url.ParseRequestURI(path); err != nil {
		return fmt.Errorf("%q is not a path; its escapes are wrong", shorten(path))
	}
	return nil
}

func checkHost(host string) error {
	if !hostForm.MatchString(host) {
		return fmt.Errorf("%q is not a host name, for example shop.example.com", shorten(host))
	}
	return nil
}

// shorten keeps a message readable whatever a file holds.
func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}
