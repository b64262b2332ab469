//go:build !race

package sim

const (
	seedsInTest  = 400
	raceDetector = false
)
