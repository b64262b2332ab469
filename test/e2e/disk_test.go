package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/test/traffic"
)

const (
	smallDisk = 320 << 20
	// leftFree is what the fetch finds: more than limits.free_space, which the case's configuration has lowered to 16 MiB.
	leftFree = 24 << 20
	// litter is what the machine's own programs may write meanwhile: its journal.
	litter = 12 << 20
)

func TestAFullDiskIsToldAndCostsNothingButTheRelease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "disk", func(o *options) { o.disk = smallDisk })
	f.release()
	f.launch()
	i := f.only()
	f.stable(i, 1)
	load := traffic.Start(t, f.url())
	free, err := i.free(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	// A fetch that does not find room goes through when there is room again.
	i.do("fallocate", "--length="+strconv.FormatInt(free-leftFree, 10), "/var/lib/filler")
	big := make([]byte, leftFree)
	_, _ = rand.Read(big) // crypto/rand.Read never fails
	f.release(map[string]gittest.File{"big": {Body: hex.EncodeToString(big)}})
	i.complains(1, "fetch", "no space left")
	i.do("rm", "/var/lib/filler")
	f.stable(i, 2)
	if free, err = i.free(t.Context()); err != nil { // release 2 is kept, to the end
		t.Fatal(err)
	}

	// A build that fills the disk: what it says of that finds no room either. Its rest is gone.
	f.release(map[string]gittest.File{"big": {Removed: true}})
	i.complains(2, "the build's log", "no space left on device")
	i.hasRoom(free)

	// One that succeeds, although its log found no room, is not taken for a good one.
	f.release()
	i.complains(2, "builds/4.log", "no space left on device")

	last := f.release()
	f.settled(i, last)
	i.hasRoom(free)
	if answers := load.Stop(); answers["1"] == 0 || answers["2"] == 0 || answers["3"] != 0 || answers["4"] != 0 {
		t.Errorf("releases 1, 2 and %d should have answered: %v", last, answers)
	}
}

// free is how many bytes are free on the machine's disk.
func (i *instance) free(ctx context.Context) (int64, error) {
	out, err := i.Exec(ctx, "sh", "-c", "df --block-size=1 --output=avail /var/lib/bootagent | tail -n1")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(out), 10, 64)
}

// hasRoom waits until nearly as much is free as once was.
func (i *instance) hasRoom(before int64) {
	i.f.t.Helper()
	i.f.until("room again", func(ctx context.Context) error {
		free, err := i.free(ctx)
		if err == nil && free < before-litter {
			err = fmt.Errorf("%d bytes are free, and were %d", free, before)
		}
		return err
	})
}

// complains waits until the status says these words, of a problem or a failure, while a release serves on.
func (i *instance) complains(serving int64, words ...string) {
	i.f.t.Helper()
	i.f.until(fmt.Sprintf("told as %q", words), func(ctx context.Context) error {
		s, err := i.status(ctx)
		if err != nil {
			return err
		}
		if s.InService.Number != serving {
			return fmt.Errorf("release %d is in service", s.InService.Number)
		}
		said := make([]string, 0, len(s.Problems)+len(s.Failed))
		for _, problem := range s.Problems {
			said = append(said, problem)
		}
		for _, failure := range s.Failed {
			said = append(said, failure.Reason)
		}
		for _, text := range said {
			all := true
			for _, word := range words {
				all = all && strings.Contains(text, word)
			}
			if all {
				i.f.t.Logf("the status says: %s", text)
				return nil
			}
		}
		s.Timeline = nil
		text, _ := json.Marshal(s) // a status came as JSON
		return fmt.Errorf("the status is %s", text)
	})
}
