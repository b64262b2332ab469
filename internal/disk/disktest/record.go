// Package disktest records what was done to a disk, and plays back what it
// would hold had power gone at any moment in between.
package disktest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bootagent/bootagent/internal/disk"
)

// Recorder keeps the changes of one directory, which must be empty when it begins, with paths relative to that.
// Disk().Watch hands them over.
type Recorder struct {
	dir string

	mu      sync.Mutex
	changes []disk.Change
}

// Record begins to record what is done to an empty directory.
func Record(dir string) *Recorder { return &Recorder{dir: dir} }

// Watch is for disk.Disk.
func (r *Recorder) Watch(c disk.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Path = r.relative(c.Path)
	switch c.Op {
	case disk.Rename:
		c.To = r.relative(c.To)
	case disk.Write:
		c.Data = append([]byte(nil), c.Data...)
	case disk.RemoveAll:
		r.removeAll(c.Path)
		return
	}
	r.changes = append(r.changes, c)
}

// removeAll is what a removal of many files is to a disk: many removals, of each directory's content before itself.
func (r *Recorder) removeAll(name string) {
	path := filepath.Join(r.dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		return // not there: nothing happens
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			panic(fmt.Sprintf("disktest: look at what is removed: %v", err))
		}
		for _, e := range entries {
			r.removeAll(filepath.Join(name, e.Name()))
		}
	}
	r.changes = append(r.changes, disk.Change{Op: disk.Remove, Path: name})
}

func (r *Recorder) relative(path string) string {
	rel, err := filepath.Rel(r.dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		panic(fmt.Sprintf("disktest: %s is not in the directory that is recorded, %s", path, r.dir))
	}
	return rel
}

// Changes gives what was recorded so far.
func (r *Recorder) Changes() []disk.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]disk.Change(nil), r.changes...)
}

// Len is how many changes were recorded so far.
func (r *Recorder) Len() int { return len(r.Changes()) }

// Complete says whether the changes explain all that is in the directory now: nothing was done past the recorder.
func (r *Recorder) Complete() error {
	d := newModel()
	for _, c := range r.Changes() {
		if err := d.apply(c); err != nil {
			return err
		}
	}
	want, err := look(r.dir)
	if err != nil {
		return err
	}
	if got := d.power(Outcome{}).String(); got != want {
		return fmt.Errorf("the recorded changes make\n%s\nand there is\n%s", got, want)
	}
	return nil
}

// look tells a directory's content as Image.String does.
func look(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			fmt.Fprintf(&b, "%s/\n", rel)
		case e.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s -> %s\n", rel, to)
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s = %s\n", rel, data)
		}
		return nil
	})
	return b.String(), err
}

// IsSync says whether a change is one that only makes others last.
func IsSync(c disk.Change) bool {
	return c.Op == disk.SyncFile || c.Op == disk.SyncDir || c.Op == disk.SyncTree
}
