// Package signature says who signed a commit or an annotated tag of git, and whether that is somebody who may: with
// OpenPGP against a keyring, or with SSH against a file of allowed signers. It knows nothing of where objects come
// from, and reads nothing but the two files.
//
// It judges as `git verify-commit` and `git verify-tag` do, and fails closed: what can't be read, is there twice or is
// of a kind that is not known is no good signature. X.509 signatures (gpgsm, gitsign) are not supported.
package signature

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Config names the files, by absolute path; one of the two at least.
type Config struct {
	// Keys is an OpenPGP keyring: the signers' public keys, as `gpg --export` writes them, armored or not.
	Keys string
	// AllowedSigners is a file of allowed signers (ssh-keygen(1)).
	AllowedSigners string
	// Principals are the names by which signers must be listed in AllowedSigners; empty takes everybody who is there.
	Principals []string
}

// Trust is whose signatures count.
type Trust struct {
	keys    *keyring
	signers *signers
	now     func() time.Time
}

// Open reads the files, as they are now. Its errors are the machine's: of a file that is missing, that somebody else
// than its owner and root may write, or that makes no sense.
func Open(c Config) (*Trust, error) {
	if c.Keys == "" && c.AllowedSigners == "" {
		return nil, errors.New("signatures are to be verified, but neither source.verify.keys nor source.verify.allowed_signers says whose")
	}
	t := &Trust{now: time.Now}
	if c.Keys != "" {
		data, err := readTrusted(c.Keys)
		if err == nil {
			t.keys, err = parseKeyring(data)
		}
		if err != nil {
			return nil, fmt.Errorf("source.verify.keys, %s: %w", c.Keys, err)
		}
	}
	if c.AllowedSigners != "" {
		data, err := readTrusted(c.AllowedSigners)
		if err == nil {
			t.signers, err = parseSigners(string(data), c.Principals)
		}
		if err != nil {
			return nil, fmt.Errorf("source.verify.allowed_signers, %s: %w", c.AllowedSigners, err)
		}
	}
	return t, nil
}

// ErrUnsigned is an object without a signature.
var ErrUnsigned = errors.New("it is not signed")

// Check verifies an object's signature and says who made it, for people. The error says what is wrong with the
// object; the same object fails again until the files change (or, with a key that expires, the time).
func (t *Trust) Check(o Object) (by string, err error) {
	if o.Signature == "" {
		return "", ErrUnsigned
	}
	switch {
	case strings.HasPrefix(o.Signature, sshBegin):
		if t.signers == nil {
			return "", errors.New("it is signed with SSH, and source.verify knows OpenPGP keys alone: name a file of allowed signers in source.verify.allowed_signers")
		}
		return t.signers.check(o, t.now())
	case strings.HasPrefix(o.Signature, pgpBegin):
		if t.keys == nil {
			return "", errors.New("it is signed with OpenPGP, and source.verify knows SSH signers alone: name a keyring in source.verify.keys")
		}
		return t.keys.check(o, t.now())
	case strings.HasPrefix(o.Signature, "-----BEGIN SIGNED MESSAGE-----"):
		return "", errors.New("it is signed with X.509 (gpgsm or gitsign), which is not supported: sign with OpenPGP or SSH")
	}
	return "", errors.New("its signature is of no kind that is known: sign with OpenPGP or SSH")
}

// quoted shows a text of somebody else's choice, in bounds and without what a terminal would obey.
func quoted(text string) string {
	const most = 120
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
