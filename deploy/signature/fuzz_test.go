package signature

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const (
	fuzzKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	fuzzSig = sshBegin + "\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAg4yqqeRXOubRJ0bpQ6ioouxpuAf\nkL2iRaLR2HaX0YomUAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5\nAAAAQAAA\n" + sshEnd + "\n"
)

// FuzzObject takes any commit and any tag apart, and any signature: no panic, nothing that was not signed by somebody of the
// file is taken, and what is left out of the payload is the signature alone.
func FuzzObject(f *testing.F) {
	const person = "T <t@e.x> 1700000000 +0000\n"
	f.Add([]byte("tree x\nauthor " + person + "committer " + person + "gpgsig " + strings.ReplaceAll(fuzzSig, "\n", "\n ") + "\n\nm\n"))
	f.Add([]byte("object x\ntype commit\ntag v1\ntagger " + person + "\nm\n" + fuzzSig))
	f.Add([]byte("tree x\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iHUEABYKAB0WIQ==\n =AAAA\n -----END PGP SIGNATURE-----\n\n"))
	f.Add([]byte("tree x\n y\n\ngpgsig z\n"))
	f.Add([]byte(" \n"))
	known, err := parseSigners("alice "+fuzzKey, nil)
	if err != nil {
		f.Fatal(err)
	}
	trust := &Trust{signers: known, keys: &keyring{}, now: time.Now}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		for _, take := range []func() (Object, error){
			func() (Object, error) { return Commit(raw, false) }, func() (Object, error) { return Commit(raw, true) }, func() (Object, error) { return Tag(raw) },
		} {
			o, err := take()
			if !bytes.Equal(before, raw) {
				t.Fatalf("%q was changed to %q", before, raw)
			}
			if err != nil {
				continue
			}
			if by, err := trust.Check(o); err == nil {
				t.Errorf("%q is signed by %s", raw, by)
			}
			if len(o.Payload) > len(raw) || !bytes.Contains(raw, []byte("gpgsig")) && o.Signature == "" && !bytes.Equal(o.Payload, raw) {
				t.Errorf("of %q were signed %q", raw, o.Payload)
			}
		}
		if sig, err := parseSSH(string(raw)); err == nil && sig.verify(nil) == nil {
			t.Errorf("%q is a signature of nothing", raw)
		}
	})
}

// FuzzAllowedSigners: any text is read or refused, and every key that is listed is in it.
func FuzzAllowedSigners(f *testing.F) {
	for _, s := range []string{"a " + fuzzKey, "a,!b*,?c namespaces=\"git\" " + fuzzKey, "\"a b\" valid-after=\"20230101Z\",valid-before=\"202401010000\" " + fuzzKey,
		"* cert-authority " + fuzzKey, "a namespaces=\"x,\\\"y\" " + fuzzKey, "# \n\n", "a ssh-rsa AAAA", fuzzKey} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSigners(text, []string{"alice"})
		if err != nil {
			return
		}
		if len(s.list) == 0 {
			t.Errorf("%q lists nobody, and is taken", text)
		}
		for _, line := range s.list {
			_, err := s.allowed(line.key, time.Unix(1700000000, 0), time.Now())
			if err == nil && !strings.Contains(text, "AAAA") {
				t.Errorf("%q allows %s", text, describe(line.key))
			}
		}
	})
}
