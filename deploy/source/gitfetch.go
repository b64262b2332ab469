package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/deploy/tree"
)

// resolveByGit is resolve with the machine's git.
func (s *Source) resolveByGit(ctx context.Context, program, ref string) (sha string, err error) {
	return inScratch(func(scratch string) (string, error) {
		g, err := newMachineGit(ctx, program, s.home, scratch, false)
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, g.close()) }()
		listed, err := g.list(ctx)
		if err != nil {
			return "", err
		}
		names := listed.names()
		sha, err := names.lookup(ref)
		if err != nil || s.config.Verify == nil || !s.config.Verify.Tag {
			return sha, err
		}
		gate, err := s.resolved(names, listed.tags, ref, sha)
		if err != nil {
			return "", err
		}
		return sha, s.verifyTags(ctx, program, gate)
	})
}

// verifyTags asks for the tags that a gate waits for, and nothing else.
func (s *Source) verifyTags(ctx context.Context, program string, gate *gate) error {
	_, err := inScratch(func(scratch string) (none struct{}, err error) {
		g, err := newMachineGit(ctx, program, s.home, scratch, gate.sha256)
		if err != nil {
			return none, err
		}
		defer func() { err = errors.Join(err, g.close()) }()
		return none, g.through(ctx, gate, gate.wanted(), "--filter=tree:0", "--depth=1")
	})
	return err
}

// verifyByGit is verify with the machine's git.
func (s *Source) verifyByGit(ctx context.Context, program string, gate *gate) error {
	_, err := inScratch(func(scratch string) (none struct{}, err error) {
		g, err := newMachineGit(ctx, program, s.home, scratch, gate.sha256)
		if err != nil {
			return none, err
		}
		defer func() { err = errors.Join(err, g.close()) }()
		return none, g.fetch(ctx, gate.sha, gate, "--filter=tree:0")
	})
	return err
}

func inScratch[T any](do func(dir string) (T, error)) (done T, err error) {
	dir, err := os.MkdirTemp("", "bootagent-git-")
	if err != nil {
		return done, fmt.Errorf("make room for git: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return do(dir)
}

// listing is what git ls-remote says.
type listing struct {
	refs, peeled, tags map[string]string // by full name; tags are those that are peeled
	head               string
}

func (l listing) names() names {
	return names{all: maps.Keys(l.refs), head: l.head, commit: func(name string) (string, bool) {
		if sha, ok := l.peeled[name]; ok {
			return sha, true
		}
		sha, ok := l.refs[name]
		return sha, ok
	}}
}

func (g *machineGit) list(ctx context.Context) (listing, error) {
	out, err := g.output(ctx, refsMax, "ls-remote", "--quiet", "--symref", "--", g.url())
	if err != nil {
		return listing{}, err
	}
	l := listing{refs: map[string]string{}, peeled: map[string]string{}, tags: map[string]string{}}
	for line := range strings.Lines(string(out)) {
		sha, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if target, symbolic := strings.CutPrefix(sha, "ref: "); symbolic && name == "HEAD" {
			l.head = target
			continue
		}
		if !ok || !isHex(sha) {
			continue
		}
		if name, peeled := strings.CutSuffix(name, "^{}"); peeled {
			l.peeled[name], l.tags[name] = sha, l.refs[name]
		} else {
			l.refs[name] = sha
		}
	}
	if len(l.refs) == 0 {
		return l, ErrEmptyRepository
	}
	return l, nil
}

// fetch brings a commit into git's repository and holds it to the gate. Objects lie in a pack until then, in the scratch.
func (g *machineGit) fetch(ctx context.Context, sha string, gate *gate, options ...string) error {
	if gate != nil && gate.verification.Tag {
		listed, err := g.list(ctx)
		if err != nil {
			return err
		}
		if err := gate.expect(listed.peeled, listed.tags); err != nil {
			return err
		}
	}
	wanted := gate.wanted()
	if len(wanted) == 0 {
		wanted = []string{sha}
	}
	err := g.through(ctx, gate, wanted, append(options, "--depth=1")...)
	if !errors.Is(err, errNotOurRef) {
		return err
	}
	err = g.through(ctx, gate, []string{"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"}, options...)
	if err != nil {
		return err
	}
	if err := g.run(ctx, nil, nil, "cat-file", "-e", sha+"^{commit}"); err != nil {
		return fmt.Errorf("%w: no branch and no tag contains it", ErrNoRevision)
	}
	return nil
}

// through fetches, and shows the gate what it waits for.
func (g *machineGit) through(ctx context.Context, gate *gate, wanted []string, options ...string) error {
	args := append([]string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head"}, options...)
	if err := g.bounded(ctx, func(ctx context.Context) error {
		return g.run(ctx, nil, nil, append(append(args, "--", g.url()), wanted...)...)
	}); err != nil {
		return err
	}
	if gate.passes() == nil {
		return nil
	}
	kind, objects := kindTag, gate.wanted()
	if !gate.verification.Tag {
		kind, objects = kindCommit, []string{gate.sha}
	}
	for _, name := range objects {
		raw, err := g.output(ctx, signedMax, "cat-file", kind, name)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoRevision, err)
		}
		if err := gate.saw(kind, name, raw); err != nil {
			return err
		}
	}
	return gate.passes()
}

// lookEvery is how often the size of what git has written is looked at.
const lookEvery = 250 * time.Millisecond

// bounded ends git when it has written more than a tree may have.
func (g *machineGit) bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	most, ended := g.remote.config.Limits.Bytes+slack, make(chan struct{})
	defer func() { <-ended }()
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(ended)
		ticks := time.NewTicker(lookEvery)
		defer ticks.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticks.C:
			}
			if sizeOf(g.scratch) > most {
				cancel(&tree.LimitError{Path: "what git fetches", What: "bytes in all", Limit: most})
				return
			}
		}
	}()
	return do(ctx)
}

// sizeOf is the bytes of all files below dir. What goes while it looks does not count.
func sizeOf(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}
