package laptop_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/trial"
)

// The kill walks kill the agent by SIGKILL at each boundary of each phase and
// in the middle of those that take long. The machine starts it again, as
// systemd would, and the instance must end in service as if nothing had been.
//
// A boundary is a line of the agent's log: the agent is killed when the line
// is read, a moment after it was written. The line of a start is written
// before the step's effect, that of an end before it is remembered on disk,
// so the kill meets the worst moments, though not always the same instruction.

// bootEdges are the boundaries of a first boot.
func bootEdges() []edge {
	edges := []edge{{name: "identified", words: []string{"\tidentified\t"}}}
	for _, phase := range []string{"prepare", "fetch", "build", "store", "start", "check", "register", "balancer", "promote", "hook"} {
		edges = append(edges, boundary(phase, "start"), boundary(phase, "done"))
	}
	return append(edges, amid("fetch", 10*time.Millisecond), amid("build", 150*time.Millisecond),
		amid("check", 100*time.Millisecond), amid("balancer", 200*time.Millisecond))
}

// handoverEdges are those of a handover.
func handoverEdges() []edge {
	edges := []edge{{name: "the news", words: []string{"\tthe parameter asks for a release\t"}}}
	for _, phase := range []string{
		"resolve", "prepare", "fetch", "build", "store", "start", "check", "register", "balancer", "promote", "label", "deregister", "drain", "stop",
	} {
		edges = append(edges, boundary(phase, "start"), boundary(phase, "done"))
	}
	return append(edges, amid("build", 150*time.Millisecond), amid("check", 100*time.Millisecond),
		amid("balancer", 200*time.Millisecond), amid("drain", 2*time.Second))
}

// amid is so long after the start of a phase.
func amid(phase string, later time.Duration) edge {
	e := boundary(phase, "start")
	e.name, e.later = "the middle of "+phase, later
	return e
}

// slowApp is a release whose build and start take long enough to be killed in their middle.
func (l *lab) slowApp(branch string) {
	l.t.Helper()
	l.commit(branch, "-after=200ms")
	recipe := appRecipe("-after=200ms")["bootagent.yaml"]
	slow := strings.Replace(recipe, "run: mkdir", "run: sleep 0.3; mkdir", 1)
	if slow == recipe {
		l.t.Fatal("the recipe's build could not be slowed down")
	}
	l.repo.CommitFiles(branch, files(map[string]string{"bootagent.yaml": slow}))
}

// TestKillWalkOfAFirstBoot launches an instance for each boundary, and kills its agent there. They boot in fleets that
// a small machine can run.
func TestKillWalkOfAFirstBoot(t *testing.T) {
	t.Parallel()
	const fleet = 7
	for edges := range slices.Chunk(bootEdges(), fleet) {
		t.Run(edges[0].name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, func(o *trial.Options) { o.Instances = len(edges) })
			w := newWalk(l)
			w.next = edges
			l.slowApp("main")
			l.put("main")
			l.launch()
			l.wait("in service, each of them", serving(1))
			for _, i := range l.Instances() {
				e, killed := w.of(i.ID)
				if !killed {
					t.Errorf("%s was not killed at %q", i.ID, e.name)
					continue
				}
				l.until(fmt.Sprintf("as if it had not been killed at %q", e.name), func() error { return l.settled(i, 1) })
				l.unharmed(i, e, 1, 2)
			}
			l.until("labelled", func() error { return l.labelled(1) })
			if err := l.answers("1"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKillWalkOfAHandover rolls a release for each boundary over an instance under load, and kills its agent there.
func TestKillWalkOfAHandover(t *testing.T) {
	t.Parallel()
	const releases = 3 // for each instance
	for part := range slices.Chunk(handoverEdges(), releases) {
		t.Run(part[0].name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			w := newWalk(l)
			l.slowApp("main")
			l.put("main")
			l.launch()
			i := l.only()
			l.until("in service, and stable", func() error { return l.stable(i, 1) })
			traffic := l.startLoad()
			w.walk(i, part, 1)
			traffic.stop()
		})
	}
}

// walk rolls a release over the instance for each of the edges, and kills its agent there. So far the agent was
// started so many times.
func (w *walk) walk(i *trial.Instance, edges []edge, starts int) {
	l := w.lab
	l.t.Helper()
	for n, e := range edges {
		l.slowApp("main")
		w.arm(i.ID, e)
		release := l.put("main")
		l.until(fmt.Sprintf("as if it had not been killed at %q", e.name), func() error {
			if _, killed := w.of(i.ID); !killed {
				return fmt.Errorf("it was not killed yet")
			}
			return l.settled(i, release)
		})
		l.until("labelled", func() error { return l.labelled(release) })
		l.unharmed(i, e, release, starts+n+1)
	}
}

// unharmed says that a kill cost nothing but time: no revision is blamed for it, no process was started twice.
func (l *lab) unharmed(i *trial.Instance, e edge, release int64, starts int) {
	l.t.Helper()
	l.until("without a problem", func() error {
		if s := l.status(i); len(s.Failed) > 0 || len(s.Problems) > 0 {
			return fmt.Errorf("killed at %q, the status of %s says failed: %v, problems: %v", e.name, i.ID, s.Failed, s.Problems)
		}
		return nil
	})
	if n := l.log.count(i.ID, "\tunit started\t", fmt.Sprintf(`"release": %d,`, release)); n > 1 {
		l.t.Errorf("killed at %q: %s started release %d %d times", e.name, i.ID, release, n)
	}
	if n := l.machine(i).Starts(); n != starts {
		l.t.Errorf("killed at %q: the agent of %s was started %d times, not %d", e.name, i.ID, n, starts)
	}
}

// walk kills agents, each where it is to be killed, once.
type walk struct {
	lab    *lab
	signal syscall.Signal

	mu    sync.Mutex
	next  []edge           // for instances that are not known yet
	steps map[string]*step // by instance
}

type step struct {
	edge  edge
	begun bool // the line was seen
	done  bool
}

func newWalk(l *lab) *walk {
	w := &walk{lab: l, signal: syscall.SIGKILL, steps: map[string]*step{}}
	l.log.listen(w.line)
	return w
}

// arm lets an instance's agent be killed when it next comes to the edge.
func (w *walk) arm(instance string, e edge) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps[instance] = &step{edge: e}
}

// of says where an instance's agent is killed, and whether it has been.
func (w *walk) of(instance string) (e edge, killed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.steps[instance]
	if s == nil {
		return edge{}, false
	}
	return s.edge, s.done
}

// awaits says whether an instance's agent is to be killed yet.
func (w *walk) awaits(instance string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.steps[instance]
	return s != nil && !s.done
}

// line is told every line of every agent.
func (w *walk) line(instance, line string) {
	w.mu.Lock()
	s := w.steps[instance]
	if s == nil && len(w.next) > 0 { // a new instance takes the next edge
		s = &step{edge: w.next[0]}
		w.next, w.steps[instance] = w.next[1:], s
	}
	now := s != nil && !s.begun && s.edge.is(line)
	if now {
		s.begun = true
	}
	w.mu.Unlock()
	switch {
	case now && s.edge.later > 0:
		time.AfterFunc(s.edge.later, func() { w.kill(instance, s) })
	case now:
		w.kill(instance, s)
	}
}

func (w *walk) kill(instance string, s *step) {
	// A machine that has only just begun to print may not be known yet.
	for end := time.Now().Add(killPatience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		m, ok := w.lab.Machines.Machine(instance)
		if !ok {
			continue
		}
		if pid := m.AgentPID(); pid != 0 && syscall.Kill(pid, w.signal) == nil {
			w.killed(s)
			return
		}
	}
}

// killPatience is longer than a machine takes to start its agent again.
const killPatience = 10 * time.Second

func (w *walk) killed(s *step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.done = true
}
