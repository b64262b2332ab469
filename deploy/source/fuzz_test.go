package source

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/tree"
)

// seedPack is a commit of one file, and a delta on that file.
const seedPack = "5041434b000000020000000431789cab000000790079ad01789c33343030333151486338b8a1988fd1d8a57aedf92bf5175d1e853454b33d04008eac" +
	"0b979206789c2b294a4d55303235334c34334a313132324e4d3237333348314e324b32304a3237303730b130b6304a333130b4e44a2c2dc9c82f5208" +
	"51b0297148b5533054d0360002aee4fcdcdccc9292544c19ae0a2e00199b19a875c1b0730e0133447badcfd47fd144e254807b06e1789c636462aaac" +
	"0200018400f9ddbb2c42fa31abf715eefc0f54a406e2162967cc"

// memory is a transport whose server is two byte strings.
type memory struct{ listed, answer []byte }

func (m memory) list() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.listed)), nil }
func (m memory) ask([]byte) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.answer)), nil
}
func (memory) close() {}

// FuzzPack reads any pack and checks out any object of it: no panic, nothing but the tree, and what is written has the hash that it goes by.
func FuzzPack(f *testing.F) {
	seed, err := hex.DecodeString(seedPack)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff"))
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x70\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, stream []byte) {
		parent := t.TempDir()
		w, err := tree.New(filepath.Join(parent, "tree"), tree.Limits{Files: 100, Bytes: 1 << 20, FileBytes: 1 << 18})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if entries, err := filepath.Glob(filepath.Join(parent, "*")); err != nil || len(entries) > 0 {
				t.Errorf("left: %v, %v", entries, err)
			}
		}()
		var s spent
		p, err := readPack(context.Background(), bytes.NewReader(stream), w, false, &s, nil)
		if err != nil {
			return
		}
		for hash, o := range p.objects {
			if o.hash != hash || o.kind == plumbing.InvalidObject {
				t.Errorf("%s is %+v", hash, o)
			}
			entries := 100
			if _, err := p.checkout(context.Background(), hash.String(), w, "", &entries); err == nil && o.kind != plumbing.CommitObject {
				t.Errorf("a %s was checked out", o.kind)
			}
		}
	})
}

// FuzzServer takes any list of refs and any answer: no panic, and a name that is found has a hash.
func FuzzServer(f *testing.F) {
	const sha = "abababababababababababababababababababab"
	list := "001e# service=git-upload-pack\n0000" + "0048" + sha + " HEAD\x00side-band-64k shallow     \n" + "003d" + sha + " refs/heads/main\n0000"
	f.Add([]byte(list), []byte("0034shallow "+sha+"0000"+"0008NAK\n"+"0009\x01PACK0000"))
	f.Add([]byte(list), []byte("0000"+"0031ACK "+sha+"\n"+"000e\x03no such0000"))
	f.Add([]byte("0000"), []byte("ffff"))
	f.Add([]byte("0008ERR "), []byte("0008ERR "))
	f.Add([]byte(strings.Replace(list, "side-band-64k", "side-band    ", 1)), []byte("0004"))
	home, err := New(Config{URL: "http://127.0.0.1/x.git"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, listed, answer []byte) {
		ctx, cancel := context.WithCancelCause(context.Background())
		c := &conn{remote: home.home, ctx: ctx, cancel: cancel, transport: memory{listed, answer}}
		defer c.close()
		refs, err := c.refs()
		if err != nil {
			if text := home.explain("x", err).Error(); len(text) > explainMax || text != visible(text) {
				t.Errorf("told in %d bytes: %.200q", len(text), text)
			}
			return
		}
		if found, err := refs.names().lookup("main"); err == nil && !isSHA(found) {
			t.Errorf("main is %q", found)
		}
		for _, w := range []wants{refs.shallow(sha, nil), refs.everything()} {
			stream, err := c.pack(w)
			if err == nil {
				_, err = io.Copy(io.Discard, stream)
			}
			if err == nil {
				continue
			}
			if text := home.explain("x", c.cause(err)).Error(); len(text) > explainMax || text != visible(text) {
				t.Errorf("told in %d bytes: %.200q", len(text), text)
			}
		}
	})
}

// FuzzTreeObject holds what comes out of a tree object to what went in.
func FuzzTreeObject(f *testing.F) {
	f.Add([]byte("100644 f\x0012345678901234567890" + "40000 d\x0012345678901234567890"))
	f.Add([]byte("100644 f\x0012345678901234567890100644 f\x0012345678901234567890"))
	f.Add([]byte(" \x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseTree(data, 1000)
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, e := range entries {
			again.WriteString(e.mode + " " + e.name + "\x00")
			again.Write(e.hash[:])
		}
		if !bytes.Equal(again.Bytes(), data) {
			t.Errorf("% x was read as %+v", data, entries)
		}
	})
}

// FuzzSubmoduleURL holds .gitmodules to what a submodule may be, and where it may come from.
func FuzzSubmoduleURL(f *testing.F) {
	for _, s := range []string{"[submodule \"a\"]\n\tpath = a\n\turl = ../a.git\n", "[submodule \"..\"]\npath=a", "[submodule]\npath = x\nurl = y", "[a",
		"[submodule \"a\"]\npath = \"a\\nb\"\nurl = \"-x\"\nupdate = !x", "[submodule \"a\"]\npath = a\npath = b", "[submodule \"a\"]\nurl=\\\n x\npath=a;#\n", "\ufeff[x]", "[submodule.a]\npath=a\n"} {
		f.Add([]byte(s))
	}
	home, err := New(Config{URL: "https://git.example/team/app.git"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		known, err := parseModules(content)
		if err != nil {
			return
		}
		for path, m := range known {
			if path != m.path || path == "" {
				t.Errorf("%q is for %q", path, m.path)
			}
			r, err := home.submoduleRemote(home.home, m.url)
			if err != nil {
				continue
			}
			if r.host != "git.example" || r.scheme != "https" && r.scheme != "http" || r.auth != home.home.auth && r.scheme != "https" {
				t.Errorf("%q leads to %+v", m.url, r.location)
			}
		}
	})
}

// FuzzAttributes: any .gitattributes is taken or refused, in bounds.
func FuzzAttributes(f *testing.F) {
	for _, s := range []string{"*.txt text eol=crlf\n", "[attr]a b\n[attr]b a text\n* a\n", "\"a\\tb\" filter=x", "[!a-]] -text", "**/a/**/b*?\\ eol=crlf", "[[:alpha:]] text", "\xff\xfe text", "/ text", "!x text", "[attr] x\n* "} {
		f.Add(s, "a/b.txt")
	}
	f.Fuzz(func(t *testing.T, content, name string) {
		var a *attributes
		for _, dir := range []string{"", "a"} {
			next, err := a.with(dir, []byte(content))
			if err != nil {
				var limit *tree.LimitError
				if !errors.As(err, &limit) {
					t.Errorf("%q: %v", content, err)
				}
				return
			}
			a = next
		}
		if convert, err := a.conversion("a/" + name); err == nil && convert != nil {
			_, _ = convert([]byte(content)) // ident may refuse it
		}
	})
}

// FuzzKnownHosts: a text that pins nothing lets nobody in, and none makes a panic.
func FuzzKnownHosts(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	for _, s := range []string{"github.com " + key, "*,!github.com " + key, "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= " + key,
		"@revoked * " + key, "@cert-authority *.com " + key, "@x y " + key, "[github.com]:22 " + key, "# x\n\n", "a b c", "* ssh-rsa AAAA", key, "|1|| " + key} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePins(text, "github.com", "22")
		if err != nil {
			return
		}
		if !p.empty() && !strings.Contains(text, "AAAA") {
			t.Errorf("%q pins %+v", text, p)
		}
		for _, k := range p.keys {
			if p.revoked[string(k.Marshal())] != (p.check("github.com:22", k) != nil) {
				t.Errorf("%q: the key %s is pinned and not taken", text, describe(k))
			}
		}
	})
}

// FuzzSigned reads any pack for what is signed: no panic, and a gate that nobody may open stays closed.
func FuzzSigned(f *testing.F) {
	seed, err := hex.DecodeString(seedPack)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x70\x00"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		g := &gate{verification: &Verification{Trust: refusing{}}, sha: strings.Repeat("0", 40), log: zap.NewNop()}
		if err := readSigned(context.Background(), bytes.NewReader(stream), tree.Limits{Bytes: 1 << 20}, g); err == nil {
			t.Error("it was opened")
		}
	})
}
