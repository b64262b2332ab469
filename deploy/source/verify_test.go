package source_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bootagent/bootagent/deploy/signature"
	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// trusting is a trust in these signers, by SSH.
func trusting(t testing.TB, signers ...*gittest.Signer) *signature.Trust {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, s := range signers {
		text.WriteString("alice@example.com " + s.Public + "\n")
	}
	file := filepath.Join(dir, "allowed_signers")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	trust, err := signature.Open(signature.Config{AllowedSigners: file})
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// demands fails the test unless the error lies in the revision and says this.
func demands(t testing.TB, what string, err error, says string) {
	t.Helper()
	if err == nil || !isRevision(err) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want a revision's error that says %q", what, err, says)
	}
}

func TestOnlyASignedCommitIsWritten(t *testing.T) {
	t.Parallel()
	repo, base := variedRepo(t)
	alice, mallory := gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "ed25519")
	strange := repo.SignedCommit(mallory, base)
	repo.Branch("strange", strange)
	signed := repo.SignedCommit(alice, strange) // its parents are nobody's business
	repo.Branch("plain", base)
	repo.Git("repack", "-adfq")
	want := snapshot(t, repo.Clone(signed))
	verify := &source.Verification{Trust: trusting(t, alice)}
	overSSH := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
	sources := map[string]*source.Source{"SSH": newSource(t, source.Config{
		URL: overSSH.CloneURL(), KnownHosts: overSSH.KnownHosts, Auth: source.Auth{Key: source.Secret(overSSH.ClientKey)}, Verify: verify,
	})}
	for name, opts := range map[string][]gittest.Option{
		"by SHA": nil, "with filters": {gittest.WithConfig("uploadpack.allowFilter", "true")}, "tips only": {gittest.WithoutSHA()},
		"nothing but everything": {gittest.WithoutSHA(), gittest.With(tipsOnly(repo))},
	} {
		sources[name] = newSource(t, source.Config{URL: gittest.NewServer(t, repo, opts...).CloneURL(), Verify: verify})
	}
	for name, s := range sources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := s.Verify(context.Background(), signed); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, snapshot(t, mustFetch(t, s, signed))); diff != "" {
				t.Error(diff)
			}
			for sha, says := range map[string]string{base: "it is not signed", strange: "does not list"} {
				_, err := fetch(t, s, sha)
				demands(t, "fetch", err, says)
				demands(t, "verify", s.Verify(context.Background(), sha), says)
			}
			if err := s.Verify(context.Background(), strings.Repeat("12", 20)); err == nil || isRevision(err) {
				t.Errorf("a commit that nobody has: %v", err)
			}
		})
	}
}

func TestASignedCommitCostsNoRequestMoreAndIsToldOf(t *testing.T) {
	t.Parallel()
	repo, base := variedRepo(t)
	alice := gittest.NewSSHSigner(t, "ed25519")
	sha := repo.SignedCommit(alice, base)
	srv := gittest.NewServer(t, repo)
	core, logs := observer.New(zapcore.InfoLevel)
	s := newSource(t, source.Config{URL: srv.CloneURL(), Verify: &source.Verification{Trust: trusting(t, alice)}, Log: zap.New(core)})
	mustFetch(t, s, sha)
	if n := len(srv.Requests()); n != 2 {
		t.Errorf("it took %d requests", n)
	}
	told := logs.FilterMessage("signature verified").All()
	if len(told) != 1 || told[0].ContextMap()["revision"] != sha || !strings.Contains(told[0].ContextMap()["signed_by"].(string), "alice@example.com") {
		t.Errorf("the log says %v", logs.All())
	}
}

// signedParts is a signed commit of one file, in pieces for a crafted pack.
func signedParts(t testing.TB, alice *gittest.Signer) (sha, commit string, tree, blob []byte) {
	t.Helper()
	repo := gittest.NewRepo(t)
	sha = repo.SignedCommit(alice, repo.Commit(map[string]string{"f": "content\n"}))
	blob = []byte("content\n")
	return sha, repo.Raw("commit", sha), treeOf(item{"100644", "f", nameOf(packBlob, blob)}), blob
}

func TestACommitThatComesLateOrAsADeltaIsVerifiedFirst(t *testing.T) {
	t.Parallel()
	alice, mallory := gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "ed25519")
	sha, commit, tree, blob := signedParts(t, alice)
	late := func(c *craft) {
		c.object(packBlob, blob)
		c.object(packTree, tree)
		c.object(packCommit, []byte(commit))
	}
	const half = 100
	delta := append(deltaOf(half, uint64(len(commit)), 0x90, half), inserts(commit[half:])...)
	for name, make := range map[string]func(*craft){
		"after the tree": late,
		"as a delta": func(c *craft) {
			base := packHeader + c.body.Len()
			c.object(packCommit, []byte(commit[:half]))
			c.object(packBlob, blob)
			c.object(packTree, tree)
			c.ofsDelta(base, delta)
		},
		"as a delta by name": func(c *craft) {
			name := c.object(packCommit, []byte(commit[:half]))
			c.refDelta(name, delta)
			c.object(packTree, tree)
			c.object(packBlob, blob)
		},
	} {
		var c craft
		make(&c)
		url := offering(t, sha, c.pack())
		dir := mustFetch(t, newSource(t, source.Config{URL: url, Verify: &source.Verification{Trust: trusting(t, alice)}}), sha)
		if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(got) != string(blob) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		_, err := fetch(t, newSource(t, source.Config{URL: url, Verify: &source.Verification{Trust: trusting(t, mallory)}}), sha)
		demands(t, name, err, "does not list")
	}
	var without craft
	without.object(packBlob, blob)
	without.object(packTree, tree)
	s := newSource(t, source.Config{URL: offering(t, sha, without.pack()), Verify: &source.Verification{Trust: trusting(t, alice)}})
	if _, err := fetch(t, s, sha); err == nil || isRevision(err) {
		t.Errorf("without the commit: %v", err)
	}
	var long craft
	big := long.object(packCommit, []byte(strings.Replace(commit, nameOf(packTree, tree), long.tree(), 1)+strings.Repeat("x", 2<<20)))
	s = newSource(t, source.Config{URL: offering(t, big, long.pack()), Verify: &source.Verification{Trust: trusting(t, alice)}})
	_, err := fetch(t, s, big)
	demands(t, "a commit of 2 MiB", err, "longer")
}

// inserts are a delta's instructions that add a text.
func inserts(text string) (ops []byte) {
	for len(text) > 0 {
		n := min(len(text), 127)
		ops = append(append(ops, byte(n)), text[:n]...)
		text = text[n:]
	}
	return ops
}

func TestASubmoduleIsCoveredByTheSignatureAboveIt(t *testing.T) {
	t.Parallel()
	alice := gittest.NewSSHSigner(t, "ed25519")
	repo := gittest.NewRepo(t)
	lib := repo.Neighbour("lib.git")
	inner := lib.Commit(map[string]string{"l": "1"}) // unsigned
	sha := repo.SignedCommit(alice, repo.CommitFiles("main", map[string]gittest.File{
		".gitmodules": {Body: "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n"}, "lib": {Body: inner, Submodule: true},
	}))
	s := newSource(t, source.Config{URL: gittest.NewServer(t, repo).CloneURL(), Verify: &source.Verification{Trust: trusting(t, alice)}})
	if _, err := os.Stat(filepath.Join(mustFetch(t, s, sha), "lib", "l")); err != nil {
		t.Error(err)
	}
}

func TestOnlyACommitWithASignedTagIsWritten(t *testing.T) {
	t.Parallel()
	alice, mallory := gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "ed25519")
	repo := gittest.NewRepo(t)
	old := repo.Commit(map[string]string{"v": "1"})
	repo.SignedTag(alice, "v1", old)
	good := repo.Commit(map[string]string{"v": "2"})
	repo.SignedTag(mallory, "a-strange-one", good)
	repo.SignedTag(alice, "v2", good)
	untagged := repo.SignedCommit(alice, good) // its signature is not what is asked for
	lightweight := repo.Commit(map[string]string{"v": "3"})
	repo.Tag("v3", lightweight)
	unsigned := repo.Commit(map[string]string{"v": "4"})
	repo.AnnotatedTag("v4", unsigned)
	strange := repo.Commit(map[string]string{"v": "5"})
	repo.SignedTag(mallory, "v5", strange)
	renamed := repo.Commit(map[string]string{"v": "6"})
	repo.Git("update-ref", "refs/tags/v6", repo.SignedTag(alice, "v6-beta", renamed))
	repo.Git("tag", "-d", "v6-beta")
	repo.Git("update-ref", "refs/tags/v7", repo.Git("rev-parse", "refs/tags/v1")) // an old release as a new one
	nested := repo.Commit(map[string]string{"v": "8"})
	inner := repo.SignedTag(alice, "inner", nested)
	repo.Git("tag", "-d", "inner")
	repo.SignedTag(alice, "v8", inner)
	for name, opts := range map[string][]gittest.Option{"by SHA": nil, "tips only": {gittest.WithoutSHA()}, "with filters": {gittest.WithConfig("uploadpack.allowFilter", "true")}} {
		srv := gittest.NewServer(t, repo, opts...)
		s := newSource(t, source.Config{URL: srv.CloneURL(), Verify: &source.Verification{Tag: true, Trust: trusting(t, alice)}})
		for sha, version := range map[string]string{old: "1", good: "2"} {
			if got, err := os.ReadFile(filepath.Join(mustFetch(t, s, sha), "v")); err != nil || string(got) != version {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			if err := s.Verify(context.Background(), sha); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for sha, says := range map[string]string{
			untagged: "no annotated tag", lightweight: "no annotated tag", unsigned: "it is not signed", strange: "does not list",
			renamed: "it was made as \"v6-beta\"", nested: "it points to the tag",
		} {
			_, err := fetch(t, s, sha)
			demands(t, name, err, says)
			demands(t, name, s.Verify(context.Background(), sha), says)
		}
		for ref, sha := range map[string]string{"v1": old, "refs/tags/v2": good, "tags/v2": good, untagged: untagged} {
			if got, err := s.Resolve(context.Background(), ref); err != nil || got != sha {
				t.Errorf("%s: %s is %s, %v", name, ref, got, err)
			}
		}
		for ref, says := range map[string]string{
			"main": "this is a branch", "HEAD": "this is a branch", "v3": "without a signature", "v4": "it is not signed", "a-strange-one": "does not list",
			"v6": "it was made as \"v6-beta\"", "v7": "it was made as \"v1\"", "v8": "it points to the tag",
		} {
			_, err := s.Resolve(context.Background(), ref)
			demands(t, name+" "+ref, err, says)
		}
	}
}

func TestAServerCantPassATagOff(t *testing.T) {
	t.Parallel()
	alice := gittest.NewSSHSigner(t, "ed25519")
	sha, commit, tree, blob := signedParts(t, alice)
	repo := gittest.NewRepo(t)
	other := repo.Commit(map[string]string{"other": "one"})
	tag := repo.Raw("tag", repo.SignedTag(alice, "v1", other))
	var c craft
	c.object(packCommit, []byte(commit))
	name := c.object(packTag, []byte(tag))
	c.object(packTree, tree)
	c.object(packBlob, blob)
	list := advertised(ordinaryCapabilities, sha+" HEAD", sha+" refs/heads/main", name+" refs/tags/v1", sha+" refs/tags/v1^{}")
	answer := append([]byte(pktLine("shallow "+sha)+"0000"+pktLine("NAK\n")), banded(c.pack())...)
	s := newSource(t, source.Config{URL: liar(t, []byte(list), answer), Verify: &source.Verification{Tag: true, Trust: trusting(t, alice)}})
	_, err := fetch(t, s, sha)
	demands(t, "fetch", err, "it points to the commit "+other)
	_, err = s.Resolve(context.Background(), "v1")
	demands(t, "resolve", err, "it points to the commit "+other)
}
