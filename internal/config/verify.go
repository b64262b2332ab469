package config

import (
	"errors"
	"path"
	"strings"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

// The values of source.verify.mode.
const (
	VerifyOff    = "off"
	VerifyCommit = "commit"
	VerifyTag    = "tag"
)

// Verify is the signature that a revision must carry before anything of it is written.
type Verify struct {
	Mode           string // off, commit or tag
	Keys           string // path of an OpenPGP keyring; empty means none
	AllowedSigners string // path of a file of SSH's allowed signers; empty means none
	Principals     []string
}

func verify(v strictyaml.Value) Verify {
	c := Verify{Mode: VerifyOff}
	if !v.Given() {
		return c
	}
	m := v.Map()
	m.Require("mode", "write off, commit or tag").Enum(&c.Mode, []string{VerifyOff, VerifyCommit, VerifyTag})
	m.Get("keys").Check(&c.Keys, checkFile)
	m.Get("allowed_signers").Check(&c.AllowedSigners, checkFile)
	principals := m.Get("principals")
	for _, item := range principals.List() {
		var name string
		if item.Check(&name, checkPrincipal) {
			c.Principals = append(c.Principals, name)
		}
	}
	switch {
	case c.Mode != VerifyOff && c.Keys == "" && c.AllowedSigners == "":
		v.Fail("source.verify says nobody whose signature counts: give keys (the path of an OpenPGP keyring) or allowed_signers (the path of a file of SSH's allowed signers)")
	case principals.Given() && (c.AllowedSigners == "" || len(c.Principals) == 0):
		principals.Fail("source.verify.principals are names in the file of source.verify.allowed_signers: give both, or leave it out for everybody in the file")
	}
	m.Done()
	return c
}

func checkFile(s string) error {
	if !path.IsAbs(s) || path.Clean(s) != s || strings.ContainsRune(s, 0) {
		return errors.New("must be the absolute path of a file on the instance, such as /etc/bootagent/allowed_signers")
	}
	return nil
}

func checkPrincipal(s string) error {
	if s == "" || strings.ContainsAny(s, "*?!,\" \t\r\n") {
		return errors.New("must be a name as it stands in the file of allowed signers, such as you@example.com")
	}
	return nil
}
