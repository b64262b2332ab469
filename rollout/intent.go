// Package rollout takes one release over a fleet: Step decides, without clock, goroutine or I/O, what one agent does next about
// it, from the fleet's records (Rollout, Stable) and the Intent that the release parameter says; operate.go has what an operator
// may ask for, and Store is where the records are.
package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// IntentSchema is the newest schema of an intent that this version reads.
const IntentSchema = 1

// MaxIntent is the size of a standard parameter's value in bytes.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
const MaxIntent = 4096

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

// Names says whether a release may have come from this intent, the value of the version with its number.
func (i Intent) Names(r Release) bool {
	if i.Revision != "" {
		return i.Revision == r.Revision
	}
	return i.Ref == r.Ref
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
// out has a Ref that is safe to give to git, a Revision that is a full SHA or empty, and texts that are safe to show.
// JSON that two readers may take differently (a key twice, or in another spelling) is refused.
func ParseIntent(value string) (Intent, error) {
	if len(value) > MaxIntent {
		return Intent{}, fmt.Errorf("the value has %d bytes, and a ref or an intent has at most %d", len(value), MaxIntent)
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
	err := json.Unmarshal([]byte(text), &intent)
	if err == nil {
		err = checkKeys(text)
	}
	if err != nil {
		return Intent{}, fmt.Errorf("the value is not the JSON of an intent: %w", told(err))
	}
	if intent.Schema > IntentSchema {
		return Intent{}, &SchemaError{intent.Schema}
	}
	if intent.Schema < 1 {
		return Intent{}, errors.New("the intent says no schema")
	}
	if err := intent.checkTexts(); err != nil {
		return Intent{}, err
	}
	intent.Revision = strings.ToLower(intent.Revision)
	if intent.Revision != "" && !fullSHA.MatchString(intent.Revision) {
		return Intent{}, fmt.Errorf("the intent's revision %s is not a full SHA of 40 digits, or 64 of SHA-256", quoted(intent.Revision))
	}
	if intent.Ref == "" {
		intent.Ref = intent.Revision
	}
	if err := CheckRef(intent.Ref); err != nil {
		return Intent{}, err
	}
	return intent, nil
}

var (
	fullSHA = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`) // of SHA-1, and of SHA-256
	keyForm = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
)

// checkKeys refuses a key that stands there twice, of which encoding/json takes the last, and one that it takes for another
// because it looks away from case. The text is a JSON object.
func checkKeys(text string) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		key, ok := token.(string)
		switch {
		case !ok || !keyForm.MatchString(key):
			return fmt.Errorf("%s can't be a key: those have lower-case letters, digits and underscores", quoted(key))
		case seen[key]:
			return fmt.Errorf("%s is given twice", quoted(key))
		}
		seen[key] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
	}
	return nil
}

// told keeps what is wrong with a JSON, without the pages that encoding/json quotes of a number that is too large.
func told(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("%s is %s, want %s", kind.Field, quoted(kind.Value), kind.Type)
	}
	return err
}

// checkTexts refuses what a terminal would act on, or show in another order. A message may have lines.
func (i Intent) checkTexts() error {
	message := strings.NewReplacer("\n", "", "\t", "").Replace(i.Message)
	for _, text := range []struct{ key, value string }{
		{"repository", i.Repository}, {"by", i.By}, {"lock", i.Lock}, {"message", message},
	} {
		for _, r := range text.value {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
				return fmt.Errorf("the intent's %s has the character %q, which is not safe to show", text.key, r)
			}
		}
	}
	return nil
}

// CheckRef says whether a text can be a branch, a tag or a SHA, by the rules
// of git check-ref-format, and two more: it does not begin with a dash, and every character of it shows.
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
		if r == ' ' || !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(`~^:?*[\`, r) {
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
