package source

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/unit"
)

// What callers tell apart, with errors.Is.
var (
	ErrBadRef          = errors.New("not a legal name of a branch, tag or commit")
	ErrRefNotFound     = errors.New("no such branch or tag")
	ErrAmbiguous       = errors.New("it is the name of a branch and of a tag, with different commits")
	ErrNoRevision      = errors.New("the server does not have this commit")
	ErrEmptyRepository = errors.New("the repository is empty: push a commit first")
	ErrDenied          = errors.New("access denied")
	ErrNoRepository    = errors.New("no such repository")
	ErrHostKey         = errors.New("the host's key is not one that is trusted")
	ErrSignature       = errors.New("no signature that counts")
	ErrSHA256          = errors.New("the repository uses SHA-256 object names, which are not supported: use one with SHA-1")
)

// RevisionError is a failure that lies in the commit itself: the same commit fails again, on every machine.
type RevisionError struct{ Err error }

func (e *RevisionError) Error() string { return e.Err.Error() }
func (e *RevisionError) Unwrap() error { return e.Err }

// Revision says that the revision is to blame; it is there so that callers need not import this package to know.
func (*RevisionError) Revision() bool { return true }

func isRevision(err error) bool {
	var r *RevisionError
	return errors.As(err, &r)
}

// explained is an error at the package's border: what was attempted, why it failed, and no credentials.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// explainMax bounds an error's text, in bytes: decoders quote what they can't read, 64 KiB of it.
const explainMax = 2000

// explain makes the error that callers see. A cancelled context shows its cause, and nothing secret stays in the text.
func (s *Source) explain(what string, err error) error {
	return &explained{text: unit.Cut(s.scrub(fmt.Sprintf("%s: %v", what, err)), explainMax), err: err}
}

// blame marks errors that lie in a commit's tree as such.
func blame(err error) error {
	var hostile *tree.HostileError
	var limit *tree.LimitError
	if (errors.As(err, &hostile) || errors.As(err, &limit)) && !isRevision(err) {
		return &RevisionError{Err: err}
	}
	return err
}

// userinfo finds credentials in the URLs that other packages put into their errors (a proxy's, a redirect's). The user of
// an ssh:// URL is none.
var userinfo = regexp.MustCompile(`(ssh)?://[^/@\s"]+@`)

func hideUserinfo(text string) string {
	return userinfo.ReplaceAllStringFunc(text, func(found string) string {
		scheme, user, _ := strings.Cut(found, "://")
		if scheme == "ssh" && !strings.Contains(user, ":") {
			return found
		}
		return scheme + "://" + masked + "@"
	})
}

func (s *Source) scrub(text string) string {
	if secret := string(s.config.Auth.Secret); secret != "" {
		text = strings.ReplaceAll(text, secret, masked)
	}
	return hideUserinfo(visible(text))
}

// visible drops what a terminal would obey, and what would show text in another order than it has: servers, names and
// messages of others are in these texts.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
}

// quoted shows what a person typed, in bounds.
func quoted(ref string) string {
	const most = 80
	if len(ref) > most {
		return strconv.Quote(ref[:most]) + "…"
	}
	return strconv.Quote(ref)
}
