package artifact

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/deploy/tree"
)

// windowBytes is zstd's: what decompressing an archive needs in memory, about twice.
const windowBytes = 4 << 20

// Packing says what is packed.
type Packing struct {
	// Dir is the directory; its own name is not in the archive.
	Dir string
	// Only is one directory below Dir which is packed, with those above it, and nothing else; "" is all of Dir.
	Only string
	// Links are paths below Dir at which links stand that are the machine's and not the release's: they are left out. Directories are
	// put in, those that belong in their places.
	Links, Directories []string
	// Foreign are texts that mean one machine, or one place on it, by what they are: see Packed.
	Foreign map[string]string
	Limits  Limits
	// Pause is called again and again; its error ends the packing. nil is never.
	Pause func() error
}

// Packed is an archive that was written.
type Packed struct {
	Archive Archive
	Content Content
	// Met are those of the foreign texts, by what they are, that stand in a file or a link's target.
	Met map[string]bool
}

// UnfitError is a tree that no artifact can be made of.
type UnfitError struct{ Err error }

func (e *UnfitError) Error() string { return e.Err.Error() }
func (e *UnfitError) Unwrap() error { return e.Err }

// Pack writes a directory as an archive. The same tree (names, contents, permissions, times to the second) gives the same bytes, whoever owns
// it and wherever it stands. A tree that would not be unpacked again is an *UnfitError.
//
// Times of files are kept, for what was built may rely on them: Python's compiled modules name the time of their source.
func Pack(ctx context.Context, p Packing, out io.Writer) (Packed, error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return Packed{}, fmt.Errorf("pack %s: %w", p.Dir, err)
	}
	defer func() { _ = root.Close() }()
	pieces := newPieces(out, pieceBytes)
	// One goroutine, this one: it may have been given a low priority.
	compressed, err := zstd.NewWriter(pieces, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(windowBytes), zstd.WithEncoderCRC(true))
	if err != nil {
		return Packed{}, fmt.Errorf("pack %s: %w", p.Dir, err)
	}
	content := &counted{Writer: compressed, hash: sha256.New()}
	k := newPacker(ctx, p, content)
	err = k.all(root)
	if closed := compressed.Close(); err == nil { // else it says the same again
		err = closed
	}
	if err != nil {
		return Packed{}, fmt.Errorf("pack %s: %w", p.Dir, err)
	}
	k.content.Bytes, k.content.SHA256 = content.n, hex.EncodeToString(content.hash.Sum(nil))
	archive := pieces.end()
	if archive.Bytes > archiveMost {
		return Packed{}, &UnfitError{fmt.Errorf("pack %s: the archive has %d bytes, and %d are the most that a store takes", p.Dir, archive.Bytes, archiveMost)}
	}
	return Packed{Archive: archive, Content: k.content, Met: k.finder.met}, nil
}

// unfit tells a tree that is refused from a machine that fails.
func unfit(err error) error {
	var hostile *tree.HostileError
	var limit *tree.LimitError
	if errors.As(err, &hostile) || errors.As(err, &limit) {
		return &UnfitError{err}
	}
	return err
}

type packer struct {
	Packing
	ctx       context.Context
	tar       *tar.Writer
	rehearsal *tree.Rehearsal
	finder    *finder
	skip      map[string]bool
	content   Content
	buf       []byte
}

func newPacker(ctx context.Context, p Packing, out io.Writer) *packer {
	k := &packer{
		ctx: ctx, Packing: p, tar: tar.NewWriter(out), rehearsal: tree.Rehearse(p.Limits.tree(p.Dir)), finder: newFinder(p.Foreign),
		skip: map[string]bool{}, buf: make([]byte, 256<<10),
	}
	for _, link := range p.Links {
		k.skip[link] = true
	}
	return k
}

// all packs what is to be packed of the open Dir.
func (k *packer) all(root *os.Root) error {
	if err := k.directory(root, "", 1); err != nil {
		return err
	}
	if err := unfit(k.rehearsal.Finish(k.ctx)); err != nil {
		return err
	}
	return k.tar.Close()
}

// directory packs what is in an open directory, by name.
func (k *packer) directory(dir *os.Root, at string, depth int) error {
	if depth > k.Limits.withDefaults().Depth+1 {
		return &UnfitError{&tree.LimitError{Path: at, What: "directories in each other", Limit: int64(k.Limits.withDefaults().Depth)}}
	}
	names, err := namesIn(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !k.meant(path.Join(at, name)) {
			continue
		}
		if err := k.pause(); err != nil {
			return err
		}
		if err := k.entry(dir, name, path.Join(at, name), depth); err != nil {
			return err
		}
	}
	return nil
}

// meant says whether something belongs to the one directory that is packed.
func (k *packer) meant(at string) bool {
	return k.Only == "" || at == k.Only || strings.HasPrefix(at, k.Only+"/") || strings.HasPrefix(k.Only, at+"/")
}

func (k *packer) pause() error {
	if k.ctx.Err() != nil {
		return context.Cause(k.ctx)
	}
	if k.Pause == nil {
		return nil
	}
	return k.Pause()
}

func namesIn(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

func (k *packer) entry(dir *os.Root, name, at string, depth int) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	switch {
	case k.skip[at]:
		if info.Mode().Type() != fs.ModeSymlink {
			return &UnfitError{fmt.Errorf("%s is no link to a shared directory any more", at)}
		}
		return k.instead(at)
	case info.IsDir():
		if err := k.put(&tar.Header{Typeflag: tar.TypeDir, Name: at + "/", Mode: int64(perm(info))}); err != nil {
			return err
		}
		sub, err := dir.OpenRoot(name)
		if err != nil {
			return err
		}
		return errors.Join(k.directory(sub, at, depth+1), sub.Close())
	case info.Mode().IsRegular():
		return k.file(dir, name, at)
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := dir.Readlink(name)
		if err != nil {
			return err
		}
		k.finder.look([]byte(target))
		k.finder.end()
		return k.put(&tar.Header{Typeflag: tar.TypeSymlink, Name: at, Linkname: target, Mode: 0o777})
	}
	return &UnfitError{fmt.Errorf("%s is neither a file, nor a directory, nor a link", at)}
}

// instead puts the directories of a shared directory's place.
func (k *packer) instead(at string) error {
	dirs := slices.DeleteFunc(slices.Clone(k.Directories), func(d string) bool { return d != at && !strings.HasPrefix(d, at+"/") })
	slices.Sort(dirs)
	for _, d := range dirs {
		if err := k.put(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	return nil
}

// perm is the permissions that are kept: those that a release that was taken over has.
func perm(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() &^ 0o022 }

func (k *packer) file(dir *os.Root, name, at string) (err error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &UnfitError{fmt.Errorf("%s became something else while it was packed", at)}
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: at, Size: info.Size(), Mode: int64(perm(info)), ModTime: time.Unix(info.ModTime().Unix(), 0)}
	if err := k.put(h); err != nil {
		return err
	}
	left := info.Size()
	for left > 0 {
		if err := k.pause(); err != nil {
			return err
		}
		n, err := io.ReadFull(f, k.buf[:min(left, int64(len(k.buf)))])
		if err != nil {
			return &UnfitError{fmt.Errorf("%s became shorter while it was packed: %w", at, err)}
		}
		left -= int64(n)
		k.finder.look(k.buf[:n])
		if _, err := k.tar.Write(k.buf[:n]); err != nil {
			return err
		}
	}
	k.finder.end()
	return nil
}

// put writes a header, of what the tree's writer takes.
func (k *packer) put(h *tar.Header) error {
	var err error
	switch name, perm := strings.TrimSuffix(h.Name, "/"), fs.FileMode(h.Mode); h.Typeflag {
	case tar.TypeDir:
		k.content.Directories++
		err = k.rehearsal.Dir(name, perm)
	case tar.TypeSymlink:
		k.content.Links++
		err = k.rehearsal.Symlink(name, h.Linkname)
	default:
		k.content.Files++
		k.content.FileBytes += h.Size
		err = k.rehearsal.File(name, h.Size, perm)
	}
	if err != nil {
		return unfit(err)
	}
	return k.tar.WriteHeader(h)
}
