package signature

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	sshBegin = "-----BEGIN SSH SIGNATURE-----"
	sshEnd   = "-----END SSH SIGNATURE-----"
	// sshMagic begins the signature as well as what is signed (OpenSSH's PROTOCOL.sshsig).
	sshMagic = "SSHSIG"
	// namespace is what git signs in: a signature of a file or an e-mail, under the same key, is none of a commit.
	namespace = "git"
	// sshMax bounds an armored signature, in bytes; one of RSA with 16384 bits has 6 KiB.
	sshMax = 32 << 10
)

// sshSignature is OpenSSH's signature of a file (PROTOCOL.sshsig, "Blob format").
type sshSignature struct {
	key       ssh.PublicKey
	namespace string
	reserved  string
	hash      string
	signature ssh.Signature
}

// parseSSH reads an armored signature, and nothing beside it.
func parseSSH(armored string) (*sshSignature, error) {
	if len(armored) > sshMax {
		return nil, errors.New("its SSH signature is longer than any that is taken")
	}
	inside, ok := strings.CutPrefix(armored, sshBegin)
	inside, rest, ended := strings.Cut(inside, sshEnd)
	switch {
	case !ok || !ended:
		return nil, errors.New("its SSH signature is cut off")
	case strings.Contains(rest, sshBegin):
		return nil, errors.New("it carries two signatures: sign it once")
	case strings.TrimSpace(rest) != "":
		return nil, errors.New("something stands after its SSH signature")
	}
	blob, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(inside), ""))
	if err != nil {
		return nil, errors.New("its SSH signature is no base64")
	}
	magic, blob := blob[:min(len(sshMagic), len(blob))], blob[min(len(sshMagic), len(blob)):]
	var fields struct {
		Version                        uint32
		Key, Namespace, Reserved, Hash string
		Signature                      []byte
	}
	if string(magic) != sshMagic || ssh.Unmarshal(blob, &fields) != nil {
		return nil, errors.New("its SSH signature is malformed")
	}
	if fields.Version != 1 {
		return nil, fmt.Errorf("its SSH signature has the version %d, and only 1 is known", fields.Version)
	}
	s := &sshSignature{namespace: fields.Namespace, reserved: fields.Reserved, hash: fields.Hash}
	if s.key, err = ssh.ParsePublicKey([]byte(fields.Key)); err != nil {
		return nil, errors.New("the key in its SSH signature can't be read")
	}
	token := s.key.Type() == ssh.KeyAlgoSKED25519 || s.key.Type() == ssh.KeyAlgoSKECDSA256 // whose counter and flags stand behind
	if ssh.Unmarshal(fields.Signature, &s.signature) != nil || len(s.signature.Rest) > 0 && !token {
		return nil, errors.New("its SSH signature is malformed")
	}
	return s, nil
}

// verify says whether the key that the signature names made it, over these bytes.
func (s *sshSignature) verify(payload []byte) error {
	if s.namespace != namespace {
		return fmt.Errorf("its SSH signature was made for another purpose (the namespace is %q and not %q)", quoted(s.namespace), namespace)
	}
	if err := goodKey(s.key); err != nil {
		return err
	}
	if s.key.Type() == ssh.KeyAlgoRSA && s.signature.Format != ssh.KeyAlgoRSASHA512 && s.signature.Format != ssh.KeyAlgoRSASHA256 {
		return fmt.Errorf("its SSH signature was made with %s, which is broken: sign with rsa-sha2-512 or an Ed25519 key", quoted(s.signature.Format))
	}
	var digest []byte
	switch s.hash {
	case "sha512":
		sum := sha512.Sum512(payload)
		digest = sum[:]
	case "sha256":
		sum := sha256.Sum256(payload)
		digest = sum[:]
	default:
		return fmt.Errorf("its SSH signature uses the hash %q, and sha256 and sha512 are known", quoted(s.hash))
	}
	signed := append([]byte(sshMagic), ssh.Marshal(struct{ Namespace, Reserved, Hash, Digest string }{
		s.namespace, s.reserved, s.hash, string(digest)})...)
	if err := s.key.Verify(signed, &s.signature); err != nil {
		return fmt.Errorf("its SSH signature does not fit: it, or the commit, was changed after the key %s signed", describe(s.key))
	}
	return nil
}

// goodKey refuses kinds of keys whose signatures prove nothing, or nothing that we can judge.
func goodKey(key ssh.PublicKey) error {
	if _, ok := key.(*ssh.Certificate); ok {
		return errors.New("an SSH certificate is not supported: sign with the plain key, and list that")
	}
	kinds := []string{ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSA}
	if !slices.Contains(kinds, key.Type()) {
		return fmt.Errorf("keys of the kind %s are not taken: use Ed25519", quoted(key.Type()))
	}
	const leastRSA = 2048 // NIST SP 800-131A
	if bits := rsaBits(key); key.Type() == ssh.KeyAlgoRSA && bits < leastRSA {
		return fmt.Errorf("the RSA key %s has %d bits, and at least %d are needed: use Ed25519", describe(key), bits, leastRSA)
	}
	return nil
}

func describe(key ssh.PublicKey) string { return key.Type() + " " + ssh.FingerprintSHA256(key) }

// check verifies, then looks whether the key may sign.
func (s *signers) check(o Object, now time.Time) (by string, err error) {
	sig, err := parseSSH(o.Signature)
	if err != nil {
		return "", err
	}
	if err := sig.verify(o.Payload); err != nil {
		return "", err
	}
	return s.allowed(sig.key, o.Date, now)
}
