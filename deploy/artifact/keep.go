package artifact

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/model"
)

// Kept says what became of a release that was to be kept.
type Kept struct {
	// Name is that of the artifact, "" where nothing was written.
	Name string
	// Bytes are the archive's.
	Bytes int64
	// Already says that it was there.
	Already bool
}

// foreignHome and foreignInstance are what a Packing calls them.
const (
	foreignHome     = "home"
	foreignInstance = "instance"
)

// Keep packs what was built and writes it into the store, unless it is there. Texts that name the machine's own directory are places; an
// instance's id in what was built makes it unfit for all others: an *UnfitError. Somebody else being first is no error.
func (c *Cache) Keep(ctx context.Context, w Wanted, built Built, p Packing, places []string) (Kept, error) {
	key := w.Inputs.Key(w.Revision)
	objects, err := c.Store.List(ctx, c.prefix()+key)
	if err != nil {
		return Kept{}, fmt.Errorf("look what is in the artifact cache: %w", err)
	}
	// Which of the two it will be is known once it is packed; most are there already.
	for _, key := range []string{key, bound(key, w.Home)} {
		if _, there, err := c.next(ctx, key, objects); err != nil || there {
			return Kept{Already: there}, err
		}
	}
	p.Foreign = map[string]string{foreignInstance: built.Instance}
	for i, place := range places {
		p.Foreign[fmt.Sprintf("%s %d", foreignHome, i)] = place
	}
	f, packed, err := c.pack(ctx, p)
	if err != nil {
		return Kept{}, err
	}
	defer func() { _ = f.Close() }()
	if packed.Met[foreignInstance] {
		return Kept{}, &UnfitError{fmt.Errorf("what was built has this instance's id, %s, in it, and would be wrong on every other", built.Instance)}
	}
	delete(packed.Met, foreignInstance)
	m := Manifest{Schema: Schema, Key: key, Inputs: w.Inputs, Built: built, Archive: packed.Archive, Content: packed.Content}
	if len(packed.Met) > 0 {
		m.Key, m.Home = bound(key, w.Home), w.Home
	}
	return c.put(ctx, m, f, objects)
}

// pack writes the archive into a file without a name, which goes when it is closed.
func (c *Cache) pack(ctx context.Context, p Packing) (*os.File, Packed, error) {
	f, err := scratchFile(c.Scratch)
	if err != nil {
		return nil, Packed{}, full(c.Scratch, fmt.Errorf("pack an artifact: %w", err))
	}
	out := bufio.NewWriterSize(f, 1<<20)
	packed, err := Pack(ctx, p, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return nil, Packed{}, errors.Join(full(c.Scratch, err), f.Close())
	}
	return f, packed, nil
}

// scratchFile makes a file that never has a name, so that nothing is left of it whenever this process ends. File systems that know no O_TMPFILE
// have it named for a moment.
func scratchFile(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err == nil || !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.EISDIR) {
		return f, err
	}
	if f, err = os.CreateTemp(dir, ".artifact-"); err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// full says of a disk without room what to do about it.
func full(dir string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return fmt.Errorf("the disk of %s was full: make room there, or use a larger disk; what was begun is removed, and it is tried again by itself: %w", dir, err)
}

// next is the generation that a key has room for; there says that one is there already that is of use.
func (c *Cache) next(ctx context.Context, key string, objects []model.Object) (next int, there bool, err error) {
	all := c.generations(key, objects)
	newest := -1
	for n, g := range all {
		next = max(next, n+1)
		if g.manifest > 0 {
			newest = max(newest, n)
		}
	}
	if next >= generationsMost {
		return 0, false, fmt.Errorf("the artifact %s was made anew %d times, and each was bad: see who writes to the cache, and remove them", key, generationsMost)
	}
	if newest < 0 {
		return next, false, nil
	}
	if c.Ledger != nil {
		entry, err := c.Ledger.Entry(ctx, key)
		if err != nil {
			return 0, false, fmt.Errorf("read which artifact is the right one: %w", err)
		}
		if entry.Digest == "" || all[entry.Generation].manifest == 0 {
			return next, false, nil
		}
		newest = entry.Generation
	}
	return next, !c.isBad(c.name(key, newest)), nil
}

// put writes the archive, then the manifest, then the record: who sees one finds what it speaks of.
func (c *Cache) put(ctx context.Context, m Manifest, archive *os.File, objects []model.Object) (Kept, error) {
	generation, there, err := c.next(ctx, m.Key, objects)
	if err != nil || there {
		return Kept{Already: there}, err
	}
	var was Entry
	if c.Ledger != nil {
		if was, err = c.Ledger.Entry(ctx, m.Key); err != nil {
			return Kept{}, fmt.Errorf("read which artifact is the right one: %w", err)
		}
	}
	data, digest, err := m.Encode()
	if err != nil {
		return Kept{}, err
	}
	name := c.name(m.Key, generation)
	body := io.NewSectionReader(archive, 0, m.Archive.Bytes)
	err = c.Store.Put(ctx, name+archiveEnd, body, m.Archive.Bytes)
	if err == nil {
		err = c.Store.Put(ctx, name+manifestEnd, bytes.NewReader(data), int64(len(data)))
	}
	if err == nil && c.Ledger != nil {
		err = c.Ledger.Record(ctx, m.Key, was, Entry{Digest: digest, Generation: generation})
	}
	if isTaken(err) {
		return Kept{Already: true}, nil
	}
	if err != nil {
		return Kept{}, fmt.Errorf("keep the artifact %s: %w", name, err)
	}
	return Kept{Name: name, Bytes: m.Archive.Bytes}, nil
}
