package laptop_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/trial"
)

func TestAFreshInstanceComesIntoServiceAndTakesTheNextReleaseUnderLoad(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	l.until("labelled", func() error { return l.labelled(1) })
	old, first := l.theProcess(i), l.status(i)

	seen := l.handover(i)
	traffic := l.startLoad()
	l.commit("main")
	l.put("main")
	l.until("on release 2, and release 1 gone", func() error { return l.settled(i, 2) })
	l.until("labelled", func() error { return l.labelled(2) })
	if answers := traffic.stop(); answers["1"] == 0 || answers["2"] == 0 {
		t.Errorf("both releases should have answered: %v", answers)
	}

	now, status := l.theProcess(i), l.status(i)
	if now.pid == old.pid || now.port == old.port || status.Port != now.port {
		t.Errorf("the old process is %v, the new one %v, and the status says port %d", old, now, status.Port)
	}
	if status.Identity != first.Identity || l.machine(i).Starts() != 1 {
		t.Errorf("the agent started %d times", l.machine(i).Starts())
	}
	l.until("told in the log", seen.complete)
	seen.check(t, old)
}

// handover follows the log of a handover, and looks at the machine when the old release's drain begins.
func (l *lab) handover(i *trial.Instance) *handover {
	h := &handover{at: map[string]time.Time{}}
	l.log.listen(func(_, line string) {
		for _, phase := range []string{"check", "register", "balancer", "promote", "deregister", "drain", "stop"} {
			for _, edge := range []string{"start", "done"} {
				if !boundary(phase, edge).is(line) {
					continue
				}
				h.note(phase+" "+edge, line)
				if phase == "drain" && edge == "start" {
					running, _ := l.processes(i) // check misses what can't be seen
					h.mu.Lock()
					h.beside = running
					h.mu.Unlock()
				}
			}
		}
	})
	return h
}

// handover is what was seen of one.
type handover struct {
	mu     sync.Mutex
	order  []string
	at     map[string]time.Time
	beside []process // the app's processes when the drain began
}

func (h *handover) note(name, line string) {
	stamp, _, _ := strings.Cut(line, "\t")
	at, _ := time.Parse("2006-01-02T15:04:05.000Z0700", stamp) // a stamp of another form leaves zero, which check finds
	h.mu.Lock()
	defer h.mu.Unlock()
	h.order = append(h.order, name)
	h.at[name] = at
}

// complete says whether all has happened, in its order: the new release was healthy, here and in the balancer, before
// the old one was deregistered, and that was drained before it was stopped.
func (h *handover) complete() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	want := "check start, check done, register start, register done, balancer start, balancer done, promote start, promote done, " +
		"deregister start, deregister done, drain start, drain done, stop start, stop done"
	if got := strings.Join(h.order, ", "); got != want {
		return fmt.Errorf("the handover went\n%s\nnot\n%s", got, want)
	}
	return nil
}

// check says whether the old process was there for as long as it must be.
func (h *handover) check(t *testing.T, old process) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.beside, old) || len(h.beside) != 2 {
		t.Errorf("when the drain began these processes ran, and %v should have been one of two: %v", old, h.beside)
	}
	if drained := h.at["drain done"].Sub(h.at["deregister done"]); drained < trial.DrainMin-10*time.Millisecond {
		t.Errorf("the old process had %s to drain, and drain_min is %s", drained, trial.DrainMin)
	}
}

func TestAnAppThatIsKilledIsStartedAgainWhereItWas(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)
	kill(t, before.pid)
	var after process
	l.until("in service again with another process", func() error {
		running, err := l.processes(i)
		if err != nil || len(running) != 1 || running[0].pid == before.pid {
			return fmt.Errorf("these processes run: %v (%v)", running, err)
		}
		after = running[0]
		return l.settled(i, 1)
	})
	if after.port != before.port {
		t.Errorf("it was started again on port %d instead of %d", after.port, before.port)
	}
	if l.log.contains("\tstart\t", `"phase": "deregister"`) {
		t.Error("it was deregistered, although its target only failed for a moment")
	}
	if err := l.answers("1"); err != nil {
		t.Error(err)
	}
}

func TestAnAppThatKeepsFailingIsTakenOutAndReplacedByANewProcess(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) {
		o.UnhealthyGrace = 2 * time.Second
		// The balancer looks at something else, so that what is seen is the agent's doing.
		o.Check = elbv2.HealthCheck{Path: "/"}
	})
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)
	l.up(before.port, http.StatusInternalServerError)
	l.wait("said so", problem("fails its checks", "500"))
	l.until("deregistered", func() error {
		targets, err := l.targets(i)
		if _, still := targets[before.port]; still || err != nil {
			return fmt.Errorf("the targets are %v (%v)", targets, err)
		}
		return nil
	})
	l.until("in service with a new process", func() error { return l.settled(i, 1) })
	if after := l.theProcess(i); after.pid == before.pid {
		t.Errorf("process %d serves on", after.pid)
	}
	l.until("without a problem", func() error {
		if s := l.status(i); len(s.Problems) > 0 || len(s.Failed) > 0 {
			return fmt.Errorf("the trouble is over, and the status says %v, failed: %v", s.Problems, s.Failed)
		}
		return nil
	})
}

// TestAnAppThatRecoversWhileItIsTakenOutIsPutBack lets the agent change its mind in the middle of a deregistration that
// has happened already, and of which it gets no answer.
func TestAnAppThatRecoversWhileItIsTakenOutIsPutBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) {
		o.UnhealthyGrace = time.Second
		o.Check = elbv2.HealthCheck{Path: "/"}
	})
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)
	l.disturb(fault.Rule{Operation: "DeregisterTargets", Effect: func(ctx context.Context, _ wire.Call, next func() (any, error)) (any, error) {
		answer, err := next()
		l.up(before.port, http.StatusOK)
		<-ctx.Done() // until the agent hangs up
		return answer, err
	}})
	l.up(before.port, http.StatusInternalServerError)
	l.until("deregistered", func() error {
		targets, err := l.targets(i)
		if len(targets) > 0 || err != nil {
			return fmt.Errorf("the targets are %v (%v)", targets, err)
		}
		return nil
	})
	began := time.Now()
	l.until("in service again", func() error { return l.settled(i, 1) })
	if after := l.theProcess(i); after != before {
		t.Errorf("the app had recovered, and was replaced: %v, then %v", before, after)
	}
	// It need not wait for the next look at the targets, which comes every thirty seconds.
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("that took %s", took)
	}
}

// up tells the app on that port what /up is to answer from now on.
func (l *lab) up(port, status int) {
	l.t.Helper()
	answer, err := newClient().Get(fmt.Sprintf("http://127.0.0.1:%d/up/%d", port, status))
	if err != nil {
		l.t.Error(err)
		return
	}
	_ = answer.Body.Close()
}

func TestAReleaseThatFailsItsChecksIsRevertedAndAGoodOneTakesOver(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)

	traffic := l.startLoad()
	l.commit("main", "-dies=300ms", "-say=I can't find my database", "-status=503")
	l.put("main")
	l.wait("reverted", serving(1), state("reverted"), failure(2, "exit", "3", "I can't find my database"))
	l.until("settled on release 1", func() error { return l.settled(i, 1) })
	if after := l.theProcess(i); after != before {
		t.Errorf("the old release was restarted: %v, then %v", before, after)
	}
	l.until("labelled", func() error { return l.labelled(1) })

	l.commit("main")
	l.put("main")
	l.until("on release 3", func() error { return l.settled(i, 3) })
	l.wait("no longer reverted", state("in_service"))
	l.until("labelled", func() error { return l.labelled(3) })
	if answers := traffic.stop(); answers["1"] == 0 || answers["2"] != 0 || answers["3"] == 0 {
		t.Errorf("releases 1 and 3 should have answered, and 2 should not: %v", answers)
	}
}

func TestOfTwoQuickReleasesTheSecondWins(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"build", "check", "balancer"} {
		t.Run("put while the first is at its "+phase, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.put(l.commit("main"))
			l.launch()
			i := l.only()
			l.until("in service, and stable", func() error { return l.stable(i, 1) })
			traffic := l.startLoad()
			second, third := l.commit("second", "-after=700ms"), l.commit("third")
			put := make(chan error, 1)
			once(l, boundary(phase, "start"), func(string) {
				_, err := l.Put(t.Context(), third)
				put <- err
			})
			l.put(second)
			if err := <-put; err != nil {
				t.Fatal(err)
			}
			l.until("on release 3", func() error { return l.settled(i, 3) })
			traffic.stop()
			if s := l.status(i); len(s.Failed) > 0 {
				t.Errorf("no release is bad, and the status says %v", s.Failed)
			}
		})
	}
}
