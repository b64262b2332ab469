package source_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

func authorized(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// certify signs a host's key.
func certify(t *testing.T, authority, host ssh.Signer, change func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"},
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
	if change != nil {
		change(cert)
	}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, host)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestOnlyAHostWithAPinnedKeyIsSpokenTo(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	repo.Commit(map[string]string{"a": "1"})
	_, host := gittest.NewKey(t)
	_, other := gittest.NewKey(t)
	_, authority := gittest.NewKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaHost, err := ssh.NewSignerFromKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	hostPin, otherPin, caPin := authorized(host.PublicKey()), authorized(other.PublicKey()), authorized(authority.PublicKey())
	cert := func(change func(*ssh.Certificate)) []ssh.Signer {
		return []ssh.Signer{certify(t, authority, host, change)}
	}
	for name, c := range map[string]struct {
		shown []ssh.Signer
		lines string   // HOST is [127.0.0.1]:port
		want  []string // nil: taken
	}{
		"pinned":                 {[]ssh.Signer{host}, "# a comment\n\nHOST " + hostPin + " me@home\r\n", nil},
		"one of two":             {[]ssh.Signer{host}, "HOST " + otherPin + "\nHOST " + hostPin, nil},
		"wildcard":               {[]ssh.Signer{host}, "[127.0.0.*]:* " + hostPin, nil},
		"another kind besides":   {[]ssh.Signer{rsaHost, host}, "HOST " + hostPin, nil},
		"RSA of two":             {[]ssh.Signer{rsaHost, host}, "HOST " + authorized(rsaHost.PublicKey()), nil},
		"another key":            {[]ssh.Signer{host}, "HOST " + otherPin, []string{ssh.FingerprintSHA256(host.PublicKey()), ssh.FingerprintSHA256(other.PublicKey()), "attack"}},
		"another kind":           {[]ssh.Signer{rsaHost}, "HOST " + hostPin, []string{"ssh-ed25519", "rsa-sha2-512", "ssh-keyscan -p "}},
		"revoked":                {[]ssh.Signer{host}, "HOST " + hostPin + "\n@revoked * " + hostPin, []string{"@revoked"}},
		"revoked elsewhere":      {[]ssh.Signer{host}, "@revoked example.com " + hostPin + "\nHOST " + hostPin, []string{"@revoked"}},
		"another is revoked":     {[]ssh.Signer{host}, "HOST " + hostPin + "\n@revoked * " + otherPin, nil},
		"certificate":            {cert(nil), "@cert-authority HOST " + caPin, nil},
		"certificate, wildcard":  {cert(nil), "@cert-authority [127.*]:* " + caPin, nil},
		"certificate of a key":   {append(cert(nil), host), "@cert-authority HOST " + otherPin + "\nHOST " + hostPin, nil},
		"another authority":      {cert(nil), "@cert-authority HOST " + otherPin, []string{"the authority", ssh.FingerprintSHA256(other.PublicKey())}},
		"authority as key":       {cert(nil), "HOST " + caPin, []string{"none of the kinds", "ssh-ed25519"}},
		"authority itself":       {[]ssh.Signer{authority}, "@cert-authority HOST " + caPin, []string{"none of the kinds"}},
		"revoked authority":      {cert(nil), "@cert-authority HOST " + caPin + "\n@revoked * " + caPin, []string{"@revoked"}},
		"certificate of revoked": {cert(nil), "@cert-authority HOST " + caPin + "\n@revoked * " + hostPin, []string{"@revoked"}},
		"expired":                {cert(func(c *ssh.Certificate) { c.ValidBefore = 1000 }), "@cert-authority HOST " + caPin, []string{"not good", "expired"}},
		"for another host":       {cert(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"example.com"} }), "@cert-authority HOST " + caPin, []string{"not good", "principal"}},
		"for a user":             {cert(func(c *ssh.Certificate) { c.CertType = ssh.UserCert }), "@cert-authority HOST " + caPin, []string{"not good"}},
	} {
		asked := make(chan struct{}, 10)
		srv := gittest.NewSSHServer(t, repo, gittest.SSHOptions{HostKeys: c.shown, Accepts: func(string, ssh.PublicKey) bool {
			asked <- struct{}{}
			return true
		}})
		config := sshConfig(srv)
		config.KnownHosts = strings.ReplaceAll(c.lines, "HOST", "["+srv.Host+"]:"+srv.Port)
		_, err := newSource(t, config).Resolve(context.Background(), "main")
		if c.want == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, source.ErrHostKey) || isRevision(err) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is missing in: %v", name, w, err)
			}
		}
		if len(asked) > 0 {
			t.Errorf("%s: our key was shown to a host that nobody knows", name)
		}
	}
}

func TestNoHostIsTrustedOnFirstUse(t *testing.T) {
	t.Parallel()
	private, signer := gittest.NewKey(t)
	pin := authorized(signer.PublicKey())
	for _, lines := range []string{
		"", "# only a comment\n", "example.org " + pin, "[git.example.com]:23 " + pin, "git.example.com " + pin,
		"*,![git.example.com]:2222 " + pin, "@revoked * " + pin, knownhosts.HashHostname("git.example.com") + " " + pin,
	} {
		_, err := source.New(source.Config{URL: "ssh://git@GIT.example.com:2222/a.git", KnownHosts: lines, Auth: source.Auth{Key: source.Secret(private)}})
		if err == nil || !strings.Contains(err.Error(), "`ssh-keyscan -p 2222 git.example.com`") || !strings.Contains(err.Error(), "source.known_hosts") {
			t.Errorf("%q: %v", lines, err)
		}
	}
	for _, lines := range []string{"@surprise * " + pin, "git.example.com", "git.example.com ssh-ed25519", "* ssh-ed25519 AAAA", "* ssh-rsa" + pin[11:], "* " + pin + "\nx x x\n"} {
		_, err := source.New(source.Config{URL: "git@git.example.com:a.git", KnownHosts: "\n" + lines, Auth: source.Auth{Key: source.Secret(private)}})
		if err == nil || !strings.Contains(err.Error(), "source.known_hosts: line ") {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

func TestKnownHostsAreFoundAsOpenSSHFindsThem(t *testing.T) {
	t.Parallel()
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("ssh-keygen is needed here: install openssh-client")
		}
		t.Skip("LEFT OUT: ssh-keygen is not installed (Debian: openssh-client)")
	}
	private, signer := gittest.NewKey(t)
	pin := authorized(signer.PublicKey())
	patterns := []string{
		"github.com", "GitHub.com", "*", "*.com", "git???.com", "git*", "?", "github.com,example.org", "!github.com", "*,!github.com", "*.com,!git*",
		"!example.org,*", "[github.com]:22", "[github.com]:2222", "[*]:2222", "[github.com]:*", "*:2222", "10.0.0.1", "10.0.*", "::1", "[::1]:2222",
		knownhosts.HashHostname("github.com"), knownhosts.HashHostname("[github.com]:2222"), knownhosts.HashHostname("::1"), "|1|x|y", "|2|AAAA|AAAA", "",
		"a*b*c*d.com", "**github**.com", "github.com.", "xgithub.com", "[abc]ithub.com",
	}
	for _, p := range patterns {
		if p == "" {
			continue
		}
		file := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(file, []byte(p+" "+pin+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, at := range [][2]string{{"github.com", "22"}, {"github.com", "2222"}, {"GitHub.com", "22"}, {"10.0.0.1", "22"}, {"[::1]", "22"}, {"[::1]", "2222"}, {"example.org", "22"}} {
			name := strings.ToLower(strings.Trim(at[0], "[]")) // ssh(1) looks up the lower case
			if at[1] != "22" {
				name = "[" + name + "]:" + at[1]
			}
			theirs := exec.Command(keygen, "-F", name, "-f", file).Run() == nil
			_, err := source.New(source.Config{URL: "ssh://" + at[0] + ":" + at[1] + "/a.git", KnownHosts: p + " " + pin, Auth: source.Auth{Key: source.Secret(private)}})
			if ours := err == nil; ours != theirs {
				t.Errorf("%q for %s: OpenSSH says %v, we say %v (%v)", p, name, theirs, ours, err)
			}
		}
	}
}
