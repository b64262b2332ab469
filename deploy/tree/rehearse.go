package tree

import (
	"context"
	"io/fs"
)

// Rehearsal says of a tree that is on a disk already whether a Writer would take it, in the Writer's own words: whoever packs a tree for
// others finds out before they do. It writes nothing, and does not see a name that stands there twice, which no directory has.
type Rehearsal struct{ w *Writer }

// Rehearse begins one.
func Rehearse(limits Limits) *Rehearsal {
	return &Rehearsal{&Writer{limits: limits.WithDefaults(), links: map[string]string{}}}
}

// File is Writer.Restore without the writing.
func (r *Rehearsal) File(name string, size int64, perm fs.FileMode) error {
	if err := r.Dir(name, perm); err != nil {
		return err
	}
	return r.w.admit(name, size, size)
}

// Dir is Writer.RestoreDir without the making.
func (r *Rehearsal) Dir(name string, perm fs.FileMode) error {
	if err := checkPerm(name, perm); err != nil {
		return err
	}
	if err := r.w.check(name); err != nil {
		return err
	}
	return r.w.count(name)
}

// Symlink is Writer.Symlink.
func (r *Rehearsal) Symlink(name, target string) error { return r.w.Symlink(name, target) }

// Finish checks where the links lead.
func (r *Rehearsal) Finish(ctx context.Context) error { return r.w.checkLinks(ctx) }
