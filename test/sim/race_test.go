//go:build race

package sim

// The race detector has nothing to find in one event loop, and makes it five times as slow: a few seeds show that all runs.
// `make test` runs the rest without it.
const (
	seedsInTest  = 10
	raceDetector = true
)
