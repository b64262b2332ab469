package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bootagent/bootagent/internal/model"
)

// Stored is an artifact in the store, or what there is of one.
type Stored struct {
	Name string `json:"name"`
	// Bytes are those of its objects together, and Written when the newest of them was.
	Bytes   int64     `json:"bytes"`
	Written time.Time `json:"written"`
	// Manifest is nil where there is none: of one that is being written, or never will be whole.
	Manifest *Manifest `json:"manifest,omitempty"`
	// Problem is what is wrong with the manifest, "" for nothing.
	Problem string `json:"problem,omitempty"`

	digest  string
	objects []model.Object
}

// List gives all artifacts of the app in its env, the newest first.
func (c *Cache) List(ctx context.Context) ([]Stored, error) {
	objects, err := c.Store.List(ctx, c.prefix())
	if err != nil {
		return nil, fmt.Errorf("list the artifacts: %w", err)
	}
	byName := map[string]*Stored{}
	var all []*Stored
	for _, o := range objects {
		name, ok := strings.CutSuffix(o.Name, manifestEnd)
		if !ok {
			name, ok = strings.CutSuffix(o.Name, archiveEnd)
		}
		if !ok || c.keyOf(name) == "" {
			continue // somebody else's
		}
		s := byName[name]
		if s == nil {
			s = &Stored{Name: name}
			byName[name], all = s, append(all, s)
		}
		s.Bytes += o.Size
		s.objects = append(s.objects, o)
		if o.Modified.After(s.Written) {
			s.Written = o.Modified
		}
	}
	out := make([]Stored, 0, len(all))
	for _, s := range all {
		if err := c.describe(ctx, s); err != nil {
			return nil, err
		}
		out = append(out, *s)
	}
	slices.SortStableFunc(out, func(a, b Stored) int { return b.Written.Compare(a.Written) })
	return out, nil
}

// describe reads a manifest.
func (c *Cache) describe(ctx context.Context, s *Stored) error {
	for _, o := range s.objects {
		if !strings.HasSuffix(o.Name, manifestEnd) {
			continue
		}
		found, err := c.readManifest(ctx, s.Name, o.Size, "")
		var bad *BadError
		switch {
		case errors.As(err, &bad):
			s.Problem = err.Error()
		case err != nil:
			return fmt.Errorf("artifact %s: %w", s.Name, err)
		default:
			s.Manifest, s.digest = &found.Manifest, found.Digest
		}
	}
	return nil
}

// Verify reads all of an artifact, and says what is wrong with it: a *BadError. What the fleet has recorded counts where there are records.
func (c *Cache) Verify(ctx context.Context, s Stored) error {
	switch {
	case s.Problem != "":
		return &BadError{errors.New(s.Problem)}
	case s.Manifest == nil:
		return &BadError{errors.New("it has no manifest: it is being written, or was left half-way")}
	case s.Manifest.Key != c.keyOf(s.Name):
		return &BadError{fmt.Errorf("its manifest is that of %s", s.Manifest.Key)}
	}
	if c.Ledger != nil {
		entry, err := c.Ledger.Entry(ctx, s.Manifest.Key)
		if err != nil {
			return err
		}
		if entry.Digest != s.digest {
			return &BadError{errors.New("its manifest is not the one that the fleet has recorded: no instance takes it")}
		}
	}
	return c.verifyArchive(ctx, s)
}

func (c *Cache) verifyArchive(ctx context.Context, s Stored) error {
	archive := openArchive(ctx, c.Store, s.Name+archiveEnd, s.Manifest.Archive)
	source := &sourced{ctx: ctx, r: archive}
	d, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(2*windowBytes))
	if err != nil {
		return errors.Join(source.blame(err), archive.Close())
	}
	defer d.Close()
	defer func() { _ = archive.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(d, s.Manifest.Content.Bytes+1))
	switch sum := hex.EncodeToString(h.Sum(nil)); {
	case err != nil:
		return source.blame(err)
	case n != s.Manifest.Content.Bytes || sum != s.Manifest.Content.SHA256:
		return &BadError{errors.New("its content is not what its manifest says")}
	}
	return nil
}

// directoriesKept is how many of each dependency directory Prune keeps, whatever their age: one that the locks have not changed for is in use
// long after the revision whose build left it.
const directoriesKept = 2

// Prune removes artifacts that were written before a time, but for those of the newest revisions, so many, and the newest of each dependency
// directory, and gives them. What is half an artifact goes with them. Dry removes nothing.
func (c *Cache) Prune(ctx context.Context, before time.Time, revisions int, dry bool) ([]Stored, error) {
	all, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	kept, ofDirectory := map[string]bool{}, map[string]int{}
	var gone []Stored
	for _, s := range all {
		if d := s.Directory(); d != "" {
			if ofDirectory[d]++; ofDirectory[d] <= directoriesKept {
				continue
			}
		} else if m := s.Manifest; m != nil && (kept[m.Built.Revision] || len(kept) < revisions) {
			kept[m.Built.Revision] = true
			continue
		}
		if !s.Written.Before(before) {
			continue
		}
		if !dry {
			if err := c.remove(ctx, s); err != nil {
				return gone, err
			}
		}
		gone = append(gone, s)
	}
	return gone, nil
}

// remove takes the manifest away first: what has none is no artifact to anybody.
func (c *Cache) remove(ctx context.Context, s Stored) error {
	slices.SortFunc(s.objects, func(a, b model.Object) int { return strings.Compare(a.Name, b.Name) }) // .json, .tar.zst
	for _, o := range s.objects {
		if err := c.Store.Remove(ctx, o.Name); err != nil {
			return fmt.Errorf("remove the artifact %s: %w", s.Name, err)
		}
	}
	return nil
}
