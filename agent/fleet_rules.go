package agent

import (
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// The numbers of two epochs must not meet on a machine's disk: there the epoch stands above the number's own bits.
const epochShift = 32

// LocalRelease is a release of the fleet as a machine knows it: with one number that orders releases of all epochs.
func LocalRelease(r rollout.Release) model.Release {
	out := r.Model()
	out.Number |= r.Epoch << epochShift
	return out
}

// FleetRelease takes LocalRelease back.
func FleetRelease(r model.Release) rollout.Release {
	return rollout.Release{
		ID:       rollout.ID{Epoch: r.Number >> epochShift, Number: r.Number & (1<<epochShift - 1)},
		Revision: r.Revision, Ref: r.Ref,
	}
}

// NeedsFresh says whether a step may be taken only on the fleet's word of this very moment: what changes which release
// serves. What serves and crashed, or fails, or leaves, is not the fleet's to decide on.
func NeedsFresh(step Step, m Memory) bool {
	serves := m.Serving && step.For().Number == m.InService.Number
	switch s := step.(type) {
	case EnterStandby:
		return true
	case Start, Register:
		return !serves
	case Deregister:
		return s.Cause != Unhealthy && m.Leaving == Stays
	}
	return false
}

// lookback tells a stale read of the parameter from one that was deleted and made anew.
type lookback struct {
	highest  int64 // the highest number that was seen in this epoch
	epoch    int64
	backward int  // reads in a row that gave a lower one
	anew     bool // the history says that it was made anew
}

// suspicious is how many reads in a row must be lower before the history is asked.
const suspicious = 3

// saw takes a read into account, and says whether the history is to be looked up.
func (l *lookback) saw(number int64, opened rollout.ID) bool {
	if opened.Epoch != l.epoch {
		*l = lookback{epoch: opened.Epoch}
	}
	l.highest = max(l.highest, opened.Number)
	if number == 0 || number >= l.highest {
		l.highest, l.backward, l.anew = max(l.highest, number), 0, false
		return false
	}
	l.backward++
	return l.backward >= suspicious && !l.anew
}
