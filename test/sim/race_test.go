//go:build race

package sim

// seedsInTest is what `make test` runs: under the race detector, which has nothing to find in one loop, a few.
const seedsInTest = 60
