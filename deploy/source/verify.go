package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/signature"
)

// Verification demands a signature before anything of a revision is written. A commit's names its whole tree, and with it
// the commits of its submodules.
type Verification struct {
	// Tag demands a signed annotated tag that points at the commit, in place of a signed commit.
	Tag bool
	// Trust says whose signatures count.
	Trust Trust
}

// Trust is whose signatures count (*signature.Trust). Its error lies in the object.
type Trust interface {
	Check(o signature.Object) (by string, err error)
}

const (
	// signedMax bounds a commit or a tag that is verified, in bytes: they are text that a person wrote.
	signedMax = 1 << 20
	// tagsMax bounds the tags of one commit that are looked at: those that come first by name.
	tagsMax = 100
)

// errUnverified means that something of the tree came before what signs it: verify that first.
var errUnverified = errors.New("the signature has not come yet")

// gate stands between fetch and writing: it opens when it has seen a signature that counts. A nil gate is open.
type gate struct {
	verification *Verification
	sha          string
	sha256       bool
	log          *zap.Logger
	tags         map[string][]string // tag objects that may open it → the names under which the server lists them
	opened       bool
	failed       []error // what was seen, and does not count
}

// gate is for one commit; nil where no signature is demanded.
func (s *Source) gate(sha string) *gate {
	if s.config.Verify == nil {
		return nil
	}
	return &gate{verification: s.config.Verify, sha: sha, log: s.config.Log, sha256: len(sha) == sha256Digits}
}

// expect notes which tags may open the gate: those that the server says point at the commit.
func (g *gate) expect(peeled, tags map[string]string) error {
	if g == nil || g.opened || !g.verification.Tag {
		return nil
	}
	var names []string
	for name, sha := range peeled {
		if sha == g.sha && strings.HasPrefix(name, tagPrefix) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return revisionf("%w: source.verify demands a signed tag, and no annotated tag points at the commit: make one (`git tag -s v1.2.3 %s`) and push it",
			ErrSignature, g.sha)
	}
	slices.Sort(names)
	g.tags, g.failed = map[string][]string{}, nil
	for _, name := range names[:min(len(names), tagsMax)] {
		g.tags[tags[name]] = append(g.tags[tags[name]], strings.TrimPrefix(name, tagPrefix))
	}
	return nil
}

// wanted are the tag objects to ask for.
func (g *gate) wanted() []string {
	if g == nil || g.opened {
		return nil
	}
	var all []string
	for sha := range g.tags {
		all = append(all, sha)
	}
	slices.Sort(all)
	return all
}

// saw looks at a commit or a tag, whose hash was computed from its content. It may open the gate; an error is the last
// word on the revision.
func (g *gate) saw(kind, sha string, raw []byte) error {
	if g == nil || g.opened {
		return nil
	}
	if !g.verification.Tag {
		if kind != kindCommit || sha != g.sha {
			return nil
		}
		by, err := g.commit(raw)
		return g.judge(fmt.Sprintf("the commit %s", sha), by, err)
	}
	names, awaited := g.tags[sha]
	if kind != kindTag || !awaited {
		return nil
	}
	delete(g.tags, sha)
	by, err := g.tag(raw, names)
	return g.judge(fmt.Sprintf("the tag %s", quoted(names[0])), by, err)
}

func (g *gate) commit(raw []byte) (by string, err error) {
	o, err := signature.Commit(raw, g.sha256)
	if err != nil {
		return "", err
	}
	if by, err = g.verification.Trust.Check(o); errors.Is(err, signature.ErrUnsigned) {
		err = fmt.Errorf("%w: sign it (`git commit --amend --no-edit -S`), push, and deploy what that makes", err)
	}
	return by, err
}

// tag holds a tag to what the server says that it is: under another name it could bring back an old release.
func (g *gate) tag(raw []byte, names []string) (by string, err error) {
	o, err := signature.Tag(raw)
	switch {
	case err != nil:
		return "", err
	case !slices.Contains(names, o.Name):
		return "", fmt.Errorf("it was made as %s, and somebody gave it another name", quoted(o.Name))
	case o.Kind != kindCommit || o.Target != g.sha:
		return "", fmt.Errorf("it points to the %s %s, and not to the commit %s", printable(o.Kind), printable(o.Target), g.sha)
	}
	if by, err = g.verification.Trust.Check(o); errors.Is(err, signature.ErrUnsigned) {
		err = fmt.Errorf("%w: make it anew (`git tag -s -f %s %s`) and push it", err, names[0], g.sha)
	}
	return by, err
}

func (g *gate) judge(what, by string, err error) error {
	if err == nil {
		g.opened = true
		g.log.Info("signature verified", zap.String("revision", g.sha), zap.String("object", what), zap.String("signed_by", by))
		return nil
	}
	g.failed = append(g.failed, fmt.Errorf("%s: %w", what, err))
	if err := g.passes(); !errors.Is(err, errUnverified) {
		return err
	}
	return nil
}

// passes says whether the tree may be written: not yet (errUnverified), or never (a RevisionError).
func (g *gate) passes() error {
	switch {
	case g == nil || g.opened:
		return nil
	case len(g.failed) == 0 || len(g.tags) > 0:
		return errUnverified
	}
	const shown = 3
	var texts []string
	for _, err := range g.failed[:min(len(g.failed), shown)] {
		texts = append(texts, err.Error())
	}
	return revisionf("%w (source.verify): %s", ErrSignature, strings.Join(texts, "; "))
}

// Verify says whether a commit's signature counts, as Fetch does before it writes anything. It fetches the commit, or its
// tags, alone, and writes nothing: for a release that comes from somewhere else than the repository. Where no signature is
// demanded it asks nobody.
//
// Errors are those of Fetch; a signature that is missing or does not count is a *RevisionError.
func (s *Source) Verify(ctx context.Context, sha string) error {
	sha = strings.ToLower(sha)
	g := s.gate(sha)
	if g == nil {
		return nil
	}
	if !isSHA(sha) && (len(sha) != sha256Digits || !isHex(sha)) {
		return fmt.Errorf("verify %s: %w: want the full name of a commit", quoted(sha), ErrBadRef)
	}
	ctx, cancel := deadline(ctx, s.config.ResolveTimeout, "verifying took")
	defer cancel()
	_, err := withGit(s, "verify", func() (none struct{}, err error) {
		if !isSHA(sha) {
			return none, beyond(ErrSHA256)
		}
		return none, s.home.verify(ctx, g)
	}, func(program string) (none struct{}, err error) { return none, s.verifyByGit(ctx, program, g) })
	if err != nil {
		return s.explain("verify "+sha+" from "+s.URL(), err)
	}
	return nil
}

// verify opens a gate by what signs the commit alone.
func (r *remote) verify(ctx context.Context, g *gate) error {
	var offered refs
	err := r.look(ctx, g, func(refs refs) wants {
		offered = refs
		return refs.shallow(g.sha, g.wanted())
	})
	if !errors.Is(err, errNotOurRef) {
		return err
	}
	if offered.anySHA() {
		return errGone()
	}
	return r.look(ctx, g, refs.everything)
}

// look makes one connection and one request.
func (r *remote) look(ctx context.Context, g *gate, choose func(refs) wants) (err error) {
	c := r.connect(ctx)
	defer c.close()
	defer func() { err = c.cause(err) }()
	refs, err := c.refs()
	if err != nil {
		return err
	}
	if err := g.expect(refs.tags()); err != nil {
		return err
	}
	return c.look(ctx, g, choose(refs))
}

func (c *conn) look(ctx context.Context, g *gate, want wants) error {
	want.signedOnly = true
	stream, err := c.pack(want)
	if err != nil {
		return err
	}
	err = readSigned(ctx, stream, c.remote.config.Limits, g)
	if errors.Is(err, errUnverified) {
		return fmt.Errorf("%w: the server left out what should be signed", ErrNoRevision)
	}
	return err
}
