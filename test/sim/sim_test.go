package sim

import (
	"flag"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

var (
	attachedFlag = flag.Bool("attached", false, "with -seed: of the fleets that Auto Scaling registers")
	seedFlag     = flag.Int64("seed", -1, "run this seed alone, as it is, with its whole trace")
	seedsFlag    = flag.Uint64("seeds", seedsInTest, "how many seeds to run")
	fromFlag     = flag.Uint64("from", 0, "the first seed")
)

// TestAFleetKeepsItsInvariants runs seed after seed, each a fleet with its own misfortunes.
func TestAFleetKeepsItsInvariants(t *testing.T) {
	t.Parallel()
	invariants(t, Mutation{}, *seedsFlag)
}

// invariants runs the seeds of the flags: with m.Attached, of fleets that Auto Scaling registers.
func invariants(t *testing.T, m Mutation, seeds uint64) {
	t.Helper()
	if *seedFlag >= 0 {
		if *attachedFlag != m.Attached {
			return // it is of the other kind of fleets, whose test runs it
		}
		v, lines := Run(m.generate(uint64(*seedFlag)), Mutation{}, true)
		t.Logf("\n%s", strings.Join(lines, "\n"))
		if v != nil {
			t.Fatalf("seed %d: %v", *seedFlag, v)
		}
		return
	}
	began := time.Now()
	if seed, v := search(*fromFlag, seeds, m, func(*Violation) bool { return true }); v != nil {
		explain(t, m, seed, v)
	}
	t.Logf("%d seeds in %s", seeds, time.Since(began).Round(time.Millisecond))
}

// search runs seeds on all cores until one breaks an invariant that is looked for. Of several it gives the lowest.
func search(from, seeds uint64, m Mutation, wanted func(*Violation) bool) (seed uint64, found *Violation) {
	var (
		next    atomic.Uint64
		mu      sync.Mutex
		workers sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				n := next.Add(1) - 1
				mu.Lock()
				over := n >= seeds || found != nil
				mu.Unlock()
				if over {
					return
				}
				if v, _ := Run(m.generate(from+n), m, false); v != nil && wanted(v) {
					mu.Lock()
					if found == nil || from+n < seed {
						seed, found = from+n, v
					}
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return seed, found
}

// explain shows what went wrong with a seed, as small as it still goes wrong.
func explain(t *testing.T, m Mutation, seed uint64, v *Violation) {
	t.Helper()
	small := Shrink(m.generate(seed), Mutation{}, v.Invariant)
	w, lines := Run(small, Mutation{}, true)
	if len(lines) > 400 {
		lines = lines[len(lines)-400:]
	}
	t.Fatalf("seed %d: %v\n\nshrunk to %s\n%s\n\n%v\nrun it again, as it was: go test ./test/sim -run Invariants -attached=%t -seed %d", seed, v, small, strings.Join(lines, "\n"), w, m.Attached, seed)
}

// A run that can't be run again is no help: the same seed gives the same trace, to the last line.
func TestASeedReplaysExactly(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		_, one := Run(Generate(seed), Mutation{}, true)
		_, two := Run(Generate(seed), Mutation{}, true)
		if len(one) < 20 || strings.Join(one, "\n") != strings.Join(two, "\n") {
			t.Errorf("seed %d: two runs of %d and %d lines differ", seed, len(one), len(two))
		}
	}
}

// What breaks an invariant is shown small.
func TestAFailureShrinks(t *testing.T) {
	t.Parallel()
	m := Mutation{View: func(v *rollout.View) {
		if v.Rollout != nil { // the budget is never spent
			r := *v.Rollout
			r.Policy.MaxFailures = 1000
			v.Rollout = &r
		}
	}}
	seed, v := search(0, 3000, m, func(v *Violation) bool { return v.Invariant == "S1" })
	if v == nil {
		t.Fatal("the mutation was not found out")
	}
	small := Shrink(Generate(seed), m, v.Invariant)
	if again, _ := Run(small, m, false); again == nil || again.Invariant != v.Invariant {
		t.Fatalf("the shrunken scenario gives %v, want %v", again, v)
	}
	if len(small.Events) >= len(Generate(seed).Events) {
		t.Errorf("it has %d events still", len(small.Events))
	}
}
