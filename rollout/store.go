package rollout

import (
	"context"
	"time"
)

// Record is one record: attributes by name, each a JSON text. Nil attributes: there is none.
type Record struct {
	Key        string
	Attributes map[string]string
}

// Change is a conditional write of one record, which it makes where there is
// none. Unknown attributes survive it.
type Change struct {
	Key    string
	Expect map[string]string // attributes that must have this value now
	Absent []string          // attributes that must not be there
	New    bool              // the record itself must not exist
	Set    map[string]string
	Remove []string
	Delete bool // the whole record goes
	// Expires is DynamoDB's TTL, for cleaning only: a reader may see the record until long after it. Zero for
	// never: what an earlier change said is taken back.
	Expires time.Time
}

// Store keeps one app's records in one env. Reads are consistent.
//
// Values are opaque to it, and compared byte by byte.
type Store interface {
	Get(ctx context.Context, key string) (Record, error)
	// List gives the records whose keys begin with prefix, in order of key (newestFirst: reversed), limit at most (0: all).
	// The order is that of the keys' bytes.
	List(ctx context.Context, prefix string, limit int, newestFirst bool) ([]Record, error)
	// Apply makes all changes or none. An expectation that is not met is ErrConflict. A change that was made already, by
	// a retry of the same Apply, is no conflict: see Change.Made. What CheckChanges refuses is refused before anything is written.
	Apply(ctx context.Context, changes ...Change) error
}
