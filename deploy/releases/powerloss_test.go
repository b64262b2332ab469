package releases

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/bootagent/bootagent/internal/disk/disktest"
)

// These tests lose power. A store's life is recorded change by change as it is really lived, on a real directory; then, for
// every prefix of the record, disks are made that hold what was flushed by then and, of the rest, this or that (what exactly is
// possible is said in disktest/model.go), and the store is opened on each of them. What a call has done when it returns must be
// there; what a call was doing may be.

// longLife is a life in which everything happens that a store does.
func longLife(t *testing.T) *story {
	t.Helper()
	y := begin(t)
	for i, step := range []func() error{
		func() error { return y.add(1) }, func() error { return y.promote(1) },
		func() error { return y.add(2) }, func() error { return y.promote(2) },
		func() error { return y.discard(3) }, func() error { return y.promote(1) }, func() error { return y.promote(2) },
		func() error { return y.remove(1) }, func() error { return y.add(1) }, func() error { return y.add(3) },
		func() error { return y.promote(3) }, func() error { return y.remove(2) },
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
	}
	if err := y.record.Complete(); err != nil {
		t.Fatalf("the record does not tell everything: %v", err)
	}
	return y
}

func TestALossOfPowerAnywhereLeavesWhatWasCompleteAndNothingElse(t *testing.T) {
	t.Parallel()
	y := longLife(t)
	r := replay(&y.truths)
	if err := r.Run(y.record.Changes(), 0); err != nil {
		t.Error(err)
	}
	t.Logf("%d prefixes of the record, %d different disks", r.Prefixes, r.Images)
	if r.Prefixes < 100 || r.Images < 300 {
		t.Error("that is too little to tell anything")
	}
}

func TestEveryFlushOfAStoreIsNeeded(t *testing.T) {
	t.Parallel()
	y := longLife(t)
	changes := y.record.Changes()
	opened := y.truths[0].at
	flushes := 0
	for n, c := range changes {
		if n < opened || !disktest.IsSync(c) { // at the first start there is nothing to flush
			continue
		}
		flushes++
		truths := slices.Clone(y.truths)
		for i := range truths {
			if truths[i].at > n {
				truths[i].at--
			}
		}
		if err := replay(&truths).Run(disktest.Without(changes, n), n); err == nil {
			t.Errorf("without change %d, %s %s, nothing is lost", n+1, c.Op, c.Path)
		}
	}
	if flushes < 20 {
		t.Errorf("only %d flushes", flushes)
	}
}

// walkKills lives the life of an agent that goes to release 2, kills it after each rename, link and flush in turn, and lets the next
// agent go on, in whose start the flush of a path can be forgotten. Power is lost anywhere after the kill.
func walkKills(t *testing.T, forget string) (*disktest.Replay, error) {
	t.Helper()
	var truths []truth
	r := replay(&truths)
	r.Few = true
	for kill := 1; ; kill++ {
		y := begin(t)
		if err := errors.Join(y.add(1), y.promote(1)); err != nil {
			t.Fatal(err)
		}
		y.kill = kill
		ended, err := y.live()
		if err != nil {
			t.Fatal(err)
		}
		from := y.record.Len()
		y.kill = -1
		if err := y.open(); err != nil {
			t.Fatalf("opened after kill %d: %v", kill, err)
		}
		opened := y.record.Len()
		for _, step := range []func() error{
			func() error {
				if slices.Contains(y.now().list, 2) {
					return nil
				}
				return y.add(2)
			},
			func() error { return y.promote(2) },
			func() error { return y.remove(1) },
		} {
			if err := step(); err != nil {
				t.Fatalf("after kill %d: %v", kill, err)
			}
		}
		if err := y.record.Complete(); err != nil {
			t.Fatalf("the record of kill %d does not tell everything: %v", kill, err)
		}
		changes := y.record.Changes()
		truths = y.truths
		for n := opened - 1; n >= from && forget != ""; n-- {
			if disktest.IsSync(changes[n]) && changes[n].Path == forget {
				changes = disktest.Without(changes, n)
				for i := range truths {
					if truths[i].at > n {
						truths[i].at--
					}
				}
			}
		}
		if err := r.Run(changes, from); err != nil {
			return r, fmt.Errorf("kill %d: %w", kill, err)
		}
		if ended {
			return r, nil
		}
	}
}

// live goes to release 2, and says whether it lived to the end.
func (y *story) live() (ended bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
		}
	}()
	err = errors.Join(y.add(2), y.promote(2), y.remove(1))
	return true, err
}

func TestALossOfPowerAfterAKillLeavesWhatTheNextAgentSaw(t *testing.T) {
	t.Parallel()
	r, err := walkKills(t, "")
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d prefixes of the records, %d different disks", r.Prefixes, r.Images)
}

func TestEveryFlushOfAStartIsNeeded(t *testing.T) {
	t.Parallel()
	for _, path := range []string{".", releasesName, filepath.Join(treesName, strconv.Itoa(2))} {
		if _, err := walkKills(t, path); err == nil {
			t.Errorf("without the flush of %q at the start nothing is lost", path)
		}
	}
}
