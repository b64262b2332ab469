package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

const (
	pgpBegin = "-----BEGIN PGP SIGNATURE-----"
	pgpEnd   = "-----END PGP SIGNATURE-----"
	pgpKeys  = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	// pgpMax bounds an armored signature, in bytes; one of RSA with 16384 bits has 3 KiB.
	pgpMax = 32 << 10
	// keysMax bounds the keys of a keyring.
	keysMax = 1000
)

// keyring is the signers' public keys.
type keyring struct {
	list openpgp.EntityList
	mu   sync.Mutex // the library notes in the keys what it has found out about their revocations
}

// parseKeyring reads keys as `gpg --export` writes them, binary, or armored in one block or several. Every key must be
// readable: the library's own reader passes over those that are not.
func parseKeyring(data []byte) (*keyring, error) {
	k := &keyring{}
	if !bytes.Contains(data, []byte("-----BEGIN PGP")) {
		return k, k.read(bytes.NewReader(data))
	}
	for rest := data; ; {
		at := bytes.Index(rest, []byte("-----BEGIN PGP"))
		if at < 0 {
			return k, nil
		}
		rest = rest[at:]
		if !bytes.HasPrefix(rest, []byte(pgpKeys)) {
			return nil, errors.New("it holds something else than public keys: want what `gpg --export --armor` writes")
		}
		end := bytes.Index(rest, []byte("-----END PGP PUBLIC KEY BLOCK-----"))
		if end < 0 {
			return nil, errors.New("a block of keys in it is cut off")
		}
		end += len("-----END PGP PUBLIC KEY BLOCK-----")
		block, err := armor.Decode(bytes.NewReader(append(slices.Clone(rest[:end]), '\n')))
		if err != nil {
			return nil, fmt.Errorf("a block of keys in it can't be read: %s", quoted(err.Error()))
		}
		if err := k.read(block.Body); err != nil {
			return nil, err
		}
		rest = rest[end:]
	}
}

func (k *keyring) read(r io.Reader) error {
	packets := packet.NewReader(r)
	for {
		e, err := openpgp.ReadEntity(packets)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("its key number %d can't be read (%s): export it anew, without those that sign nothing", len(k.list)+1, quoted(err.Error()))
		}
		if e.PrivateKey != nil {
			return errors.New("it holds a private key, which does not belong on an instance: want what `gpg --export` writes")
		}
		if k.list = append(k.list, e); len(k.list) > keysMax {
			return fmt.Errorf("it holds more than %d keys", keysMax)
		}
	}
	if len(k.list) == 0 {
		return errors.New("it holds no key, so that nothing could ever be deployed: want what `gpg --export` writes")
	}
	return nil
}

// parsePGP reads an armored signature: one, and nothing beside it.
func parsePGP(armored string) (*packet.Signature, []byte, error) {
	if len(armored) > pgpMax {
		return nil, nil, errors.New("its OpenPGP signature is longer than any that is taken")
	}
	_, rest, ended := strings.Cut(armored, pgpEnd)
	switch {
	case !ended:
		return nil, nil, errors.New("its OpenPGP signature is cut off")
	case strings.Contains(rest, "-----BEGIN "):
		return nil, nil, errors.New("it carries two signatures: sign it once")
	case strings.TrimSpace(rest) != "":
		return nil, nil, errors.New("something stands after its OpenPGP signature")
	}
	malformed := errors.New("its OpenPGP signature is malformed")
	block, err := armor.Decode(strings.NewReader(strings.TrimRight(armored, " \t\r\n") + "\n"))
	if err != nil || block.Type != openpgp.SignatureType {
		return nil, nil, malformed
	}
	raw, err := io.ReadAll(block.Body)
	if err != nil {
		return nil, nil, malformed
	}
	var sig *packet.Signature
	for packets := packet.NewReader(bytes.NewReader(raw)); ; {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		one, ok := p.(*packet.Signature)
		if err != nil || !ok {
			return nil, nil, malformed
		}
		if sig != nil {
			return nil, nil, errors.New("it carries two signatures: sign it once")
		}
		sig = one
	}
	switch {
	case sig == nil || sig.IssuerKeyId == nil:
		return nil, nil, malformed
	case sig.Version != 4 && sig.Version != 6:
		return nil, nil, fmt.Errorf("its OpenPGP signature has the version %d, and 4 and 6 are known", sig.Version)
	case sig.SigType != packet.SigTypeBinary:
		return nil, nil, fmt.Errorf("its OpenPGP signature is of another type (%#x) than one of a commit", sig.SigType)
	}
	return sig, raw, nil
}

// check verifies. The key must have been good when it signed, and, as GnuPG has it, be neither expired nor revoked now.
func (k *keyring) check(o Object, now time.Time) (by string, err error) {
	sig, raw, err := parsePGP(o.Signature)
	if err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	id := *sig.IssuerKeyId
	candidates := k.list.EntitiesById(id)
	if len(candidates) == 0 {
		return "", fmt.Errorf("it is signed with the OpenPGP key %s, which is not in source.verify.keys", keyName(sig))
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	for _, e := range candidates { // more than one only where keys have the same short name
		_, _, verifyErr := openpgp.VerifyDetachedSignature(openpgp.EntityList{e}, bytes.NewReader(o.Payload), bytes.NewReader(raw), config)
		if verifyErr == nil {
			verifyErr = goodNow(e, id, now, config)
		}
		by = fmt.Sprintf("%s with the OpenPGP key %s", owner(e), keyName(sig))
		if verifyErr == nil {
			return by, nil
		}
		err = fmt.Errorf("it is signed by %s, but %s", by, explain(verifyErr))
	}
	return "", err
}

// goodNow is about a key that was good when it signed.
func goodNow(e *openpgp.Entity, id uint64, now time.Time, config *packet.Config) error {
	if _, err := e.VerifyPrimaryKey(now, config); err != nil {
		return err
	}
	for _, sub := range e.Subkeys {
		if sub.PublicKey.KeyId == id {
			if _, err := sub.Verify(now, config); err != nil {
				return err
			}
		}
	}
	return nil
}

func explain(err error) string {
	var broken pgperrors.SignatureError
	switch {
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "the key is revoked: sign with another one"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "the key has expired: if its owner has made it valid for longer, put the key as it is now into source.verify.keys"
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return "the signature has expired, or is of a time to come: sign anew"
	case errors.As(err, &broken):
		return "the signature does not fit, or is too weak; either it, or what it was made for, was changed (" + quoted(err.Error()) + ")"
	}
	return "the key is not one that may sign (" + quoted(err.Error()) + ")"
}

// keyName is the signing key's fingerprint, or its id where the signature has no more.
func keyName(sig *packet.Signature) string {
	if len(sig.IssuerFingerprint) > 0 {
		return fmt.Sprintf("%X", sig.IssuerFingerprint)
	}
	return fmt.Sprintf("%016X", *sig.IssuerKeyId)
}

// owner is who the key says that it is of: whoever put it into the keyring has looked.
func owner(e *openpgp.Entity) string {
	var names []string
	for name := range e.Identities {
		names = append(names, quoted(name))
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "a key without a name"
	}
	return names[0]
}
