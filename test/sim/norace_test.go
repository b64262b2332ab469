//go:build !race

package sim

const seedsInTest = 400

const underRace = false
