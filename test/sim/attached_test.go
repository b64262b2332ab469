package sim

import "testing"

// TestAnAttachedFleetKeepsItsInvariants runs fleets that Auto Scaling registers: each release is taken in standby, by agents and
// machines that are struck down in the middle of it, beside people who use standby too. A fifth as many: a switch takes longer there.
func TestAnAttachedFleetKeepsItsInvariants(t *testing.T) {
	t.Parallel()
	invariants(t, Mutation{Attached: true}, *seedsFlag/5)
}
