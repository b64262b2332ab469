package rollout

import (
	"cmp"
	"fmt"

	"github.com/bootagent/bootagent/internal/model"
)

// ID orders releases: by epoch, then by the number, which is the parameter's version. A new epoch begins where the
// parameter was deleted and made anew, and `deploy --new-epoch` said so.
type ID struct {
	Epoch  int64 `json:"epoch,omitempty"`
	Number int64 `json:"number,omitempty"`
}

// Compare is negative where id is the older one.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Epoch, other.Epoch), cmp.Compare(id.Number, other.Number))
}

// IsZero says whether this is no release at all.
func (id ID) IsZero() bool { return id == ID{} }

func (id ID) String() string {
	switch {
	case id.IsZero():
		return "no release"
	case id.Epoch == 0:
		return fmt.Sprintf("release %d", id.Number)
	}
	return fmt.Sprintf("release %d of epoch %d", id.Number, id.Epoch)
}

// key is the id as a part of keys, padded so that keys sort as releases do.
func (id ID) key() string { return fmt.Sprintf("%06d/%012d", id.Epoch, id.Number) }

// Release is a revision with its place in the order.
type Release struct {
	ID
	// Revision is the full SHA.
	Revision string `json:"revision,omitempty"`
	// Ref is what a person typed.
	Ref string `json:"ref,omitempty"`
}

// Model is the release as an instance knows it.
func (r Release) Model() model.Release {
	return model.Release{Number: r.Number, Ref: r.Ref, Revision: r.Revision}
}

func (r Release) String() string {
	if r.IsZero() {
		return "no release"
	}
	return fmt.Sprintf("%s (%s)", r.ID, r.Model().Short())
}

// Keys of records. See the page on records for who writes which.
const (
	StableKey  = "stable"
	RolloutKey = "rollout"
	LockKey    = "lock"
	FreezeKey  = "freeze"
)

// ReleaseKey is the key of what became of a release.
func ReleaseKey(id ID) string { return "release/" + id.key() }

// FailedKey is the key of the record that says that a revision is bad.
func FailedKey(revision string) string { return "failed/" + revision }

// ArtifactKey is the key of the record that names the right one of a built revision's artifacts.
func ArtifactKey(key string) string { return "artifact/" + key }

// BuildKey is the key of the claim on building an artifact.
func BuildKey(key string) string { return "claim/build/" + key }

// ResolveKey is the key of the claim on resolving a ref that was written by hand.
func ResolveKey(id ID) string { return "claim/resolve/" + id.key() }
