package artifact

import (
	"context"
	"io"

	"github.com/bootagent/bootagent/internal/model"
)

// Store keeps objects: S3, or a directory. Names have slashes, and are relative to what the store was opened for.
type Store interface {
	// Read fills p with what an object has from that byte on, and says how much there was: less than p holds is the object's end. An object
	// that is not there is an fs.ErrNotExist.
	Read(ctx context.Context, name string, from int64, p []byte) (int, error)
	// Put makes an object of size bytes, whole or not at all. It never writes over one: that is an fs.ErrExist.
	Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error
	// List gives the objects whose names begin with prefix, in the order of their names.
	List(ctx context.Context, prefix string) ([]model.Object, error)
	// Remove takes an object away. One that is not there is no error.
	Remove(ctx context.Context, name string) error
}

// Ledger is the fleet's own record of which artifact is the right one: who can write the store's objects can't write it.
type Ledger interface {
	// Entry gives what is recorded of a key; the zero value where nothing is.
	Entry(ctx context.Context, key string) (Entry, error)
	// Record replaces what was there, which must be as it was read: else it is an fs.ErrExist.
	Record(ctx context.Context, key string, was, is Entry) error
}

// Entry names the manifest of a key.
type Entry struct {
	Digest     string // its SHA-256
	Generation int
}
