package artifact

import (
	"strings"

	"github.com/bootagent/bootagent/deploy/tree"
)

// A dependency directory is an artifact like any other: what a build left in one directory, for the builds after it. It is no revision's, and
// its key begins with a word in place of one.

// dependencies begins the keys of dependency directories. No revision does.
const dependencies = "dependencies"

// InputDirectory is the name of the input that says which directory it is, below the revision's tree.
const InputDirectory = "directory"

// Dependencies says which dependency directory is wanted; the inputs say of what.
func Dependencies(in Inputs) Wanted { return Wanted{Revision: dependencies, Inputs: in} }

// Key is the name that it is kept under.
func (w Wanted) Key() string { return w.Inputs.Key(w.Revision) }

// IsDependencies says whether a key is a dependency directory's.
func IsDependencies(key string) bool { return strings.HasPrefix(key, dependencies+"-") }

// Directory is the directory that was kept, where it is a dependency directory, and "" for a release.
func (s Stored) Directory() string {
	if s.Manifest == nil || !IsDependencies(s.Manifest.Key) {
		return ""
	}
	return s.Manifest.Inputs[InputDirectory]
}

// TreeLimits are those of what is packed and unpacked, for who writes such a tree by itself.
func TreeLimits() tree.Limits { return Limits{}.tree("") }
