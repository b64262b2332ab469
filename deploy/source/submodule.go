package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/tree"
)

const (
	// submoduleDepth bounds submodules within submodules. A commit can't contain itself, its hash would have to
	// contain itself, but its history is as long as somebody makes it.
	submoduleDepth = 5
	// submodulesMax bounds the submodules of a whole tree: each costs a connection.
	submodulesMax = 100
)

// submodule is a commit of another repository that stands in a tree.
type submodule struct {
	path string // in its repository
	sha  string
	url  string // as .gitmodules has it
	skip bool   // update = none: git leaves the directory empty
}

// fetching is one tree on its way, from however many repositories. They share one writer and one set of limits.
type fetching struct {
	source  *Source
	writer  *tree.Writer
	entries int    // left to visit
	spent   spent  // on packs, so far
	modules int    // submodules so far
	program string // of git; "" is our own reader
	gate    *gate  // of the main repository's commit, which names all the others
}

// step is a repository in the way from the main one down to where we are.
type step struct {
	remote *remote
	path   string // in the repository above
}

// tree writes a commit of r, which above leads to, and then its submodules.
func (f *fetching) tree(ctx context.Context, r *remote, sha string, above []step) error {
	submodules, err := f.commit(ctx, r, sha, prefixOf(above))
	if err != nil {
		return err
	}
	for _, m := range submodules {
		if m.skip {
			continue
		}
		if err := f.submodule(ctx, r, m, above); err != nil {
			return fmt.Errorf("the submodule %q (%s at %s): %w", m.path, quoted(m.url), m.sha, err)
		}
	}
	return nil
}

func prefixOf(above []step) string {
	prefix := ""
	for _, s := range above {
		prefix = path.Join(prefix, s.path)
	}
	return prefix
}

func (f *fetching) submodule(ctx context.Context, parent *remote, m submodule, above []step) error {
	if f.modules++; f.modules > submodulesMax {
		return revisionf("there are more than %d submodules in all: let the build fetch them", submodulesMax)
	}
	r, err := f.source.submoduleRemote(parent, m.url)
	if err != nil {
		return &RevisionError{Err: err}
	}
	below := append(slices.Clip(above), step{remote: r, path: m.path})
	if len(below) > submoduleDepth {
		if slices.ContainsFunc(above, func(s step) bool { return s.remote.text == r.text }) || r.text == f.source.home.text {
			return revisionf("submodules stand in submodules more than %d deep, and this repository is one of those above: it is a loop", submoduleDepth)
		}
		return revisionf("submodules stand in submodules more than %d deep: let the build fetch them", submoduleDepth)
	}
	return f.tree(ctx, r, m.sha, below)
}

// commit writes one repository's tree without its submodules.
func (f *fetching) commit(ctx context.Context, r *remote, sha, prefix string) ([]submodule, error) {
	g := f.gate
	f.gate = nil // what follows stands in a tree that passed it
	if f.program != "" {
		return f.commitByGit(ctx, r, sha, prefix, g)
	}
	var offered refs
	submodules, err := f.attempt(ctx, r, sha, prefix, g, func(refs refs) wants {
		offered = refs
		return refs.shallow(sha, g.wanted())
	})
	if errors.Is(err, ErrNoRevision) {
		return nil, errors.New("the server sent other objects than the commit that was asked for: is somebody in between?")
	}
	if !errors.Is(err, errNotOurRef) {
		return submodules, err
	}
	if offered.anySHA() {
		return nil, errGone()
	}
	f.source.config.Log.Warn("the git server hands out no single commits: fetching the whole history; "+
		"set uploadpack.allowReachableSHA1InWant on the server", zap.String("url", r.text), zap.String("revision", sha))
	submodules, err = f.attempt(ctx, r, sha, prefix, g, refs.everything)
	var limit *tree.LimitError
	if errors.Is(err, ErrNoRevision) || errors.Is(err, errNotOurRef) {
		return nil, fmt.Errorf("%w: no branch and no tag contains it", ErrNoRevision)
	}
	if errors.As(err, &limit) && !isRevision(err) {
		return nil, beyond(fmt.Errorf("the server hands out no single commits, and its whole history is too big (%w): "+
			"set uploadpack.allowReachableSHA1InWant=true in the repository on the server", err))
	}
	return submodules, err
}

func errGone() error {
	return fmt.Errorf("%w: it may have been removed by a forced push", ErrNoRevision)
}

// attempt fetches through the gate. Where the server sends what is signed too late, or as a delta, that is fetched first.
func (f *fetching) attempt(ctx context.Context, r *remote, sha, prefix string, g *gate, choose func(refs) wants) ([]submodule, error) {
	submodules, err := f.request(ctx, r, sha, prefix, g, choose)
	if !errors.Is(err, errUnverified) {
		return submodules, err
	}
	if err := r.verify(ctx, g); err != nil {
		return nil, err
	}
	return f.request(ctx, r, sha, prefix, g, choose)
}

// request makes one connection, one request for a pack and, if the commit is in it, its tree. Each request connects
// anew: over SSH a connection is good for one.
func (f *fetching) request(ctx context.Context, r *remote, sha, prefix string, g *gate, choose func(refs) wants) (_ []submodule, err error) {
	c := r.connect(ctx)
	defer c.close()
	defer func() { err = c.cause(err) }()
	refs, err := c.refs()
	if err != nil {
		return nil, err
	}
	if err := g.expect(refs.tags()); err != nil {
		return nil, err
	}
	want := choose(refs)
	stream, err := c.pack(want)
	if err != nil {
		return nil, err
	}
	p, err := readPack(ctx, stream, f.writer, want.depth == 0, &f.spent, g)
	if err != nil {
		if want.depth == 1 {
			return nil, blame(err) // a shallow pack holds nothing but this tree
		}
		return nil, err
	}
	submodules, err := p.checkout(ctx, sha, f.writer, prefix, &f.entries)
	return submodules, blame(err)
}

// submoduleRemote finds where a submodule is and whether it may come from there. The URL is whatever stands in the
// repository: it must not reach into this machine or the network around it, nor take the credentials along.
func (s *Source) submoduleRemote(parent *remote, raw string) (*remote, error) {
	text := raw
	if strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../") {
		var err error
		if text, err = parent.relative(raw); err != nil {
			return nil, fmt.Errorf("its URL in .gitmodules is refused: %w", err)
		}
	}
	l, err := parseLocation(text)
	if err != nil {
		return nil, fmt.Errorf("its URL in .gitmodules is refused: %w", err)
	}
	if l.isSSH() && l.user == "" {
		l.user = "git"
		if s.home.isSSH() {
			l.user = s.home.user
		}
	}
	r := &remote{location: l, config: &s.config, submodule: true}
	switch {
	case l.sameOrigin(s.home.location):
		r.auth, r.key, r.pins = s.home.auth, s.home.key, s.home.pins
		return r, nil
	case !s.submoduleAllowed(l):
		return nil, fmt.Errorf("its URL in .gitmodules leads to %s, and submodules come from the main repository's host (%s) alone: "+
			"use a relative URL (../name.git), or add the host to source.submodule_hosts", l.address(), s.home.address())
	case l.isSSH():
		return nil, fmt.Errorf("its URL in .gitmodules is for SSH to %s@%s, and the credentials go to the main repository's "+
			"scheme, user, host and port alone: use a relative URL (../name.git)", l.user, l.address())
	}
	r.foreign = true
	return r, nil
}

// submoduleAllowed knows the main repository's host, on its own port and on the schemes', and those of the configuration.
func (s *Source) submoduleAllowed(l location) bool {
	standard := l.port == defaultPort(l.scheme)
	if l.host == s.home.host && (standard || l.scheme == s.home.scheme && l.port == s.home.port) {
		return true
	}
	return slices.ContainsFunc(s.config.SubmoduleHosts, func(h string) bool {
		h = strings.ToLower(h)
		return h == l.address() || standard && h == l.host
	})
}

func checkSubmoduleHost(h string) error {
	host, port, err := net.SplitHostPort(h)
	if err != nil {
		host, port = h, "443"
	}
	l := location{scheme: "https", port: port}
	if l.check(host) != nil {
		return fmt.Errorf("source.submodule_hosts: %s is neither a host nor host:port", quoted(h))
	}
	return nil
}
