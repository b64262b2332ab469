// Package source reads revisions from a git repository over HTTP(S) or SSH, without a git or ssh binary: a ref becomes
// a full commit SHA, and a SHA becomes a tree on the disk, its submodules included. For what it can't do itself it can run
// the machine's git (engine.go).
//
// It speaks git's smart protocol (version 0) itself, with go-git's codecs for messages and packs: go-git's own client
// keeps no context in places, and its checkout takes none. The pack is parsed once, as it comes off the wire; blobs
// go straight into files beside the tree's, and get their names by a rename (package tree). What arrived is what
// was asked for, or an error: every object is found by the hash of its own content, starting from the SHA.
//
// What git does at a checkout and this package does not is refused with a sentence, or left to git: Git LFS,
// working-tree-encoding, ident. Other filters are always refused. Line ends (eol=crlf) are converted as git does.
//
// Over SSH the host's keys are pinned and never trusted on first use; agents, key files and configurations of the
// machine are not looked at.
package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/tree"
)

// Config says where revisions come from. Only URL has no default.
type Config struct {
	// URL is the repository's clone URL: https://, http://, ssh:// or user@host:path, without credentials in it.
	URL  string
	Auth Auth
	// KnownHosts is the text of a known_hosts file (sshd(8)): hashed names, [host]:port, @cert-authority and @revoked
	// are known. SSH needs the lines of URL's host; HTTP takes none.
	KnownHosts string
	// SubmoduleHosts are hosts, "name" (on the scheme's own port) or "name:port", beside URL's own that submodules may
	// come from. The credentials never go there, which leaves public repositories over HTTP(S).
	SubmoduleHosts []string
	// Engine is who fetches; EngineAuto.
	Engine Engine
	// Verify demands a signature; nil demands none.
	Verify *Verification
	// Limits bound the tree, and with it the transfer.
	Limits tree.Limits
	// Idle ends a connection on which nothing arrives for that long, or next to nothing for ten times as long; 30s.
	Idle time.Duration
	// ResolveTimeout and FetchTimeout bound a whole Resolve (1m) and Fetch (15m).
	ResolveTimeout, FetchTimeout time.Duration
	// AllowPlaintextAuth sends the credentials over http:// to other machines too. By default only loopback gets them.
	AllowPlaintextAuth bool
	// Log takes the one thing that is worth a line and no error: a fetch that takes the long way. nil drops it.
	Log *zap.Logger
	// Transport carries the requests; nil stands for the default one (proxies from the environment, system roots and
	// SSL_CERT_FILE, HTTP/2).
	Transport *http.Transport
}

// Auth is the credentials: over HTTP those for basic auth, which is how every git host takes tokens too, over SSH a
// key. The zero value is none. They are shown to URL's own scheme, host and port alone.
type Auth struct {
	// User is "x-access-token" by default: GitHub, GitLab and Gitea take any name beside a token. Bitbucket wants
	// "x-token-auth", GitLab's deploy tokens their own name. Over SSH it is the URL's, or "git".
	User   string
	Secret Secret // password or token, for HTTP
	Key    Secret // private key as ssh-keygen writes it, without a passphrase, for SSH
}

// Secret is a string that does not print.
type Secret string

const masked = "***"

func (Secret) String() string   { return masked }
func (Secret) GoString() string { return masked }

// MarshalText keeps a secret out of JSON and YAML as well.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// Source is one repository. It holds no connection between calls, and may be used by several goroutines.
type Source struct {
	config Config
	home   *remote
}

// New checks the configuration. No error names a credential.
func New(c Config) (*Source, error) {
	s := &Source{config: c}
	home, err := newRemote(&s.config)
	if err != nil {
		return nil, err
	}
	s.home = home
	for _, h := range c.SubmoduleHosts {
		if err := checkSubmoduleHost(h); err != nil {
			return nil, fmt.Errorf("source %s: %w", home.text, err)
		}
	}
	s.config.Limits = c.Limits.WithDefaults()
	if err := c.Engine.check(); err != nil {
		return nil, fmt.Errorf("source %s: %w", home.text, err)
	}
	for d, def := range map[*time.Duration]time.Duration{
		&s.config.Idle: 30 * time.Second, &s.config.ResolveTimeout: time.Minute, &s.config.FetchTimeout: 15 * time.Minute,
	} {
		if *d == 0 {
			*d = def
		}
	}
	if c.Log == nil {
		s.config.Log = zap.NewNop()
	}
	return s, nil
}

// URL is the repository's URL, for people.
func (s *Source) URL() string { return s.home.text }

// Resolve finds the full SHA of the commit that a ref stands for: a branch, a tag (annotated ones are peeled), a
// full name (refs/…), HEAD, or a full SHA, which is returned in lower case without asking the server.
//
// Where signed tags are demanded, ref must be such a tag, or a SHA; whose signature is missing or does not count is a *RevisionError.
//
// Errors: ErrBadRef (no legal name: nothing was sent), ErrRefNotFound, ErrAmbiguous, ErrEmptyRepository,
// ErrDenied, ErrNoRepository, ErrHostKey; all others are of the world and worth another try.
func (s *Source) Resolve(ctx context.Context, ref string) (string, error) {
	if isSHA(ref) || len(ref) == sha256Digits && isHex(ref) && s.git() != "" {
		return strings.ToLower(ref), nil
	}
	if err := CheckRef(ref); err != nil {
		return "", err
	}
	ctx, cancel := deadline(ctx, s.config.ResolveTimeout, "resolving took")
	defer cancel()
	sha, err := withGit(s, "resolve", func() (string, error) { return s.resolve(ctx, ref) },
		func(program string) (string, error) { return s.resolveByGit(ctx, program, ref) })
	if err != nil {
		return "", s.explain("resolve "+quoted(ref)+" at "+s.URL(), err)
	}
	return sha, nil
}

func (s *Source) resolve(ctx context.Context, ref string) (_ string, err error) {
	c := s.home.connect(ctx)
	defer c.close()
	defer func() { err = c.cause(err) }()
	refs, err := c.refs()
	if err != nil {
		return "", err
	}
	names := refs.names()
	sha, err := names.lookup(ref)
	if err != nil || s.config.Verify == nil || !s.config.Verify.Tag {
		return sha, err
	}
	_, tags := refs.tags()
	g, err := s.resolved(names, tags, ref, sha)
	if err != nil {
		return "", err
	}
	return sha, c.look(ctx, g, refs.shallow(sha, g.wanted()))
}

// resolved holds a name, where signed tags are demanded, to the very tag that it names: a branch, and another tag of the
// same commit, are somebody else's word.
func (s *Source) resolved(names names, tags map[string]string, ref, sha string) (*gate, error) {
	name, tag := names.annotated(ref, tags)
	if tag == "" {
		return nil, revisionf("%w: source.verify demands a signed tag, and this is a branch, or a tag without a signature: "+
			"deploy a tag that `git tag -s` made, or a full SHA to which one points", ErrSignature)
	}
	g := s.gate(sha)
	g.tags = map[string][]string{tag: {strings.TrimPrefix(name, tagPrefix)}}
	return g, nil
}

// deadline bounds a whole operation; what passes it says so.
func deadline(ctx context.Context, d time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%s longer than %s: %w", what, d, context.DeadlineExceeded))
}

// Fetch writes the tree of exactly this commit (40 hex digits) into dir, which it makes, or which is empty. After an
// error nothing of it is left. The files are not synced: call tree.Sync before the directory is renamed.
//
// Errors that lie in the commit itself are of type *RevisionError. ErrNoRevision: the server does not have, or does not
// hand out, the commit, or one of a submodule. ErrDenied, ErrNoRepository, ErrEmptyRepository, ErrHostKey; all others are of the world and worth another try.
func (s *Source) Fetch(ctx context.Context, sha, dir string) (err error) {
	if !isSHA(sha) && (len(sha) != sha256Digits || !isHex(sha)) {
		return fmt.Errorf("fetch %s: %w: want the 40 hex digits of a commit", quoted(sha), ErrBadRef)
	}
	sha = strings.ToLower(sha)
	ctx, cancel := deadline(ctx, s.config.FetchTimeout, "fetching took")
	defer cancel()
	_, err = withGit(s, "fetch", func() (none struct{}, err error) { return none, s.fetch(ctx, sha, dir, "") },
		func(program string) (none struct{}, err error) { return none, s.fetch(ctx, sha, dir, program) })
	if err != nil {
		return s.explain("fetch "+sha+" from "+s.URL(), err)
	}
	return nil
}

// fetch writes a tree with our own reader, or with the git program.
func (s *Source) fetch(ctx context.Context, sha, dir, program string) (err error) {
	if program == "" && !isSHA(sha) {
		return beyond(ErrSHA256)
	}
	w, err := tree.New(dir, s.config.Limits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	f := &fetching{source: s, writer: w, entries: s.config.Limits.Files, gate: s.gate(sha), program: program}
	if err := f.tree(ctx, s.home, sha, nil); err != nil {
		return err
	}
	return blame(w.Finish(ctx))
}
