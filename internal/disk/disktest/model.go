package disktest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/disk"
)

// The model of a disk: files and directories are nodes; a directory's names are
// edits of it, each made at once or not at all (a rename is one). An edit lasts
// when its directory, or the file system, is flushed after it; a file's content
// when the file, or the file system, is. What does not last may be on the disk
// or not, each edit for itself and in any order, as POSIX allows and ext4
// without a journal does; a content may be there, be empty, or be half there. A
// flushed file whose name was not flushed is nowhere to be found.

// node is a file, a link, or a directory.
type node struct {
	names  map[string]*node // a directory's, as a running system sees them
	to     string           // a link's
	data   []byte
	lasts  bool // the content
	isLink bool
}

type edit struct {
	dir  *node
	name string
	to   *node // nil: gone
}

// step is the edits of one change.
type step struct {
	edits []edit
	lasts bool
}

type model struct {
	root  *node
	steps []*step
	files []*node
}

func newModel() *model { return &model{root: &node{names: map[string]*node{}}} }

func (m *model) find(path string) (*node, error) {
	at := m.root
	if path == "." {
		return at, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if at = at.names[name]; at == nil {
			return nil, fmt.Errorf("%s is not there", path)
		}
	}
	return at, nil
}

// edit makes the edits of one change.
func (m *model) edit(edits ...edit) {
	for _, e := range edits {
		if e.to == nil {
			delete(e.dir.names, e.name)
		} else {
			e.dir.names[e.name] = e.to
		}
	}
	m.steps = append(m.steps, &step{edits: edits})
}

func (m *model) apply(c disk.Change) error {
	fail := func(err error) error { return fmt.Errorf("%s %s: %w", c.Op, c.Path, err) }
	dir, err := m.find(filepath.Dir(c.Path))
	if err != nil {
		return fail(err)
	}
	name := filepath.Base(c.Path)
	there := dir.names[name]
	if c.Path == "." {
		there = m.root
	}
	switch c.Op {
	case disk.Mkdir:
		m.edit(edit{dir, name, &node{names: map[string]*node{}}})
		return nil
	case disk.Create:
		n := &node{}
		m.files = append(m.files, n)
		m.edit(edit{dir, name, n})
		return nil
	case disk.Symlink:
		m.edit(edit{dir, name, &node{to: c.To, isLink: true}})
		return nil
	}
	if there == nil {
		return fail(os.ErrNotExist)
	}
	switch c.Op {
	case disk.Write:
		there.data, there.lasts = c.Data, false
	case disk.Remove:
		m.edit(edit{dir, name, nil})
	case disk.Rename:
		to, err := m.find(filepath.Dir(c.To))
		if err != nil {
			return fail(err)
		}
		m.edit(edit{dir, name, nil}, edit{to, filepath.Base(c.To), there})
	case disk.SyncFile:
		there.lasts = true
	case disk.SyncDir:
		for _, s := range m.steps {
			s.lasts = s.lasts || slices.ContainsFunc(s.edits, func(e edit) bool { return e.dir == there })
		}
	case disk.SyncTree:
		for _, s := range m.steps {
			s.lasts = true
		}
		for _, f := range m.files {
			f.lasts = true
		}
	default:
		return fail(fmt.Errorf("not known"))
	}
	return nil
}

// Content is what is found in files that were not flushed.
type Content int

// What may be found.
const (
	Whole Content = iota
	Empty
	Half
)

// Outcome is one of the ways in which what was not flushed comes out of a loss of power.
type Outcome struct {
	Lost    map[int]bool // steps, by their place among those that do not last
	Content Content
}

// outcomes gives those that are tried: of n edits that do not last the first k are there, for all k, or all but one. Unless few
// are wanted, also one alone, all subsets of five, and some of more. If files were written, each with those whole, empty, and
// half there.
func outcomes(n int, written, few bool, random *rand.Rand) []Outcome {
	var lost []map[int]bool
	pick := func(isLost func(i int) bool) {
		l := map[int]bool{}
		for i := range n {
			if isLost(i) {
				l[i] = true
			}
		}
		lost = append(lost, l)
	}
	for k := range n + 1 {
		pick(func(i int) bool { return i >= k })
		pick(func(i int) bool { return i == k })
		if !few {
			pick(func(i int) bool { return i != k })
		}
	}
	switch {
	case few:
	case n <= 5:
		for mask := range 1 << n {
			pick(func(i int) bool { return mask>>i&1 == 1 })
		}
	default:
		for range 12 {
			pick(func(int) bool { return random.IntN(2) == 0 })
		}
	}
	contents := []Content{Whole}
	if written {
		contents = append(contents, Empty, Half)
	}
	out := make([]Outcome, 0, len(lost)*len(contents))
	for _, l := range lost {
		for _, c := range contents {
			out = append(out, Outcome{l, c})
		}
	}
	return out
}

// unflushed is how many steps do not last, and whether there is a file whose content does not.
func (m *model) unflushed() (n int, written bool) {
	for _, s := range m.steps {
		if !s.lasts {
			n++
		}
	}
	return n, slices.ContainsFunc(m.files, func(f *node) bool { return !f.lasts && len(f.data) > 0 })
}

// power gives what is on the disk when power is lost now, with that outcome.
func (m *model) power(o Outcome) Image {
	found := map[*node]map[string]*node{}
	pending := 0
	for _, s := range m.steps {
		if !s.lasts {
			pending++
			if o.Lost[pending-1] {
				continue
			}
		}
		for _, e := range s.edits {
			if found[e.dir] == nil {
				found[e.dir] = map[string]*node{}
			}
			if e.to == nil {
				delete(found[e.dir], e.name)
			} else {
				found[e.dir][e.name] = e.to
			}
		}
	}
	var image Image
	var walk func(dir *node, at string)
	walk = func(dir *node, at string) {
		for _, name := range slices.Sorted(maps.Keys(found[dir])) {
			n, path := found[dir][name], filepath.Join(at, name)
			switch {
			case n.names != nil:
				image = append(image, entry{path: path, dir: true})
				walk(n, path)
			case n.isLink:
				image = append(image, entry{path: path, to: n.to, link: true})
			default:
				image = append(image, entry{path: path, data: n.survives(o.Content)})
			}
		}
	}
	walk(m.root, "")
	return image
}

func (n *node) survives(c Content) []byte {
	switch {
	case n.lasts || c == Whole:
		return n.data
	case c == Empty:
		return nil
	}
	return n.data[:len(n.data)/2]
}

// Image is what is on a disk.
type Image []entry

type entry struct {
	path, to  string
	dir, link bool
	data      []byte
}

// String tells all of it, so that two images are alike when their texts are.
func (i Image) String() string {
	var b strings.Builder
	for _, e := range i {
		switch {
		case e.dir:
			b.WriteString(e.path + "/\n")
		case e.link:
			b.WriteString(e.path + " -> " + e.to + "\n")
		default:
			b.WriteString(e.path + " = " + string(e.data) + "\n")
		}
	}
	return b.String()
}

// Write makes it in an empty directory.
func (i Image) Write(dir string) error {
	for _, e := range i {
		path := filepath.Join(dir, e.path)
		var err error
		switch {
		case e.dir:
			err = os.Mkdir(path, 0o755)
		case e.link:
			err = os.Symlink(e.to, path)
		default:
			err = os.WriteFile(path, e.data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
