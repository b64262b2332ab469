package state

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bootagent/bootagent/internal/disk/disktest"
)

type document struct {
	N    int
	Text string
}

// saved records three saves, and how many changes were made when each had returned.
func saved(t *testing.T) (record *disktest.Recorder, at []int) {
	t.Helper()
	dir := t.TempDir()
	record = disktest.Record(dir)
	f := At[document](filepath.Join(dir, "memory.json"))
	f.disk.Watch = record.Watch
	for n := range 3 {
		if err := f.Save(document{N: n + 1, Text: "what is remembered"}); err != nil {
			t.Fatal(err)
		}
		at = append(at, record.Len())
	}
	if err := record.Complete(); err != nil {
		t.Fatal(err)
	}
	return record, at
}

// remembered demands the document of the last save that returned, or that of the save that was at work, whole.
func remembered(at []int) *disktest.Replay {
	returned := func(done int) (n int, between bool) {
		for _, end := range at {
			if end <= done {
				n, between = n+1, end == done
			}
		}
		return n, between
	}
	return &disktest.Replay{
		Demand: func(done int) string { return fmt.Sprint(returned(done)) },
		Check: func(dir string, done int) error {
			got, err := At[document](filepath.Join(dir, "memory.json")).Load()
			if err != nil {
				return err
			}
			n, between := returned(done)
			if got.N != n && (between || got.N != n+1) || got.N > 0 && got.Text != "what is remembered" {
				return fmt.Errorf("%d saves had returned, and the document is %+v", n, got)
			}
			return nil
		},
	}
}

func TestALossOfPowerLeavesTheOldDocumentOrTheNewOneWhole(t *testing.T) {
	t.Parallel()
	record, at := saved(t)
	r := remembered(at)
	if err := r.Run(record.Changes(), 0); err != nil {
		t.Error(err)
	}
	if r.Prefixes < 15 || r.Images < 10 {
		t.Errorf("%d prefixes and %d disks are too few to tell anything", r.Prefixes, r.Images)
	}
}

func TestEveryFlushOfASaveIsNeeded(t *testing.T) {
	t.Parallel()
	record, at := saved(t)
	changes := record.Changes()
	flushes := 0
	for n, c := range changes {
		if !disktest.IsSync(c) {
			continue
		}
		flushes++
		earlier := slices.Clone(at)
		for i := range earlier {
			if earlier[i] > n {
				earlier[i]--
			}
		}
		if err := remembered(earlier).Run(disktest.Without(changes, n), n); err == nil {
			t.Errorf("without change %d, %s %s, nothing is lost", n+1, c.Op, c.Path)
		}
	}
	if flushes != 6 {
		t.Errorf("three saves flush %d times, not twice each", flushes)
	}
}

func TestWhatAKilledSaveLeftDoesNotPileUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".memory.json-new"), []byte("half"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := At[document](filepath.Join(dir, "memory.json")).Save(document{N: 1}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("there are %v, %v", entries, err)
	}
}
