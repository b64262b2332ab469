// Package source reads revisions from a git repository over HTTP(S), without a git binary: a ref becomes a full
// commit SHA, and a SHA becomes a tree on the disk.
//
// It speaks git's smart protocol (version 0) itself, with go-git's codecs for messages and packs: go-git's own client
// keeps no context in places, and its checkout takes none. The pack is parsed once, as it comes off the wire; blobs
// go straight into files beside the tree's, and get their names by a rename (package tree). What arrived is what
// was asked for, or an error: every object is found by the hash of its own content, starting from the SHA.
//
// What git does at a checkout and this package does not is refused with a sentence: submodules, filters (Git LFS),
// working-tree-encoding, ident. Line ends (eol=crlf) are converted as git does.
package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/tree"
)

// Config says where revisions come from. Only URL has no default.
type Config struct {
	// URL is the repository's clone URL, https:// or http://, without credentials in it.
	URL  string
	Auth Auth
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

// Auth is the credentials for basic auth, which is how every git host takes tokens too. The zero value is none.
type Auth struct {
	// User is "x-access-token" by default: GitHub, GitLab and Gitea take any name beside a token. Bitbucket wants
	// "x-token-auth", GitLab's deploy tokens their own name.
	User   string
	Secret Secret // password or token
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
	url    *url.URL
}

// New checks the configuration. No error names a credential.
func New(c Config) (*Source, error) {
	u, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Auth.Secret == "" && c.Auth.User != "" {
		return nil, fmt.Errorf("source %s: there is a user (%q) but no password or token", u, c.Auth.User)
	}
	if strings.ContainsAny(c.Auth.User, ":\r\n") || strings.ContainsAny(string(c.Auth.Secret), "\r\n") {
		return nil, fmt.Errorf("source %s: the user must not contain a colon, nor the credentials a line break", u)
	}
	if c.Auth.Secret != "" && u.Scheme == "http" && !isLoopback(u.Hostname()) && !c.AllowPlaintextAuth {
		return nil, fmt.Errorf("source %s: the credentials would travel in clear text: use https://", u)
	}
	if c.Auth.User == "" {
		c.Auth.User = "x-access-token"
	}
	c.Limits = c.Limits.WithDefaults()
	for d, def := range map[*time.Duration]time.Duration{
		&c.Idle: 30 * time.Second, &c.ResolveTimeout: time.Minute, &c.FetchTimeout: 15 * time.Minute,
	} {
		if *d == 0 {
			*d = def
		}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &Source{config: c, url: u}, nil
}

func parseURL(raw string) (*url.URL, error) {
	const want = "want https://host/path/of/repository.git"
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, errors.New("source: the repository's URL is missing: " + want)
	case err != nil && strings.Contains(raw, "@") && !strings.Contains(raw, "://"):
		return nil, fmt.Errorf("source %q: SSH is not supported yet: %s", hideUserinfo(raw), want)
	case err != nil:
		// url's own error repeats the whole input, and with it what may be a password.
		return nil, fmt.Errorf("source %q is no URL: %s", hideUserinfo(raw), want)
	case u.Scheme == "ssh" || u.Scheme == "git+ssh":
		return nil, fmt.Errorf("source %q: SSH is not supported yet: %s", hideUserinfo(raw), want)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("source %q: the scheme must be https or http: %s", hideUserinfo(raw), want)
	case u.User != nil:
		return nil, fmt.Errorf("source %q: the URL carries credentials, which would show in logs: name the parameter "+
			"that holds them in source.auth.parameter", hideUserinfo(raw))
	case u.Hostname() == "" || strings.Trim(u.Path, "/") == "":
		return nil, fmt.Errorf("source %q: host or path is missing: %s", raw, want)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("source %q: a repository's URL has neither a query nor a fragment: %s", hideUserinfo(raw), want)
	}
	return u.JoinPath("/"), nil // with exactly one slash at its end
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// URL is the repository's URL, for people.
func (s *Source) URL() string { return strings.TrimSuffix(s.url.String(), "/") }

// Resolve finds the full SHA of the commit that a ref stands for: a branch, a tag (annotated ones are peeled), a
// full name (refs/…), HEAD, or a full SHA, which is returned in lower case without asking the server.
//
// Errors: ErrBadRef (no legal name: nothing was sent), ErrRefNotFound, ErrAmbiguous, ErrEmptyRepository,
// ErrDenied, ErrNoRepository; all others are of the world and worth another try.
func (s *Source) Resolve(ctx context.Context, ref string) (string, error) {
	if err := CheckRef(ref); err != nil {
		return "", err
	}
	if isSHA(ref) {
		return strings.ToLower(ref), nil
	}
	ctx, cancel := deadline(ctx, s.config.ResolveTimeout, "resolving took")
	defer cancel()
	c := s.connect(ctx)
	defer c.close()
	refs, err := c.refs()
	if err != nil {
		return "", s.explain("resolve "+quoted(ref)+" at "+s.URL(), c, err)
	}
	sha, err := refs.lookup(ref)
	if err != nil {
		return "", s.explain("resolve "+quoted(ref)+" at "+s.URL(), c, err)
	}
	return sha, nil
}

// deadline bounds a whole operation; what passes it says so.
func deadline(ctx context.Context, d time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%s longer than %s: %w", what, d, context.DeadlineExceeded))
}

// Fetch writes the tree of exactly this commit (40 hex digits) into dir, which it makes, or which is empty. After an
// error nothing of it is left. The files are not synced: call tree.Sync before the directory is renamed.
//
// Errors that lie in the commit itself are of type *RevisionError. ErrNoRevision: the server does not have, or does not
// hand out, the commit. ErrDenied, ErrNoRepository, ErrEmptyRepository; all others are of the world and worth another try.
func (s *Source) Fetch(ctx context.Context, sha, dir string) (err error) {
	if !isSHA(sha) {
		return fmt.Errorf("fetch %s: %w: want the 40 hex digits of a commit", quoted(sha), ErrBadRef)
	}
	sha = strings.ToLower(sha)
	ctx, cancel := deadline(ctx, s.config.FetchTimeout, "fetching took")
	defer cancel()
	c := s.connect(ctx)
	defer c.close()
	if err := s.fetch(ctx, c, sha, dir); err != nil {
		return s.explain("fetch "+sha+" from "+s.URL(), c, err)
	}
	return nil
}

func (s *Source) fetch(ctx context.Context, c *conn, sha, dir string) error {
	refs, err := c.refs()
	if err != nil {
		return err
	}
	err = s.attempt(ctx, c, refs.shallow(sha), sha, dir)
	if errors.Is(err, ErrNoRevision) {
		return errors.New("the server sent other objects than the commit that was asked for: is somebody in between?")
	}
	if !errors.Is(err, errNotOurRef) {
		return err
	}
	if refs.anySHA() {
		return fmt.Errorf("%w: it may have been removed by a forced push", ErrNoRevision)
	}
	s.config.Log.Warn("the git server hands out no single commits: fetching the whole history; "+
		"set uploadpack.allowReachableSHA1InWant on the server", zap.String("url", s.URL()), zap.String("revision", sha))
	err = s.attempt(ctx, c, refs.everything(), sha, dir)
	var limit *tree.LimitError
	if errors.Is(err, ErrNoRevision) {
		return fmt.Errorf("%w: no branch and no tag contains it", ErrNoRevision)
	}
	if errors.As(err, &limit) && !isRevision(err) {
		return fmt.Errorf("the server hands out no single commits, and its whole history is too big (%w): "+
			"set uploadpack.allowReachableSHA1InWant=true in the repository on the server", err)
	}
	return err
}

// attempt makes one request for a pack and, if the commit is in it, its tree.
func (s *Source) attempt(ctx context.Context, c *conn, want wants, sha, dir string) (err error) {
	stream, err := c.pack(want)
	if err != nil {
		return err
	}
	w, err := tree.New(dir, s.config.Limits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	p, err := readPack(ctx, stream, w, s.config.Limits)
	if err != nil {
		if want.depth == 1 {
			return blame(err) // a shallow pack holds nothing but this tree
		}
		return err
	}
	if err := p.checkout(ctx, sha, w); err != nil {
		return blame(err)
	}
	return blame(w.Finish(ctx))
}
