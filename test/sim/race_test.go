//go:build race

package sim

// seedsInTest is what `make test` runs: under the race detector, which has nothing to find in one loop, a few.
const seedsInTest = 60

// underRace leaves out what `make test` runs again without the detector: a mutation takes thousands of seeds.
const underRace = true
