// Package artifact keeps built releases where other instances find them: the first instance of a release builds it, every other one
// fetches what was built.
//
// An artifact is two objects in a store: an archive (a tar in one zstd stream) and a manifest, which has the digest of every piece of the
// archive. The archive is read in pieces at the same time; each is verified before a byte of it is decompressed, and decompressing
// and unpacking go on meanwhile. What is unpacked passes through package tree, as a checkout does: names, paths, links and
// all sizes are checked, nothing is written outside, and after an error nothing is left.
//
// Whoever can write artifacts can run code. So the store's objects are never written over (the first writer wins), and where the
// fleet has records, a Ledger says which manifest is the right one: a swapped one is no artifact.
//
// It is for Linux alone.
package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"time"
)

// Schema is the version of the manifest that this package writes, and the only one it reads.
const Schema = 1

const (
	// pieceBytes is how much of an archive one request asks for: large enough that S3's first byte (tens of milliseconds) is little of
	// it, small enough that several fit into memory.
	pieceBytes = 4 << 20
	// pieceMin and pieceMost bound what a manifest may say it is.
	pieceMin, pieceMost = 64 << 10, 16 << 20
	// manifestMost bounds a manifest: 8 GiB of archive are 2048 pieces of 67 bytes each.
	manifestMost = 1 << 20
)

// Manifest says what an archive is. Its digest is that of its bytes as they are in the store.
type Manifest struct {
	Schema int `json:"schema"`
	// Key is what the artifact is kept under, and Inputs what was made into it, for people.
	Key    string            `json:"key"`
	Inputs map[string]string `json:"inputs"`
	// Built says where and when it was made.
	Built Built `json:"built"`
	// Home is the directory that it was built in, where that shows in what was built: it is of use in no other. "" is everywhere.
	Home    string  `json:"home,omitempty"`
	Archive Archive `json:"archive"`
	Content Content `json:"content"`
}

// Built says which instance made an artifact, of which release.
type Built struct {
	Instance string    `json:"instance"`
	Release  int64     `json:"release"`
	Revision string    `json:"revision"`
	At       time.Time `json:"at"`
}

// Archive is the object beside the manifest.
type Archive struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// PieceBytes is the size of each piece but the last, and Pieces their SHA-256, in their order.
	PieceBytes int64    `json:"piece_bytes"`
	Pieces     []string `json:"pieces"`
}

// Content is what the archive holds once it is decompressed: a tar.
type Content struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// FileBytes are those of all files together.
	FileBytes   int64 `json:"file_bytes"`
	Files       int   `json:"files"`
	Directories int   `json:"directories"`
	Links       int   `json:"links"`
}

// Encode gives the manifest's bytes and their digest.
func (m Manifest) Encode() (data []byte, digest string, err error) {
	data, err = json.Marshal(m)
	if err != nil {
		return nil, "", fmt.Errorf("encode a manifest: %w", err)
	}
	if len(data) > manifestMost {
		return nil, "", fmt.Errorf("the manifest has %d bytes, and %d are the most that is read", len(data), manifestMost)
	}
	return data, Digest(data), nil
}

// Digest is the SHA-256 of bytes, in hex.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ParseManifest reads a manifest, which may come from anybody: what it says of sizes holds together, and is within limits.
func ParseManifest(data []byte, limits Limits) (Manifest, error) {
	fail := func(format string, args ...any) (Manifest, error) {
		return Manifest{}, &BadError{fmt.Errorf("its manifest can't be used: "+format, args...)}
	}
	if len(data) > manifestMost {
		return fail("it has %d bytes, and %d are the most", len(data), manifestMost)
	}
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&m); err != nil {
		return fail("%w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail("something follows it")
	}
	if m.Schema != Schema {
		return fail("it has schema %d, and this version of bootagent knows %d", m.Schema, Schema)
	}
	if m.Home != "" && (!filepath.IsAbs(m.Home) || filepath.Clean(m.Home) != m.Home) {
		return fail("its home %q is no directory's name", m.Home)
	}
	a, c := m.Archive, m.Content
	switch {
	case a.PieceBytes < pieceMin || a.PieceBytes > pieceMost:
		return fail("pieces of %d bytes are not between %d and %d", a.PieceBytes, pieceMin, pieceMost)
	case a.Bytes < 1 || a.Bytes > archiveMost:
		return fail("an archive of %d bytes is not between 1 and %d", a.Bytes, archiveMost)
	case (a.Bytes+a.PieceBytes-1)/a.PieceBytes != int64(len(a.Pieces)):
		return fail("%d bytes are not %d pieces of %d", a.Bytes, len(a.Pieces), a.PieceBytes)
	case c.Bytes < 1 || c.Files < 0 || c.Directories < 0 || c.Links < 0 || c.FileBytes < 0 || c.FileBytes > c.Bytes:
		return fail("what it says of its content does not hold together")
	}
	for _, digest := range append([]string{a.SHA256, c.SHA256}, a.Pieces...) {
		if !digestForm.MatchString(digest) {
			return fail("%.80q is no SHA-256", digest)
		}
	}
	return m, limits.admit(c)
}

// BadError is an artifact that can't be used, and never will be: the next build makes one of the next generation.
type BadError struct{ Err error }

func (e *BadError) Error() string { return e.Err.Error() }
func (e *BadError) Unwrap() error { return e.Err }
