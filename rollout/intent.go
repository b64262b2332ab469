// Package rollout takes one release over a fleet. What is here yet is its
// first word: the intent, which is what the release parameter says.
package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// IntentSchema is the newest schema of an intent that this version reads.
const IntentSchema = 1

// maxIntent is the size of a standard parameter's value in bytes.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
const maxIntent = 4096

// Intent is what somebody wants: the value of one version of the release parameter.
type Intent struct {
	Schema     int             `json:"schema"`
	Epoch      int64           `json:"epoch,omitempty"`
	Revision   string          `json:"revision,omitempty"` // the full SHA; empty where only a ref was written
	Repository string          `json:"repository,omitempty"`
	Ref        string          `json:"ref,omitempty"`
	By         string          `json:"by,omitempty"`
	Message    string          `json:"message,omitempty"`
	Lock       string          `json:"lock,omitempty"` // the lock's nonce; empty means that the value was written by hand
	Policy     json.RawMessage `json:"policy,omitempty"`
	Force      bool            `json:"force,omitempty"`
	RollbackOf int64           `json:"rollback_of,omitempty"`
}

// ErrNotARef is in the error of a value or an argument that can't be a ref.
var ErrNotARef = errors.New("is not a branch, a tag or a full SHA")

// SchemaError says that an intent was written by a newer bootagent.
type SchemaError struct{ Schema int }

func (e *SchemaError) Error() string {
	return fmt.Sprintf("the intent has schema %d, and this version of bootagent reads %d: upgrade it", e.Schema, IntentSchema)
}

// ParseIntent reads a value of the release parameter: JSON as the CLI writes
// it, or a bare ref or SHA as a person does. The value is untrusted: what comes
// out has a Ref that is safe to give to git, and a Revision that is a full SHA or empty.
func ParseIntent(value string) (Intent, error) {
	if len(value) > maxIntent {
		return Intent{}, fmt.Errorf("the value has %d bytes, and a ref or an intent has at most %d", len(value), maxIntent)
	}
	text := strings.TrimSpace(value)
	if !strings.HasPrefix(text, "{") {
		if err := CheckRef(text); err != nil {
			return Intent{}, err
		}
		intent := Intent{Schema: IntentSchema, Ref: text}
		if sha := strings.ToLower(text); fullSHA.MatchString(sha) {
			intent.Revision = sha
		}
		return intent, nil
	}
	var intent Intent
	if err := json.Unmarshal([]byte(text), &intent); err != nil {
		return Intent{}, fmt.Errorf("the value is not the JSON of an intent: %w", err)
	}
	if intent.Schema > IntentSchema {
		return Intent{}, &SchemaError{intent.Schema}
	}
	if intent.Schema < 1 {
		return Intent{}, errors.New("the intent says no schema")
	}
	intent.Revision = strings.ToLower(intent.Revision)
	if intent.Revision != "" && !fullSHA.MatchString(intent.Revision) {
		return Intent{}, fmt.Errorf("the intent's revision %s is not a full SHA of 40 digits", quoted(intent.Revision))
	}
	if intent.Ref == "" {
		intent.Ref = intent.Revision
	}
	if err := CheckRef(intent.Ref); err != nil {
		return Intent{}, err
	}
	return intent, nil
}

var fullSHA = regexp.MustCompile(`^[0-9a-f]{40}$`)

// CheckRef says whether a text can be a branch, a tag or a SHA, by the rules
// of git check-ref-format, and one more: it does not begin with a dash.
// https://git-scm.com/docs/git-check-ref-format
func CheckRef(ref string) error {
	bad := func(why string) error { return fmt.Errorf("%s %w: %s", quoted(ref), ErrNotARef, why) }
	switch {
	case ref == "":
		return bad("it is empty")
	case len(ref) > 255:
		return bad("it is longer than 255 bytes")
	case !utf8.ValidString(ref):
		return bad("it is not UTF-8")
	case strings.HasPrefix(ref, "-"):
		return bad("it begins with a dash")
	case ref == "@", strings.Contains(ref, "@{"):
		return bad("@ alone and @{ have a meaning of their own in git")
	case strings.Contains(ref, ".."):
		return bad("it has two dots in a row")
	case strings.HasPrefix(ref, "/"), strings.HasSuffix(ref, "/"), strings.Contains(ref, "//"):
		return bad("it has an empty part between slashes")
	case strings.HasSuffix(ref, "."):
		return bad("it ends with a dot")
	}
	for _, part := range strings.Split(ref, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return bad("a part of it begins with a dot or ends with .lock")
		}
	}
	for _, r := range ref {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) {
			return bad(fmt.Sprintf("it has the character %q", r))
		}
	}
	return nil
}

// quoted is a text as it can be shown: escaped, and cut to 60 characters.
func quoted(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		s = string(runes[:60]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
