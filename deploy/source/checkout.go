package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/bootagent/bootagent/deploy/tree"
)

// revisionf makes an error that lies in the commit.
func revisionf(format string, args ...any) error {
	return &RevisionError{Err: fmt.Errorf(format, args...)}
}

// checkout writes a commit's tree below prefix, and gives its submodules, of which it makes the directories alone.
// Everything is looked up by the hash that was computed from its content, so what is written is what the SHA says.
// Of entries it takes those that it visits.
func (p *pack) checkout(ctx context.Context, sha string, w *tree.Writer, prefix string, entries *int) ([]submodule, error) {
	commit := p.objects[plumbing.NewHash(sha)]
	if commit == nil {
		return nil, ErrNoRevision
	}
	switch commit.kind {
	case plumbing.CommitObject:
	case plumbing.TagObject:
		of, _, _ := bytes.Cut(bytes.TrimPrefix(commit.data, []byte("object ")), []byte("\n"))
		return nil, revisionf("it is an annotated tag, not a commit: use what it points to, %s", of)
	default:
		return nil, revisionf("it is a %s, not a commit", commit.kind)
	}
	line, _, _ := bytes.Cut(commit.data, []byte("\n"))
	root, ok := bytes.CutPrefix(line, []byte("tree "))
	if !ok || !isSHA(string(root)) {
		return nil, revisionf("the commit does not begin with its tree")
	}
	c := &checkout{ctx: ctx, pack: p, writer: w, prefix: prefix, entries: entries}
	if err := c.directory("", plumbing.NewHash(string(root)), nil); err != nil {
		return nil, err
	}
	return c.submodules()
}

// checkout is the state of one walk over a tree. Names are relative to the repository, but for the writer's, which
// stand below prefix.
type checkout struct {
	ctx     context.Context
	pack    *pack
	writer  *tree.Writer
	prefix  string
	entries *int // left to visit: directories can be nested in ways that write nothing and never end
	rules   int  // bytes of .gitattributes read so far
	links   []submodule
	modules *object // .gitmodules
}

// at is where the writer has what the repository calls name.
func (c *checkout) at(name string) string { return path.Join(c.prefix, name) }

// The kinds of entries that git itself writes (gitformat-index(5)), and one that it wrote long ago.
const (
	modeDirectory  = "40000"
	modeFile       = "100644"
	modeGroupFile  = "100664"
	modeExecutable = "100755"
	modeLink       = "120000"
	modeSubmodule  = "160000"
)

// entry is one line of a tree object.
type entry struct {
	mode string
	name string
	hash plumbing.Hash
}

func (c *checkout) directory(dir string, hash plumbing.Hash, above *attributes) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if dir != "" { // before the way down: what is above stays in memory
		if err := c.writer.Check(c.at(dir)); err != nil {
			return err
		}
	}
	o, err := c.object(hash, plumbing.TreeObject, dir)
	if err != nil {
		return err
	}
	entries, err := parseTree(o.data, *c.entries)
	if errors.Is(err, errTooMany) {
		return &tree.LimitError{Path: c.at(dir), What: "files, links and directories", Limit: int64(c.writer.Limits().Files)}
	}
	if err != nil {
		return revisionf("the directory %q: %w", dir, err)
	}
	*c.entries -= len(entries)
	attrs, err := c.attributes(dir, entries, above)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := tree.CheckName(e.name); err != nil {
			return fmt.Errorf("in the directory %q: %w", dir, err)
		}
		if err := c.entry(path.Join(dir, e.name), e, attrs); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkout) entry(name string, e entry, attrs *attributes) error {
	switch e.mode {
	case modeDirectory:
		return c.directory(name, e.hash, attrs)
	case modeFile, modeGroupFile, modeExecutable:
		return c.file(name, e, attrs)
	case modeLink:
		o, err := c.object(e.hash, plumbing.BlobObject, name)
		if err != nil {
			return err
		}
		target, err := c.read(o, 1<<16)
		if err != nil {
			return err
		}
		return c.writer.Symlink(c.at(name), string(target))
	case modeSubmodule:
		c.links = append(c.links, submodule{path: name, sha: e.hash.String()})
		return c.writer.Dir(c.at(name))
	}
	return revisionf("%q has the unknown mode %s", name, e.mode)
}

func (c *checkout) file(name string, e entry, attrs *attributes) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	o, err := c.object(e.hash, plumbing.BlobObject, name)
	if err != nil {
		return err
	}
	if name == modulesName {
		c.modules = o
	}
	if o.lfs {
		return beyond(revisionf("%q is a pointer of Git LFS, which is not supported: commit the file itself, or let the build fetch it", name))
	}
	executable := e.mode == modeExecutable
	convert, err := attrs.conversion(name)
	if err != nil {
		return err
	}
	if convert != nil {
		done, err := c.convert(name, executable, o, convert)
		if done || err != nil {
			return err
		}
	}
	if o.path == "" {
		o.path = c.at(name)
		return c.writer.Adopt(o.path, executable, o.temp)
	}
	first, err := c.writer.Open(o.path)
	if err != nil {
		return err
	}
	return errors.Join(c.writer.File(c.ctx, c.at(name), executable, first), first.Close())
}

// convertMax bounds a file that a checkout would change: such files are text. It is in memory three times.
const convertMax = 16 << 20

// convert writes a file as a checkout would change it; done is false if that is as it is in the repository.
func (c *checkout) convert(name string, executable bool, o *object, convert conversion) (done bool, err error) {
	before, err := c.read(o, convertMax)
	if err != nil {
		return false, fmt.Errorf("%q: %w", name, err)
	}
	after, err := convert(before)
	if err != nil {
		return false, beyond(revisionf("%q: %w", name, err)) // it has the attribute ident
	}
	if bytes.Equal(before, after) {
		return false, nil
	}
	return true, c.writer.File(c.ctx, c.at(name), executable, bytes.NewReader(after))
}

// read gives a blob's content.
func (c *checkout) read(o *object, most int64) ([]byte, error) {
	if o.size > most {
		return nil, &tree.LimitError{Path: o.hash.String(), What: "bytes", Limit: most}
	}
	open := func() (io.ReadCloser, error) { return c.writer.OpenTemp(o.temp) }
	if o.path != "" {
		open = func() (io.ReadCloser, error) { return c.writer.Open(o.path) }
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(f)
	return content, errors.Join(err, f.Close())
}

// object finds an object of the tree. One that is missing is the server's fault, one of another kind the commit's.
func (c *checkout) object(hash plumbing.Hash, kind plumbing.ObjectType, name string) (*object, error) {
	o := c.pack.objects[hash]
	if o == nil {
		return nil, fmt.Errorf("the server left out the object %s (%q): try again", hash, name)
	}
	if o.kind != kind {
		return nil, revisionf("%q is said to be a %s, but is a %s", name, kind, o.kind)
	}
	return o, nil
}

// errTooMany is a tree object's with more entries than may come.
var errTooMany = errors.New("it has too many entries")

// parseTree reads a tree object: mode, space, name, NUL, and the hash's 20 bytes, again and again, but at most that often.
func parseTree(data []byte, most int) ([]entry, error) {
	var entries []entry
	seen := map[string]bool{}
	for len(data) > 0 {
		if len(entries) >= most {
			return nil, errTooMany
		}
		mode, rest, ok := bytes.Cut(data, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < len(plumbing.Hash{}) || len(mode) > 6 {
			return nil, errors.New("it is cut off or malformed")
		}
		e := entry{mode: string(mode), name: string(name), hash: plumbing.Hash(rest[:len(plumbing.Hash{})])}
		if seen[e.name] {
			return nil, &tree.HostileError{Path: e.name, Reason: "the name stands there twice"}
		}
		seen[e.name] = true
		entries = append(entries, e)
		data = rest[len(plumbing.Hash{}):]
	}
	return entries, nil
}

// isLFSPointer knows the files that stand in for others (git-lfs's docs/spec.md).
func isLFSPointer(content []byte) bool {
	return len(content) < 1024 && bytes.HasPrefix(content, []byte("version https://git-lfs.github.com/spec/"))
}
