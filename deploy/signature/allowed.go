package signature

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// signers are the lines of a file of allowed signers (ssh-keygen(1), "ALLOWED SIGNERS").
type signers struct {
	list []signer
	// wanted are the names of whom a signature counts; empty takes all.
	wanted []string
}

// signer is one line.
type signer struct {
	principals    string // patterns, separated by commas
	key           ssh.PublicKey
	namespaces    string // patterns; "" is all
	after, before time.Time
}

// parseSigners reads such a file. Every line must make sense: what is passed over could be what somebody relies on.
func parseSigners(text string, wanted []string) (*signers, error) {
	s := &signers{wanted: wanted}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.Trim(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		one, err := parseSigner(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		s.list = append(s.list, one)
	}
	if len(s.list) == 0 {
		return nil, errors.New("it lists nobody, so that nothing could ever be deployed: add a line such as `you@example.com ssh-ed25519 AAAA…`")
	}
	return s, nil
}

const wantSigner = "want a name, options if any, a kind of key and the key: you@example.com namespaces=\"git\" ssh-ed25519 AAAA…"

func parseSigner(line string) (s signer, err error) {
	var rest string
	if strings.HasPrefix(line, `"`) {
		var ok bool
		if s.principals, rest, ok = strings.Cut(line[1:], `"`); !ok {
			return s, errors.New("a quotation mark is missing")
		}
	} else if at := strings.IndexAny(line, " \t"); at > 0 {
		s.principals, rest = line[:at], line[at:]
	}
	rest = strings.TrimLeft(rest, " \t")
	if s.principals == "" || rest == "" {
		return s, errors.New(wantSigner)
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest)) // it takes options the same way
	if err != nil {
		return s, errors.New(wantSigner)
	}
	if err := goodKey(key); err != nil {
		return s, err
	}
	s.key = key
	seen := map[string]bool{}
	for _, option := range options {
		name, value, hasValue := strings.Cut(option, "=")
		name = strings.ToLower(name)
		if seen[name] {
			return s, fmt.Errorf("the option %s stands there twice", name)
		}
		seen[name] = true
		if hasValue && (len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"') {
			return s, fmt.Errorf("the option %s: its value must stand in quotation marks", quoted(name))
		}
		value = strings.Trim(value, `"`)
		switch {
		case name == "cert-authority":
			return s, errors.New("cert-authority: SSH certificates are not supported: list the signers' own keys")
		case name == "namespaces" && value != "":
			s.namespaces = value
		case name == "valid-after":
			s.after, err = parseTime(value)
		case name == "valid-before":
			s.before, err = parseTime(value)
		default:
			return s, fmt.Errorf("the option %q is not known, or has no value: namespaces, valid-after and valid-before are", quoted(name))
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
	}
	if !s.after.IsZero() && !s.before.IsZero() && !s.after.Before(s.before) {
		return s, errors.New("valid-after is not before valid-before, so that the key is never good")
	}
	return s, nil
}

// parseTime reads OpenSSH's times: a date, with hours and minutes, and with seconds; Z is UTC, and without it the machine's
// own zone counts.
func parseTime(text string) (time.Time, error) {
	digits, utc := strings.CutSuffix(text, "Z")
	zone := time.Local
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(layout) == len(digits) {
			if at, err := time.ParseInLocation(layout, digits, zone); err == nil {
				return at, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: want YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with a Z for UTC", quoted(text))
}

// allowed says whether, and as whom, a key may sign what it dates so. As git has it, that date is what valid-after and
// valid-before are held to: what a key signed in its time stays good. Whoever stole a key can date back, so a stolen key's
// line is removed, not dated.
func (s *signers) allowed(key ssh.PublicKey, date, now time.Time) (by string, err error) {
	if date.IsZero() {
		date = now
	}
	why := fmt.Errorf("it is signed with the SSH key %s, which source.verify.allowed_signers does not list", describe(key))
	for _, line := range s.list {
		if !bytes.Equal(line.key.Marshal(), key.Marshal()) {
			continue
		}
		as := fmt.Sprintf("%s with the SSH key %s", quoted(line.principals), describe(key))
		switch {
		case !s.wants(line.principals):
			why = fmt.Errorf("it is signed by %s, who is not among source.verify.principals (%s)", as, strings.Join(s.wanted, ", "))
		case line.namespaces != "" && !matchList(line.namespaces, namespace):
			why = fmt.Errorf("it is signed by %s, whose line in source.verify.allowed_signers is for other namespaces than git (%s)", as, quoted(line.namespaces))
		case !line.after.IsZero() && date.Before(line.after):
			why = fmt.Errorf("it is signed by %s, whose key is valid only after %s, and it is of %s", as, stamp(line.after), stamp(date))
		case !line.before.IsZero() && date.After(line.before):
			why = fmt.Errorf("it is signed by %s, whose key was valid until %s, and it is of %s", as, stamp(line.before), stamp(date))
		default:
			return as, nil
		}
	}
	return "", why
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func (s *signers) wants(principals string) bool {
	for _, name := range s.wanted {
		if matchList(principals, name) {
			return true
		}
	}
	return len(s.wanted) == 0
}

// matchList follows OpenSSH's match_pattern_list: any of the patterns, unless a negated one matches too.
func matchList(patterns, name string) bool {
	found := false
	for p := range strings.SplitSeq(patterns, ",") {
		positive, negated := strings.CutPrefix(p, "!")
		if MatchPattern(positive, name) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

// MatchPattern says whether a text fits a pattern of OpenSSH, in which * and ? match any characters: in linear space and at most
// quadratic time.
func MatchPattern(pattern, text string) bool {
	p, t, star, resume := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			resume++
			p, t = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// rsaBits is 0 for a key of another kind.
func rsaBits(key ssh.PublicKey) int {
	inner, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return 0
	}
	if k, ok := inner.CryptoPublicKey().(*rsa.PublicKey); ok {
		return k.N.BitLen()
	}
	return 0
}
