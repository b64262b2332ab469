package agent

import (
	"testing"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// systemd lists a process that it is still starting. Plan then wants it checked, and no longer started.
func TestAProcessThatCanBeSeenIsNotTakenBackWhileItStarts(t *testing.T) {
	t.Parallel()
	start := Start{Release: two, Process: web, Port: 8081}
	for name, c := range map[string]struct {
		scene     []is
		cancelled bool
	}{
		"it can be seen": {[]is{newest(two), prepared(two), runs(two, 8081)}, false},
		"nobody wants it any more, and it can be seen": {[]is{newest(three), prepared(two), runs(two, 8081)}, true},
		"nobody wants it any more":                     {[]is{newest(three), prepared(two)}, true},
	} {
		o, d, m := scenery(c.scene...)
		cancelled := false
		w := &world{observed: o, desired: d, memory: m, saved: m, problems: map[string]string{},
			doing: map[Step]*activity{start: {step: start, cancel: func() { cancelled = true }}}}
		a := New(Options{Identity: model.Identity{InstanceID: "i-1"}, Store: &box{}, Log: zap.NewNop()})
		var steps []Step
		for _, s := range Plan(o, d, m, noon) {
			if s.For().Number == start.Release.Number { // the others have nothing to do with it
				steps = append(steps, s)
			}
		}
		a.reconcile(t.Context(), w, steps)
		if cancelled != c.cancelled || len(w.doing) != 1 {
			t.Errorf("%s: cancelled %t, in flight %v", name, cancelled, w.doing)
		}
	}
}

// What is to be stopped may be what fills the disk.
func TestAFullDiskKeepsNoProcessAlive(t *testing.T) {
	t.Parallel()
	o, d, m := scenery(settled(newest(two), bad(two, noon), prepared(two), runs(two, 8081))...)
	full := &box{full: true}
	a := New(Options{Identity: model.Identity{InstanceID: "i-1"}, Store: full, Runner: full, Log: zap.NewNop()})
	w := &world{observed: o, desired: d, memory: m, problems: map[string]string{}, doing: map[Step]*activity{}}
	a.reconcile(t.Context(), w, Plan(o, d, m, noon))
	a.finish(w)
	if w.problems["memory"] == "" || len(full.stops) != 1 {
		t.Errorf("stopped were %v, and the problems are %v", full.stops, w.problems)
	}
}
