package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Inputs are all that decides what a build makes, by name: where two are equal the one artifact serves for both.
//
// What is not among them: the values of secrets, which no artifact may hold, and what a build fetches from elsewhere without a lock file.
// The release's number and the instance are not either, so that a rollback, and the next instance, find it.
type Inputs map[string]string

// Key is the name under which an artifact with these inputs of a revision is kept: the revision, for people, and a digest.
func (in Inputs) Key(revision string) string {
	h := sha256.New()
	field := func(s string) { fmt.Fprintf(h, "%d:%s,", len(s), s) }
	field("bootagent artifact " + strconv.Itoa(Schema))
	field(revision)
	for _, name := range slices.Sorted(maps.Keys(in)) {
		field(name)
		field(in[name])
	}
	return revision + "-" + hex.EncodeToString(h.Sum(nil))[:32]
}

// bound is the key of an artifact that is of use in one directory alone.
func bound(key, home string) string {
	return key + ".at-" + Digest([]byte(home))[:16]
}
