package disktest

import (
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/bootagent/bootagent/internal/disk"
)

// Replay loses power after each change of a recording, and has what is left on the disk checked.
type Replay struct {
	// Demand says in words what is demanded of a disk that lost power after so many changes. Disks that are alike are checked once
	// for each demand.
	Demand func(done int) string
	// Check says what is wrong with the disk that is in dir.
	Check func(dir string, done int) error
	// Few leaves out outcomes in which edits come in no order but that one of them is lost. It is for many recordings that are
	// much alike.
	Few bool

	// Prefixes and Images count what was looked at.
	Prefixes, Images int

	seen   map[[2]string]bool
	random *rand.Rand
}

// Run loses power after from changes, and after each one more, in every outcome that is tried. The first error ends it, and
// tells the outcome. A second recording may follow: what it shares with those before it is not checked again.
func (r *Replay) Run(changes []disk.Change, from int) error {
	if r.seen == nil {
		r.seen = map[[2]string]bool{}
	}
	r.random = rand.New(rand.NewPCG(1, 2)) // the same outcomes every time
	m := newModel()
	for done := 0; ; done++ {
		if done >= from {
			if err := r.lose(m, changes[:done]); err != nil {
				return err
			}
		}
		if done == len(changes) {
			return nil
		}
		if err := m.apply(changes[done]); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
	}
}

func (r *Replay) lose(m *model, made []disk.Change) error {
	r.Prefixes++
	demand := r.Demand(len(made))
	n, written := m.unflushed()
	for _, o := range outcomes(n, written, r.Few, r.random) {
		image := m.power(o)
		key := [2]string{demand, image.String()}
		if r.seen[key] {
			continue
		}
		r.seen[key] = true
		r.Images++
		if err := r.check(image, len(made)); err != nil {
			return fmt.Errorf("power was lost after %s; the disk then held\n%sand that is wrong: %w", last(made), image, err)
		}
	}
	return nil
}

func (r *Replay) check(image Image, done int) error {
	dir, err := os.MkdirTemp("", "powerloss-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // in a directory for temporary files
	if err := image.Write(dir); err != nil {
		return err
	}
	return r.Check(dir, done)
}

func last(changes []disk.Change) string {
	if len(changes) == 0 {
		return "nothing"
	}
	c := changes[len(changes)-1]
	return fmt.Sprintf("change %d, %s %s %s", len(changes), c.Op, c.Path, c.To)
}

// Without gives the changes without one: a flush that was forgotten.
func Without(changes []disk.Change, n int) []disk.Change {
	return append(append([]disk.Change(nil), changes[:n]...), changes[n+1:]...)
}
