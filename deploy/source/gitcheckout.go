package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/bootagent/bootagent/deploy/tree"
)

// commitByGit is commit with the machine's git. Nothing is checked out: git archive converts the files, and our own writer
// judges and writes them.
func (f *fetching) commitByGit(ctx context.Context, r *remote, sha, prefix string, gate *gate) (_ []submodule, err error) {
	scratch, err := f.writer.Scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	g, err := newMachineGit(ctx, f.program, r, scratch, len(sha) == sha256Digits)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.fetch(ctx, sha, gate); err != nil {
		return nil, err
	}
	kind, err := g.output(ctx, 1<<10, "cat-file", "-t", sha)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRevision, err)
	}
	if k := strings.TrimSpace(string(kind)); k != kindCommit {
		return nil, revisionf("it is a %s, not a commit", k)
	}
	w := &gitCheckout{git: g, fetching: f, prefix: prefix, sha: sha}
	submodules, err := w.checkout(ctx)
	return submodules, blame(err)
}

// gitCheckout is one tree on its way from git into the writer.
type gitCheckout struct {
	git      *machineGit
	fetching *fetching
	prefix   string
	sha      string
	modules  bool // there is a file .gitmodules
	links    []submodule
	names    bytes.Buffer // of all files, each with a NUL
}

func (c *gitCheckout) at(name string) string { return path.Join(c.prefix, name) }

func (c *gitCheckout) checkout(ctx context.Context) ([]submodule, error) {
	if err := c.survey(ctx); err != nil {
		return nil, err
	}
	if err := c.refuseFilters(ctx); err != nil {
		return nil, err
	}
	// LFS files come while the archive is made.
	err := c.git.bounded(ctx, func(ctx context.Context) error {
		return c.git.stream(ctx, c.unpack, "archive", "--format=tar", c.sha)
	})
	if err != nil {
		return nil, err
	}
	if len(c.links) == 0 {
		return nil, nil
	}
	if !c.modules {
		return nil, errNoModules(c.links)
	}
	content, err := c.git.output(ctx, modulesMax, "cat-file", "blob", c.sha+":"+modulesName)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.at(modulesName), err)
	}
	return joinModules(c.links, content, c.at(modulesName))
}

// stream runs git while read takes its output; an error of read ends git, and is the better reason.
func (g *machineGit) stream(above context.Context, read func(context.Context, io.Reader) error, args ...string) error {
	ctx, cancel := context.WithCancelCause(above)
	defer cancel(nil)
	from, to := io.Pipe()
	taken := make(chan error, 1)
	go func() {
		err := read(ctx, from)
		if err != nil {
			cancel(err)
		}
		_ = from.CloseWithError(err)
		taken <- err
	}()
	err := g.run(ctx, nil, to, args...)
	_ = to.CloseWithError(err)
	readErr := <-taken
	switch {
	case above.Err() != nil:
		return context.Cause(above)
	case readErr != nil && (err == nil || !errors.Is(readErr, err)):
		return readErr // it came first, and git's is what came of it
	}
	return err
}

// survey goes over the names of a tree before git, which is not bounded, works on them: all must be such as the writer takes.
func (c *gitCheckout) survey(ctx context.Context) error {
	return c.git.stream(ctx, func(_ context.Context, r io.Reader) error {
		dirs := map[string]bool{".": true}
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 8<<10), 1<<20)
		lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
			if i := bytes.IndexByte(data, 0); i >= 0 {
				return i + 1, data[:i], nil
			}
			if atEOF && len(data) > 0 {
				return 0, nil, io.ErrUnexpectedEOF
			}
			return 0, nil, nil
		})
		for lines.Scan() {
			meta, name, _ := strings.Cut(lines.Text(), "\t")
			fields := strings.Fields(meta)
			if len(fields) != 3 {
				return fmt.Errorf("git ls-tree says %s, which makes no sense", quoted(lines.Text()))
			}
			if c.fetching.entries--; c.fetching.entries < 0 {
				return &tree.LimitError{Path: c.at(name), What: "files, links and directories", Limit: int64(c.fetching.writer.Limits().Files)}
			}
			if err := c.fetching.writer.Check(c.at(name)); err != nil {
				return err
			}
			if !dirs[path.Dir(name)] { // git prints it as it prints a file in a directory
				return &tree.HostileError{Path: c.at(name), Reason: "a name must not contain a slash"}
			}
			switch mode := strings.TrimPrefix(fields[0], "0"); mode {
			case modeSubmodule:
				c.links = append(c.links, submodule{path: name, sha: fields[2]})
			case modeFile, modeGroupFile, modeExecutable:
				c.names.WriteString(name + "\x00")
				c.modules = c.modules || name == modulesName
			case modeDirectory:
				dirs[name] = true
			case modeLink:
			default:
				return revisionf("%q has the unknown mode %s", name, mode)
			}
		}
		return lines.Err()
	}, "ls-tree", "-r", "-t", "-z", "--full-tree", c.sha)
}

// refuseFilters refuses what git would pass over: filters that nothing here is configured for.
func (c *gitCheckout) refuseFilters(ctx context.Context) error {
	if err := c.git.run(ctx, nil, nil, "read-tree", c.sha); err != nil {
		return err
	}
	var out bytes.Buffer
	most := int64(c.names.Len()) + 100*int64(bytes.Count(c.names.Bytes(), []byte{0})) + 1<<20
	if err := c.git.run(ctx, &c.names, &boundedWriter{w: &out, left: most}, "check-attr", "--cached", "-z", "--stdin", "filter"); err != nil {
		return err
	}
	hasLFS := strings.Contains(strings.Join(c.git.config, "\n"), "filter.lfs.process=")
	fields := strings.Split(out.String(), "\x00")
	for i := 0; i+2 < len(fields); i += 3 {
		name, value := fields[i], fields[i+2]
		switch {
		case value == "unspecified" || value == "unset" || value == "set":
		case value == lfs && hasLFS:
		case value == lfs:
			return fmt.Errorf("%q is kept by Git LFS, and git-lfs is not installed here: install it beside git", c.at(name))
		default:
			return refuseFilter(c.at(name), printable(value))
		}
	}
	return nil
}

// unpack writes an archive that git made.
func (c *gitCheckout) unpack(ctx context.Context, r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r) // the padding
			return err
		}
		if err != nil {
			return fmt.Errorf("what git archive wrote: %w", err)
		}
		if err := c.entry(ctx, h, archive); err != nil {
			return err
		}
	}
}

func (c *gitCheckout) entry(ctx context.Context, h *tar.Header, r io.Reader) error {
	w, name := c.fetching.writer, c.at(h.Name)
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		return w.Dir(c.at(strings.TrimSuffix(h.Name, "/")))
	case tar.TypeSymlink:
		return w.Symlink(name, h.Linkname)
	case tar.TypeReg:
		buffered := bufio.NewReaderSize(r, 1<<10)
		if start, err := buffered.Peek(1 << 10); errors.Is(err, io.EOF) && isLFSPointer(start) {
			return revisionf("%q is a pointer of Git LFS, but has no filter=lfs in .gitattributes: add it (`git lfs track`), or commit the file itself", name)
		}
		return w.File(ctx, name, h.FileInfo().Mode()&0o100 != 0, buffered)
	}
	return fmt.Errorf("git archive wrote %q as of the unknown type %q", name, h.Typeflag)
}
