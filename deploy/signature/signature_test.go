package signature_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/deploy/signature"
	"github.com/bootagent/bootagent/internal/gittest"
)

// write puts a text into a file of a directory that nobody else may write to.
func write(t testing.TB, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func open(t testing.TB, c signature.Config) *signature.Trust {
	t.Helper()
	trust, err := signature.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func allowing(t testing.TB, lines string, principals ...string) *signature.Trust {
	t.Helper()
	return open(t, signature.Config{AllowedSigners: write(t, "allowed_signers", lines), Principals: principals})
}

func knowing(t testing.TB, keys string) *signature.Trust {
	t.Helper()
	return open(t, signature.Config{Keys: write(t, "keys.asc", keys)})
}

// check takes an object of a repository apart and verifies it.
func check(repo *gittest.Repo, trust *signature.Trust, sha string) (string, error) {
	return checkRaw(trust, repo.Git("cat-file", "-t", sha), repo.Raw(repo.Git("cat-file", "-t", sha), sha))
}

func checkRaw(trust *signature.Trust, kind, raw string) (by string, err error) {
	var o signature.Object
	if kind == "tag" {
		o, err = signature.Tag([]byte(raw))
	} else {
		o, err = signature.Commit([]byte(raw), false)
	}
	if err != nil {
		return "", err
	}
	return trust.Check(o)
}

// refuses fails the test unless the error is there and says this.
func refuses(t testing.TB, what string, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want an error that says %q", what, err, says)
	}
}

func TestWhatTheSignersOfTheFileSignedIsTaken(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		signer := gittest.NewSSHSigner(t, kind)
		trust := allowing(t, "# a comment\n\nalice@example.com,al "+signer.Public+" her laptop\n")
		for what, sha := range map[string]string{"commit": repo.SignedCommit(signer, base), "tag": repo.SignedTag(signer, kind, base)} {
			by, err := check(repo, trust, sha)
			if err != nil || !strings.Contains(by, "alice@example.com") || !strings.Contains(by, "SHA256:") {
				t.Errorf("%s %s: %q, %v", kind, what, by, err)
			}
		}
	}
	pgp := gittest.NewPGPSigner(t, "Alice <alice@example.com>", "", "")
	for what, sha := range map[string]string{"commit": repo.SignedCommit(pgp, base), "tag": repo.SignedTag(pgp, "pgp", base)} {
		for how, keys := range map[string]string{"armored": pgp.Public, "binary": pgp.GPG("--export"), "two blocks": pgp.Public + "\n" + pgp.Public} {
			by, err := check(repo, knowing(t, keys), sha)
			if err != nil || !strings.Contains(by, "Alice <alice@example.com>") {
				t.Errorf("PGP %s, keys %s: %q, %v", what, how, by, err)
			}
		}
	}
}

func TestNobodyElsesSignatureIsTaken(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	alice, mallory := gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "ed25519")
	trust := allowing(t, "alice "+alice.Public)
	_, err := check(repo, trust, base)
	if !errors.Is(err, signature.ErrUnsigned) {
		t.Errorf("nobody's: %v", err)
	}
	_, err = check(repo, trust, repo.AnnotatedTag("plain", base))
	if !errors.Is(err, signature.ErrUnsigned) {
		t.Errorf("nobody's tag: %v", err)
	}
	_, err = check(repo, trust, repo.SignedCommit(mallory, base))
	refuses(t, "a stranger's", err, "does not list")
	pgp, other := gittest.NewPGPSigner(t, "Alice", "", ""), gittest.NewPGPSigner(t, "Mallory", "", "")
	signed := repo.SignedCommit(other, base)
	_, err = check(repo, knowing(t, pgp.Public), signed)
	refuses(t, "a stranger's with PGP", err, "not in source.verify.keys")
	_, err = check(repo, trust, signed)
	refuses(t, "PGP where SSH is known", err, "SSH signers alone")
	_, err = check(repo, knowing(t, pgp.Public), repo.SignedCommit(alice, base))
	refuses(t, "SSH where PGP is known", err, "OpenPGP keys alone")
}

func TestAChangedObjectIsRefused(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	other := repo.Commit(map[string]string{"a": "evil"})
	ssh, pgp := gittest.NewSSHSigner(t, "ed25519"), gittest.NewPGPSigner(t, "Alice", "", "")
	for name, c := range map[string]struct {
		signer *gittest.Signer
		trust  *signature.Trust
	}{"SSH": {ssh, allowing(t, "alice "+ssh.Public)}, "PGP": {pgp, knowing(t, pgp.Public)}} {
		commit := repo.Raw("commit", repo.SignedCommit(c.signer, base))
		tag := repo.Raw("tag", repo.SignedTag(c.signer, name, base))
		for _, kind := range []string{"commit", "tag"} {
			raw := map[string]string{"commit": commit, "tag": tag}[kind]
			if _, err := checkRaw(c.trust, kind, raw); err != nil {
				t.Fatalf("%s: the %s as it was signed: %v", name, kind, err)
			}
			for what, changed := range map[string]string{
				"another tree or target": strings.Replace(strings.Replace(raw, repo.Git("rev-parse", base+"^{tree}"), repo.Git("rev-parse", other+"^{tree}"), 1), "object "+base, "object "+other, 1),
				"another message":        strings.Replace(strings.Replace(raw, "\nsigned", "\nSigned", 1), "\na tag", "\nA tag", 1),
				"another name":           strings.Replace(raw, "Tess Ter", "Tess Tor", 1),
				"another header":         strings.Replace(raw, "\n\n", "\nx-new header\n\n", 1),
				"another tag's name":     strings.Replace(raw, "tag "+name, "tag v9", 1),
			} {
				if changed == raw {
					continue
				}
				if _, err := checkRaw(c.trust, kind, changed); err == nil {
					t.Errorf("%s: a %s with %s is taken", name, kind, what)
				}
				if repo.Verifies(c.signer, repo.Put(kind, changed), "gpg.ssh.allowedSignersFile="+write(t, "signers", "alice "+ssh.Public)) {
					t.Errorf("%s: git takes a %s with %s: this test proves nothing", name, kind, what)
				}
			}
		}
		// The signature of one on the other.
		_, err := checkRaw(c.trust, "commit", strings.Replace(commit, signatureOf(t, commit), signatureOf(t, repo.Raw("commit", repo.SignedCommit(c.signer, other))), 1))
		refuses(t, name+": another commit's signature", err, "does not fit")
	}
}

// signatureOf is a commit's header gpgsig, whole.
func signatureOf(t testing.TB, raw string) string {
	t.Helper()
	at := strings.Index(raw, "\ngpgsig ")
	end := strings.Index(raw, "\n\n")
	if at < 0 || end < at {
		t.Fatalf("no signature in %q", raw)
	}
	return raw[at+1 : end+1]
}

func TestASignatureIsThereOnceAndNothingBesideIt(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	ssh, pgp := gittest.NewSSHSigner(t, "ed25519"), gittest.NewPGPSigner(t, "Alice", "", "")
	both := open(t, signature.Config{AllowedSigners: write(t, "s", "alice "+ssh.Public), Keys: write(t, "k", pgp.Public)})
	bySSH, byPGP := repo.Raw("commit", repo.SignedCommit(ssh, base)), repo.Raw("commit", repo.SignedCommit(pgp, base))
	for name, raw := range map[string]string{"SSH": bySSH, "PGP": byPGP} {
		sig := signatureOf(t, raw)
		end := sig[strings.LastIndex(strings.TrimSuffix(sig, "\n"), " -----END"):]
		for what, changed := range map[string]string{
			"two headers":         strings.Replace(raw, sig, sig+sig, 1),
			"PGP, then SSH":       strings.Replace(raw, sig, signatureOf(t, byPGP)+signatureOf(t, bySSH), 1),
			"two in one header":   strings.Replace(raw, sig, sig+" "+strings.TrimPrefix(sig, "gpgsig "), 1),
			"text behind":         strings.Replace(raw, end, end+" more\n", 1),
			"no end":              strings.Replace(raw, end, "", 1),
			"an empty one":        strings.Replace(raw, sig, "gpgsig\n", 1),
			"a foreign header":    strings.Replace(raw, sig, sig+"gpgsignature x\n", 1),
			"NUL in a header":     strings.Replace(raw, sig, "x a\x00b\n"+sig, 1),
			"no base64":           strings.Replace(raw, sig, strings.Replace(sig, "A", "!", 3), 1),
			"another kind of box": strings.Replace(strings.Replace(raw, "SSH SIG", "SHH SIG", 2), "PGP SIG", "PPG SIG", 2),
			"X.509":               strings.Replace(raw, sig, "gpgsig -----BEGIN SIGNED MESSAGE-----\n", 1),
		} {
			if by, err := checkRaw(both, "commit", changed); err == nil {
				t.Errorf("%s, %s: taken as %s", name, what, by)
			}
		}
		// The other hash's header is left out of what is signed, by git as well.
		twin := strings.Replace(raw, sig, sig+strings.Replace(sig, "gpgsig ", "gpgsig-sha256 ", 1), 1)
		if _, err := checkRaw(both, "commit", twin); err != nil {
			t.Errorf("%s: a commit that is signed for SHA-256 too: %v", name, err)
		}
		if !repo.Verifies(map[string]*gittest.Signer{"SSH": ssh, "PGP": pgp}[name], repo.Put("commit", twin), "gpg.ssh.allowedSignersFile="+write(t, "s", "alice "+ssh.Public)) {
			t.Errorf("%s: git does not take a commit that is signed for SHA-256 too: this test proves nothing", name)
		}
	}
	tag := repo.Raw("tag", repo.SignedTag(ssh, "v1", base))
	_, err := checkRaw(both, "tag", tag+tag[strings.Index(tag, "-----BEGIN"):])
	refuses(t, "a tag with two signatures", err, "two signatures")
	// One armor, two packets: as gpg makes it with two signers.
	second := gittest.NewPGPSigner(t, "Bob", "", "")
	secret := filepath.Join(t.TempDir(), "bob")
	second.GPG("--output", secret, "--export-secret-keys")
	pgp.GPG("--import", secret)
	payload := write(t, "payload", strings.Replace(byPGP, signatureOf(t, byPGP), "", 1))
	double := pgp.GPG("--armor", "--detach-sign", "--output", "-", "-u", "Alice", "-u", "Bob", payload)
	raw := strings.Replace(byPGP, signatureOf(t, byPGP), "gpgsig "+strings.ReplaceAll(strings.TrimSpace(double), "\n", "\n ")+"\n", 1)
	_, err = checkRaw(knowing(t, pgp.Public+second.Public), "commit", raw)
	refuses(t, "two packets in one armor", err, "two signatures")
}

func TestALineOfAllowedSignersSaysForWhatAndWhen(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	signer := gittest.NewSSHSigner(t, "ed25519")
	sha := repo.SignedCommit(signer, base) // of 2023-11-14 22:13:20 UTC
	for line, says := range map[string]string{
		"alice ":                                                            "",
		"*@example.com,!bob@example.com ":                                   "",
		`alice namespaces="git" `:                                           "",
		`alice namespaces="file,g*" `:                                       "",
		`alice namespaces="file" `:                                          "other namespaces",
		`alice namespaces="*,!git" `:                                        "other namespaces",
		`alice valid-after="20231114Z" `:                                    "",
		`alice valid-after="20231115Z" `:                                    "valid only after",
		`alice valid-before="20231114Z" `:                                   "valid until",
		`alice valid-before="202311142213Z" `:                               "valid until",
		`alice valid-before="20231114221320Z" `:                             "",
		`alice valid-before="20231114221319Z" `:                             "valid until",
		`alice valid-after="20231101Z",valid-before="20231130Z" `:           "",
		`"alice smith" NAMESPACES="git",Valid-Before="20301231" `:           "",
		`alice namespaces="file" ` + signer.Public + "\nalice ":             "",
		`alice ` + gittest.NewSSHSigner(t, "ed25519").Public + "\nmallory ": "",
	} {
		text := line + signer.Public + "\n"
		_, err := check(repo, allowing(t, text), sha)
		if says == "" && err != nil {
			t.Errorf("%s: %v", text, err)
		} else if says != "" {
			refuses(t, text, err, says)
		}
		if got := repo.Verifies(signer, sha, "gpg.ssh.allowedSignersFile="+write(t, "signers", text)); got != (err == nil) {
			t.Errorf("%s: git says %v, and we say %v", text, got, err)
		}
	}
}

func TestOnlyTheNamedPrincipalsCount(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	signer := gittest.NewSSHSigner(t, "ed25519")
	sha := repo.SignedCommit(signer, base)
	for principal, ok := range map[string]bool{"alice@example.com": true, "al": true, "bob@example.com": false, "alice": false, "": false} {
		_, err := check(repo, allowing(t, "*@example.com,al,!bob@example.com "+signer.Public, principal), sha)
		if ok && err != nil {
			t.Errorf("%q: %v", principal, err)
		} else if !ok {
			refuses(t, principal, err, "not among source.verify.principals")
		}
	}
}

func TestASignatureForAnotherPurposeIsRefused(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	signer := gittest.NewSSHSigner(t, "ed25519")
	raw := repo.Raw("commit", repo.SignedCommit(signer, base))
	sign := func(namespace string) string {
		return signer.SSHSign(namespace, strings.Replace(raw, signatureOf(t, raw), "", 1))
	}
	with := func(sig string) string {
		return strings.Replace(raw, signatureOf(t, raw), "gpgsig "+strings.ReplaceAll(strings.TrimSpace(sig), "\n", "\n ")+"\n", 1)
	}
	trust := allowing(t, "alice "+signer.Public)
	if _, err := checkRaw(trust, "commit", with(sign("git"))); err != nil {
		t.Fatalf("for git: %v", err)
	}
	_, err := checkRaw(trust, "commit", with(sign("file")))
	refuses(t, "for files", err, "another purpose")
}

func TestWeakKeysAreRefused(t *testing.T) {
	t.Parallel()
	small := gittest.NewSSHSigner(t, "rsa", "-b", "1024")
	_, err := signature.Open(signature.Config{AllowedSigners: write(t, "s", "alice "+small.Public)})
	refuses(t, "RSA with 1024 bits", err, "1024 bits")
}

func TestKeysThatExpiredOrWereRevokedDoNotCount(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	expired := gittest.NewPGPSigner(t, "Ex Pired", "20230101T000000", "1d")
	sha := repo.SignedCommit(expired, base)
	_, err := check(repo, knowing(t, expired.Public), sha)
	refuses(t, "expired since", err, "the key has expired")

	future := gittest.NewPGPSigner(t, "Fu Ture", "20990101T000000", "")
	_, err = check(repo, knowing(t, future.Public), repo.SignedCommit(future, base))
	refuses(t, "of a time to come", err, "but")

	revoked := gittest.NewPGPSigner(t, "Re Voked", "", "")
	sha = repo.SignedCommit(revoked, base)
	if _, err := check(repo, knowing(t, revoked.Public), sha); err != nil {
		t.Fatal(err)
	}
	revocations, err := filepath.Glob(filepath.Join(revoked.Home, "openpgp-revocs.d", "*.rev"))
	if err != nil || len(revocations) != 1 {
		t.Fatal(revocations, err)
	}
	text, err := os.ReadFile(revocations[0])
	if err != nil {
		t.Fatal(err)
	}
	revoked.GPG("--import", write(t, "revocation", strings.Replace(string(text), ":-----BEGIN", "-----BEGIN", 1)))
	if repo.Verifies(revoked, sha) {
		t.Error("git takes the signature of a revoked key: this test proves nothing")
	}
	_, err = check(repo, knowing(t, revoked.GPG("--armor", "--export")), sha)
	refuses(t, "revoked", err, "the key is revoked")
}

func TestAFileThatOthersCouldChangeIsNotTrusted(t *testing.T) {
	t.Parallel()
	line := "alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n"
	fails := func(what, file, says string) {
		t.Helper()
		_, err := signature.Open(signature.Config{AllowedSigners: file})
		refuses(t, what, err, says)
		if err != nil && !strings.Contains(err.Error(), "source.verify.allowed_signers") {
			t.Errorf("%s: %v does not name the setting", what, err)
		}
	}
	good := write(t, "signers", line)
	open(t, signature.Config{AllowedSigners: good})
	writable := write(t, "signers", line)
	if err := os.Chmod(writable, 0o666); err != nil {
		t.Fatal(err)
	}
	fails("a file that all may write", writable, "chmod go-w")
	inOpen := write(t, "signers", line)
	if err := os.Chmod(filepath.Dir(inOpen), 0o777); err != nil {
		t.Fatal(err)
	}
	fails("a file in a directory that all may write", inOpen, "chmod go-w")
	link := filepath.Join(filepath.Dir(good), "link")
	if err := os.Symlink(inOpen, link); err != nil {
		t.Fatal(err)
	}
	fails("a link to such a file", link, "chmod go-w")
	if os.Geteuid() == 0 {
		foreign := write(t, "signers", line)
		if err := os.Chown(foreign, 4242, -1); err != nil {
			t.Fatal(err)
		}
		fails("another user's file", foreign, "4242")
	}
	fails("a file that is not there", good+"x", "no such file")
	fails("a relative path", "signers", "absolute")
	fails("a directory", filepath.Dir(good), "not a file")
	fails("an empty file", write(t, "s", "# nobody\n"), "lists nobody")
	if _, err := signature.Open(signature.Config{}); err == nil {
		t.Error("no file at all is fine")
	}
}

func TestNonsenseInTheFilesIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	for line, says := range map[string]string{
		"alice":                                "want a name",
		key:                                    "line 2",
		"alice ssh-ed25519 AAAA":               "want a name",
		"alice cert-authority " + key:          "certificates are not supported",
		`alice namespaces=git ` + key:          "quotation marks",
		`alice namespaces="a",namespaces="b" `: "want a name",
		`alice namespaces="a",namespaces="b" ` + key:                           "twice",
		`alice valid-after="yesterday" ` + key:                                 "is no time",
		`alice valid-after="20230231" ` + key:                                  "is no time",
		`alice valid-after="20240101",valid-before="20230101" ` + key:          "never good",
		"alice touch-required " + key:                                          "not known",
		`"alice ` + key:                                                        "quotation mark is missing",
		"alice ecdsa-sha2-nistp256 " + strings.TrimPrefix(key, "ssh-ed25519 "): "want a name",
	} {
		_, err := signature.Open(signature.Config{AllowedSigners: write(t, "s", "bob "+key+"\n"+line+"\n")})
		refuses(t, line, err, says)
		refuses(t, line, err, "line 2")
	}
	for text, says := range map[string]string{
		"":                                     "no key",
		"hello":                                "can't be read",
		"-----BEGIN PGP PUBLIC KEY BLOCK-----": "cut off",
		"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n": "k",
		"-----BEGIN PGP MESSAGE-----\n": "something else than public keys",
	} {
		_, err := signature.Open(signature.Config{Keys: write(t, "k", text)})
		refuses(t, text, err, says)
	}
	pgp := gittest.NewPGPSigner(t, "Alice", "", "")
	_, err := signature.Open(signature.Config{Keys: write(t, "k", pgp.GPG("--export-secret-keys"))})
	refuses(t, "a private key", err, "private key")
}
