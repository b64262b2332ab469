// Package deploy brings one release onto one machine: ref → SHA → tree →
// recipe → build → a release directory that is complete or does not exist.
package deploy

import (
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/model"
)

// Prepared is a release that is complete on disk.
type Prepared struct {
	Release  model.Release
	Dir      string // the app's directory: the repository's tree after the build
	Recipe   recipe.Recipe
	Prepared time.Time
	// Shared are the directories, absolute, that the app may write to and that outlive the release.
	Shared []string
}

// RevisionError is a failure that lies in the revision itself: trying it again on this machine gives the same
// result. Every other error of this package is one of the world's (network, disk, permission), marks no revision
// as bad, and is worth a retry.
type RevisionError struct {
	Phase string // "fetch", "recipe", "build"
	Err   error
}

func (e *RevisionError) Error() string { return e.Phase + ": " + e.Err.Error() }
func (e *RevisionError) Unwrap() error { return e.Err }
