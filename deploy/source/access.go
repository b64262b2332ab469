package source

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// newRemote checks that what opens the main repository fits to where it is. No error names a credential.
func newRemote(c *Config) (*remote, error) {
	if c.URL == "" {
		return nil, errors.New("source: the repository's URL is missing: " + wantURL)
	}
	l, err := parseLocation(c.URL)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", quoted(hideUserinfo(c.URL)), err)
	}
	r := &remote{location: l, config: c, auth: c.Auth}
	open := r.openHTTP
	if l.isSSH() {
		open = r.openSSH
	}
	if err := open(); err != nil {
		return nil, fmt.Errorf("source %s: %w", l.text, err)
	}
	return r, nil
}

func (r *remote) openHTTP() error {
	a := &r.auth
	switch {
	case a.Key != "":
		return errors.New("a deploy key is for SSH: use the ssh:// URL, or a token in source.auth.parameter in place of source.auth.key")
	case r.config.KnownHosts != "":
		return errors.New("source.known_hosts is for SSH, and HTTPS knows hosts by their certificates: remove it, or use the ssh:// URL")
	case a.Secret == "" && a.User != "":
		return fmt.Errorf("there is a user (%q) but no password or token", a.User)
	case strings.ContainsAny(a.User, ":\r\n") || strings.ContainsAny(string(a.Secret), "\r\n"):
		return errors.New("the user must not contain a colon, nor the credentials a line break")
	case a.Secret != "" && r.scheme == "http" && !isLoopback(r.host) && !r.config.AllowPlaintextAuth:
		return errors.New("the credentials would travel in clear text: use https://")
	}
	if a.User == "" {
		a.User = "x-access-token"
	}
	return nil
}

func (r *remote) openSSH() (err error) {
	a := r.auth
	switch {
	case a.Secret != "":
		return errors.New("SSH takes a deploy key, no password or token: name the parameter that holds the key in source.auth.key")
	case a.Key == "":
		return errors.New("SSH needs a deploy key: make one (`ssh-keygen -t ed25519 -N ''`), add its public half to the repository, " +
			"put the private half into a SecureString and name that in source.auth.key")
	case r.user != "" && a.User != "" && r.user != a.User:
		return fmt.Errorf("the URL's user is %q, but source.auth.user is %q: keep one of them", r.user, a.User)
	case r.user == "" && a.User != "":
		r.user = a.User
	case r.user == "":
		r.user = "git" // that of every git host
	}
	if r.key, err = parseKey(a.Key); err != nil {
		return err
	}
	if r.pins, err = parsePins(r.config.KnownHosts, r.host, r.port); err != nil {
		return fmt.Errorf("source.known_hosts: %w", err)
	}
	if r.pins.empty() {
		return fmt.Errorf("source.known_hosts has no key of this host, and none is trusted unseen: %s", howToPin(r.location))
	}
	return nil
}

// parseKey reads a deploy key, OpenSSH's or PEM. Its errors hold nothing of it.
func parseKey(key Secret) (ssh.Signer, error) {
	text := []byte(strings.TrimSpace(string(key)) + "\n") // stores drop the last line's end
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, errors.New("the deploy key (source.auth.key) is locked with a passphrase, which nobody is there to type: " +
			"use a key without one (`ssh-keygen -p -N ''` takes it away), and let the SecureString protect it")
	}
	if err != nil {
		hint := "want the private key as ssh-keygen wrote it, with its line breaks"
		if _, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
			hint = "it is a public key: want the private one"
		} else if strings.HasPrefix(string(text), "PuTTY-") {
			hint = "it is PuTTY's: convert it (`puttygen key.ppk -O private-openssh-new`)"
		}
		return nil, errors.New("the deploy key (source.auth.key) can't be read: " + hint)
	}
	if signer.PublicKey().Type() != ssh.KeyAlgoRSA {
		return signer, nil
	}
	algorithms, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("the deploy key (source.auth.key) can only sign with SHA-1: make an Ed25519 key")
	}
	// Without ssh-rsa, whose SHA-1 OpenSSH has dropped too.
	return ssh.NewSignerWithAlgorithms(algorithms, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
}
