package sim

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Int64("seed", -1, "run this seed alone, with its trace")
	seedsFlag = flag.Int("seeds", 300, "how many seeds to run")
	fromFlag  = flag.Uint64("from", 0, "the first seed")
)

// TestAFleetKeepsItsInvariants runs seed after seed, each a fleet with its own misfortunes.
func TestAFleetKeepsItsInvariants(t *testing.T) {
	if *seedFlag >= 0 {
		fail(t, uint64(*seedFlag), false)
		return
	}
	t.Parallel()
	began := time.Now()
	for n := range *seedsFlag {
		seed := *fromFlag + uint64(n)
		if v, _ := Run(Generate(seed), Mutation{}, false); v != nil {
			fail(t, seed, true)
			return
		}
	}
	t.Logf("%d seeds in %s", *seedsFlag, time.Since(began).Round(time.Millisecond))
}

// fail shows what went wrong with a seed: as it was, or as small as it still goes wrong.
func fail(t *testing.T, seed uint64, shrink bool) {
	s := Generate(seed)
	v, lines := Run(s, Mutation{}, true)
	if v == nil {
		t.Logf("seed %d keeps all invariants", seed)
		if testing.Verbose() {
			fmt.Fprintln(os.Stderr, strings.Join(lines, "\n"))
		}
		return
	}
	if shrink {
		s = Shrink(s, Mutation{}, v.Invariant)
		v, lines = Run(s, Mutation{}, true)
	}
	if len(lines) > 400 && *seedFlag < 0 {
		lines = lines[len(lines)-400:]
	}
	t.Fatalf("seed %d: %v\n%s\n%+v\nrun it again: go test ./test/sim -run Invariants -seed %d", seed, v, strings.Join(lines, "\n"), s, seed)
}
