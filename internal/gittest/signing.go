package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Signer signs commits and tags with a real tool: ssh-keygen or gpg.
type Signer struct {
	// Public is the public key: a line as in authorized_keys, or an armored block.
	Public string
	// Config is git configuration, "key=value", with which git signs, and verifies, with this key.
	Config []string
	// Home is gpg's, for more commands.
	Home string
	t    testing.TB
	env  []string
}

// Need is the path of a tool; where that is missing the test is left out, and says so, but fails where CI is true.
func Need(t testing.TB, tool, debian string) string {
	t.Helper()
	found, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed here: install %s", tool, debian)
		}
		t.Skipf("LEFT OUT: %s is not installed (Debian: %s)", tool, debian)
	}
	return found
}

// NewSSHSigner makes a key with ssh-keygen: "ed25519", "ecdsa" or "rsa", with more of its arguments.
func NewSSHSigner(t testing.TB, kind string, args ...string) *Signer {
	t.Helper()
	tool := Need(t, "ssh-keygen", "openssh-client")
	file := filepath.Join(t.TempDir(), "key")
	s := &Signer{t: t, Config: []string{"gpg.format=ssh", "user.signingKey=" + file}}
	s.run(tool, append([]string{"-q", "-t", kind, "-N", "", "-C", "", "-f", file}, args...)...)
	public, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	s.Public = strings.TrimSpace(string(public))
	return s
}

// NewPGPSigner makes an Ed25519 key with gpg. At is the time that gpg takes for the present, "20230101T000000", and lifetime
// how long the key is good ("1d"); empty are the real one, and for ever.
func NewPGPSigner(t testing.TB, name, at, lifetime string) *Signer {
	t.Helper()
	tool := Need(t, "gpg", "gnupg")
	home, err := os.MkdirTemp("", "gpg") // its agent's socket must have a short name
	if err != nil {
		t.Fatal(err)
	}
	s := &Signer{t: t, Home: home, env: []string{"GNUPGHOME=" + home}}
	t.Cleanup(func() {
		s.run("gpgconf", "--kill", "all")
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	program := filepath.Join(home, "gpg")
	script := "#!/bin/sh\nexec '" + tool + "' --batch --quiet --pinentry-mode loopback --passphrase ''"
	if at != "" {
		script += " --faked-system-time " + at
	}
	if err := os.WriteFile(program, []byte(script+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if lifetime == "" {
		lifetime = "never"
	}
	s.run(program, "--quick-generate-key", name, "ed25519", "sign", lifetime)
	s.Public = s.GPG("--armor", "--export")
	s.Config = []string{"gpg.program=" + program, "user.signingKey=" + name}
	return s
}

// GPG runs gpg with the key's home, and gives its output.
func (s *Signer) GPG(args ...string) string {
	s.t.Helper()
	return s.run(filepath.Join(s.Home, "gpg"), args...)
}

func (s *Signer) run(tool string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(tool, args...)
	cmd.Env = append(Environment(s.Home), s.env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s %s: %v: %s", tool, strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

// SignedCommit makes a commit with the tree of another one, and on top of it, signed, and moves the branch main there.
func (r *Repo) SignedCommit(s *Signer, on string) string {
	r.t.Helper()
	sha := r.signed(s, "commit-tree", "-S", "-p", on, "-m", "signed", on+"^{tree}")
	r.Branch("main", sha)
	return sha
}

// SignedTag makes a signed tag and gives the tag object's own SHA.
func (r *Repo) SignedTag(s *Signer, name, sha string) string {
	r.t.Helper()
	r.signed(s, "tag", "-s", "-m", "a tag", name, sha)
	return r.Git("rev-parse", "refs/tags/"+name)
}

func (r *Repo) signed(s *Signer, args ...string) string {
	r.t.Helper()
	all := []string{"-C", r.Dir}
	for _, c := range s.Config {
		all = append(all, "-c", c)
	}
	return strings.TrimSpace(s.run("git", append(all, args...)...))
}

// Verifies asks git itself whether an object, a commit or a tag, is well signed, with the signer's configuration and more.
func (r *Repo) Verifies(s *Signer, object string, config ...string) bool {
	r.t.Helper()
	command := "verify-" + r.Git("cat-file", "-t", object)
	cmd := exec.Command("git", "-C", r.Dir)
	for _, c := range append(s.Config, config...) {
		cmd.Args = append(cmd.Args, "-c", c)
	}
	cmd.Args = append(cmd.Args, command, object)
	cmd.Env = append(Environment(r.Dir), s.env...)
	return cmd.Run() == nil
}

// Put writes an object of that kind as it is given, and gives its SHA.
func (r *Repo) Put(kind, raw string) string {
	r.t.Helper()
	return r.GitIn(raw, "hash-object", "-w", "--stdin", "--literally", "-t", kind)
}

// Raw is an object's content as it is.
func (r *Repo) Raw(kind, sha string) string {
	r.t.Helper()
	out, err := r.try(nil, "cat-file", kind, sha)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// SSHSign signs a text with ssh-keygen in a namespace of choice, and gives the armored signature.
func (s *Signer) SSHSign(namespace, text string) string {
	s.t.Helper()
	_, key, _ := strings.Cut(s.Config[1], "=")
	file := filepath.Join(s.t.TempDir(), "text")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.run("ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", namespace, file)
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		s.t.Fatal(err)
	}
	return string(sig)
}
