//go:build race

package laptop_test

// raceDetector says that this test binary has the race detector; the bootagent that it runs gets it too.
const raceDetector = true
