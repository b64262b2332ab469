package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/gittest"
)

func TestAnInstanceHoldsRevisionsToTheSignersOfItsConfiguration(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	alice := gittest.NewSSHSigner(t, "ed25519")
	plain := repo.Commit(map[string]string{"a": "1"})
	signed := repo.SignedCommit(alice, plain)
	repo.Branch("plain", plain)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	signers := filepath.Join(dir, "allowed_signers")
	conf := config.Config{Source: config.Source{URL: gittest.NewServer(t, repo).CloneURL(),
		Verify: config.Verify{Mode: config.VerifyCommit, AllowedSigners: signers}}}
	instance, laptop := &repository{conf: conf, log: zap.NewNop(), verify: true}, &repository{conf: conf, log: zap.NewNop()}
	fetch := func(r *repository, sha string) error {
		return r.Fetch(context.Background(), sha, filepath.Join(t.TempDir(), "tree"))
	}
	for _, err := range []error{fetch(instance, signed), instance.Verify(context.Background(), signed)} {
		if err == nil || !strings.Contains(err.Error(), "source.verify.allowed_signers") {
			t.Errorf("without the file: %v", err)
		}
	}
	if err := os.WriteFile(signers, []byte("alice "+alice.Public+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{fetch(instance, signed), instance.Verify(context.Background(), signed), fetch(laptop, signed), fetch(laptop, plain)} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, err := range []error{fetch(instance, plain), instance.Verify(context.Background(), plain)} {
		if err == nil || !strings.Contains(err.Error(), "not signed") {
			t.Errorf("nobody's commit: %v", err)
		}
	}
}
