package source

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" // OpenSSH hashes host names with it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bootagent/bootagent/deploy/signature"
)

// knownHostsMax bounds the text of known hosts, in bytes.
const knownHostsMax = 1 << 20

// pins are the keys by which one host is known.
type pins struct {
	keys        []ssh.PublicKey
	authorities []ssh.PublicKey
	revoked     map[string]bool // by the key's wire form; whatever host the line names
}

// parsePins takes from a known_hosts file (sshd(8)) what is about one host and port. Every line must make sense: one that is
// skipped could be the one that revokes. Unlike ssh(1), a line without a port is about port 22 alone.
func parsePins(text, host, port string) (*pins, error) {
	if len(text) > knownHostsMax {
		return nil, fmt.Errorf("it is longer than %d bytes", knownHostsMax)
	}
	name := host
	if port != defaultPort("ssh") {
		name = "[" + host + "]:" + port
	}
	p := &pins{revoked: map[string]bool{}}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		marker, patterns, key, _, _, err := ssh.ParseKnownHosts([]byte(line))
		if errors.Is(err, io.EOF) {
			err = errors.New("want a host, a kind of key and the key")
		}
		if err == nil && key.Type() == "ssh-dss" {
			err = errors.New("DSA keys are broken: pin another kind")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		switch marker {
		case "":
			if matchesHost(patterns, name) {
				p.keys = append(p.keys, key)
			}
		case "cert-authority":
			if matchesHost(patterns, name) {
				p.authorities = append(p.authorities, key)
			}
		case "revoked":
			p.revoked[string(key.Marshal())] = true
		default:
			return nil, fmt.Errorf("line %d: the marker @%s is neither @cert-authority nor @revoked", number, printable(marker))
		}
	}
	return p, nil
}

// matchesHost follows OpenSSH's match_hostname: any pattern, unless a negated one matches too.
func matchesHost(patterns []string, name string) bool {
	found := false
	for _, p := range patterns {
		negated := strings.HasPrefix(p, "!")
		p = strings.TrimPrefix(p, "!")
		match := false
		if strings.HasPrefix(p, "|") {
			match = matchesHash(p, name)
		} else {
			match = signature.MatchPattern(strings.ToLower(p), name)
		}
		if match && negated {
			return false
		}
		found = found || match
	}
	return found
}

// matchesHash knows hashed names: |1|salt|HMAC-SHA1 of the name under the salt (hostfile.c).
func matchesHash(hashed, name string) bool {
	parts := strings.Split(hashed, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	want, err2 := base64.StdEncoding.DecodeString(parts[3])
	if err != nil || err2 != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}

func (p *pins) empty() bool { return len(p.keys) == 0 && len(p.authorities) == 0 }

// algorithms are those whose keys are pinned. SHA-1 signatures (ssh-rsa) are not among them.
func (p *pins) algorithms() []string {
	var all []string
	if len(p.authorities) > 0 {
		all = append(all, ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01)
	}
	for _, kind := range p.plainKinds() {
		if kind == ssh.KeyAlgoRSA {
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			all = append(all, kind)
		}
	}
	return all
}

// kinds are those of the pinned keys, for people.
func (p *pins) kinds() []string {
	all := p.plainKinds()
	if len(p.authorities) > 0 {
		all = append(all, "certificates")
	}
	return all
}

func (p *pins) plainKinds() []string {
	var all []string
	for _, k := range p.keys {
		if !slices.Contains(all, k.Type()) {
			all = append(all, k.Type())
		}
	}
	return all
}

// check judges the key that a host shows. The error is an ErrHostKey that names both fingerprints.
func (p *pins) check(address string, shown ssh.PublicKey) error {
	if cert, ok := shown.(*ssh.Certificate); ok {
		if p.isRevoked(cert) {
			return fmt.Errorf("%w: the host's certificate, or its authority, is marked @revoked in source.known_hosts (%s): "+
				"give the host a new one", ErrHostKey, ssh.FingerprintSHA256(cert.Key))
		}
		if contains(p.authorities, cert.SignatureKey) {
			checker := ssh.CertChecker{
				IsHostAuthority: func(key ssh.PublicKey, _ string) bool { return contains(p.authorities, key) },
				IsRevoked:       p.isRevoked,
			}
			if err := checker.CheckHostKey(address, nil, cert); err != nil {
				return fmt.Errorf("%w: the host's certificate is not good: %w", ErrHostKey, err)
			}
			return nil
		}
		shown = cert.Key // as ssh(1) does: a certificate of nobody we know is still a key
	}
	switch {
	case p.revoked[string(shown.Marshal())]:
		return fmt.Errorf("%w: the host shows the key %s, which is marked @revoked in source.known_hosts: give the host a new one",
			ErrHostKey, describe(shown))
	case contains(p.keys, shown):
		return nil
	}
	var pinned []string
	for _, k := range p.keys {
		pinned = append(pinned, describe(k))
	}
	for _, k := range p.authorities {
		pinned = append(pinned, "the authority "+describe(k))
	}
	return fmt.Errorf("%w: %s shows %s, but source.known_hosts has %s: somebody may be in between (an attack), or the host has a new key; "+
		"believe that only if whoever runs it confirms the new fingerprint, and put the new line into source.known_hosts then",
		ErrHostKey, address, describe(shown), strings.Join(pinned, " and "))
}

func (p *pins) isRevoked(cert *ssh.Certificate) bool {
	return p.revoked[string(cert.Key.Marshal())] || p.revoked[string(cert.SignatureKey.Marshal())]
}

func contains(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) })
}

func describe(key ssh.PublicKey) string { return key.Type() + " " + ssh.FingerprintSHA256(key) }

// howToPin tells how the line for source.known_hosts is come by. Nothing is trusted on first use: an instance that boots has no
// earlier use, and nobody looks.
func howToPin(l location) string {
	port := ""
	if l.port != defaultPort("ssh") {
		port = "-p " + l.port + " "
	}
	return fmt.Sprintf("run `ssh-keyscan %s%s`, compare the fingerprint (`ssh-keygen -lf -`) with the one that the host's owner "+
		"publishes, and put the line into source.known_hosts", port, l.host)
}
