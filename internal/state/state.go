// Package state keeps what this instance remembers in one small file.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/bootagent/bootagent/internal/disk"
)

// File is a JSON document on disk that is replaced whole: a reader, or a
// machine that lost its power, finds the old one or the new one.
type File[T any] struct {
	path string
	disk disk.Disk
	mu   sync.Mutex
}

// At names the file; its directory must exist.
func At[T any](path string) *File[T] { return &File[T]{path: path} }

// Load gives the document, or T's zero value where there is no file. A file
// that can't be decoded is an error, and is kept beside for a person to look at.
func (f *File[T]) Load() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var doc T
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return doc, nil
	}
	if err != nil {
		return doc, err
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		var zero T
		kept := f.path + ".unreadable"
		return zero, errors.Join(fmt.Errorf("decode %s, which is kept as %s: %w", f.path, kept, err), os.Rename(f.path, kept))
	}
	return doc, nil
}

// Save replaces the document: written beside, flushed, renamed, and the directory flushed.
func (f *File[T]) Save(doc T) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", f.path, err)
	}
	if err := f.disk.Replace(f.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("save %s: %w", f.path, err)
	}
	return nil
}
