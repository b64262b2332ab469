package laptop_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/trial"
)

// byRestart lets an app's releases take turns, on one port.
func byRestart(o *trial.Options) { o.OnePort, o.Configuration = true, "switch: restart\n" }

// neverTwo watches an instance's processes until the test ends: two of the app must never run at the same time.
func (l *lab) neverTwo(i *trial.Instance) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticker.C:
			}
			running, err := l.processes(i)
			running = slices.DeleteFunc(running, func(p process) bool { return p.port == 0 }) // builds
			if err == nil && len(running) > 1 {
				l.t.Errorf("these run at the same time: %v", running)
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

func TestAnAppThatCannotRunTwiceIsSwitchedByRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, byRestart)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	stop := l.neverTwo(i)
	before := l.theProcess(i)

	l.commit("main")
	l.put("main")
	l.until("on release 2", func() error { return l.settled(i, 2) })
	if after := l.theProcess(i); after.port != before.port {
		t.Errorf("release 2 serves on port %d, and there is %d alone", after.port, before.port)
	}
	l.until("labelled", func() error { return l.labelled(2) })

	l.commit("main", "-dies=300ms", "-say=no database")
	l.put("main")
	l.wait("back on release 2", serving(2), state("reverted"), failure(3, "no database"))
	l.until("settled on release 2", func() error { return l.settled(i, 2) })
	stop()
	if err := l.answers("2"); err != nil {
		t.Error(err)
	}
}

// restartEdges are the boundaries of a switch by restart at which an agent dies.
func restartEdges() []edge {
	var edges []edge
	for _, phase := range []string{"deregister", "drain", "stop", "start", "check", "register", "balancer", "promote"} {
		edges = append(edges, boundary(phase, "start"), boundary(phase, "done"))
	}
	return edges
}

// TestKillWalkOfARestart rolls a release by restart for each boundary, and kills the agent there: it ends on the new release,
// and at no time do two run.
func TestKillWalkOfARestart(t *testing.T) {
	t.Parallel()
	const releases = 4 // for each instance
	for part := range slices.Chunk(restartEdges(), releases) {
		t.Run(part[0].name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, byRestart)
			w := newWalk(l)
			l.put(l.commit("main"))
			l.launch()
			i := l.only()
			l.until("in service, and stable", func() error { return l.stable(i, 1) })
			stop := l.neverTwo(i)
			for _, e := range part {
				l.commit("main")
				w.arm(i.ID, e)
				release := l.put("main")
				l.until(fmt.Sprintf("on release %d although its agent was killed at %q", release, e.name), func() error {
					if _, killed := w.of(i.ID); !killed {
						return fmt.Errorf("it was not killed yet")
					}
					return l.settled(i, release)
				})
				if s := l.status(i); len(s.Failed) > 0 {
					t.Errorf("killed at %q: the status says failed: %v", e.name, s.Failed)
				}
			}
			stop()
		})
	}
}
