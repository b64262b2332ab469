package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/fault"
)

// Machines are switched off at the start of each phase, the moment that the agent's journal tells it, and on again. The phases are slowed
// down, the build and the app's start by their recipe, fetches and calls here, so that they are met in their middle: a call has had its
// effect then, and its answer was not seen.

const slowness = time.Second

// slowly makes what is quick on this machine take as long as it may on AWS.
func slowly(o *options) {
	o.git = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(slowness / 2): // a fetch is two requests
			case <-r.Context().Done():
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (f *fleet) slowCalls() {
	for _, operation := range []string{"RegisterTargets", "DeregisterTargets", "CompleteLifecycleAction"} {
		f.region.Faults.Add(fault.Rule{Operation: operation, Effect: fault.Delay(slowness)})
	}
}

// phase is one of the agent's, by what its journal says when it begins.
func begins(phase, line string) bool {
	switch phase {
	case "fetch", "build", "store": // the parts of prepare have lines of their own
		return strings.Contains(line, "\t"+phase+" started\t")
	}
	return strings.Contains(line, "\tstart\t") && strings.Contains(line, `"phase": "`+phase+`"`)
}

// victim is a machine that is switched off at a phase, once.
type victim struct {
	phase string
	i     *instance
	ended chan error
}

// strike switches the machine off when it comes to the phase, and on again. It returns when the journal is watched.
func strike(ctx context.Context, i *instance, phase string) *victim {
	v := &victim{phase: phase, i: i, ended: make(chan error, 1)}
	watched := make(chan struct{})
	go func() { v.ended <- v.wait(ctx, sync.OnceFunc(func() { close(watched) })) }()
	<-watched
	return v
}

func (v *victim) wait(ctx context.Context, watched func()) error {
	defer watched()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s never came to %s", v.i.id, v.phase))
	defer cancel()
	// What was printed already counts at a first boot alone: there nothing was.
	journal, done, err := v.i.Command(ctx, "sh", "-c", "echo watched; exec journalctl --quiet --follow --lines=0 --output=cat --unit=bootagent")
	if err != nil {
		return err
	}
	defer done()
	out, err := journal.StdoutPipe()
	if err != nil {
		return err
	}
	if err := journal.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		watched()
		if begins(v.phase, lines.Text()) {
			err := v.i.pull(ctx, func() {})
			_ = journal.Wait() // it ended with the machine
			return err
		}
	}
	return errors.Join(fmt.Errorf("the journal of %s ended before %s", v.i.id, v.phase), lines.Err(), journal.Wait(), context.Cause(ctx))
}

func TestAMachineThatIsSwitchedOffAtAnyPhaseOfItsFirstBootComesIntoService(t *testing.T) {
	t.Parallel()
	phases := []string{"fetch", "build", "store", "start", "check", "register", "balancer", "promote", "hook"}
	var mu sync.Mutex
	var victims []*victim
	f := newFleet(t, "kill", slowly, func(o *options) {
		o.instances = len(phases)
		o.booting = func(i *instance) {
			mu.Lock()
			defer mu.Unlock()
			victims = append(victims, strike(t.Context(), i, phases[len(victims)]))
		}
	})
	f.slowCalls()
	release := f.release()
	f.launch()
	f.until("all launched", func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if len(victims) < len(phases) {
			return fmt.Errorf("%d of %d are", len(victims), len(phases))
		}
		return nil
	})
	users := f.users()
	for _, v := range victims {
		if err := <-v.ended; err != nil {
			t.Fatalf("switched off at %s: %v", v.phase, err)
		}
	}
	for _, v := range victims {
		t.Logf("%s, which was switched off at %s", v.i.id, v.phase)
		f.settled(v.i, release)
		v.i.unharmed(t)
	}
	if running := f.running(); len(running) != len(phases) {
		t.Errorf("some were given up: %d run", len(running))
	}
	users.check(t)
}

func TestAMachineThatIsSwitchedOffAtAnyPhaseOfAHandoverComesBackWithTheNewRelease(t *testing.T) {
	t.Parallel()
	phases := []string{"prepare", "start", "check", "register", "balancer", "deregister", "drain", "stop"}
	for part := range slices.Chunk(phases, 3) {
		t.Run(strings.Join(part, ", "), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, "kill", slowly)
			f.slowCalls()
			f.release()
			f.launch()
			i := f.only()
			f.stable(i, 1)
			users := f.users()
			for _, phase := range part {
				t.Logf("at %s", phase)
				v := strike(t.Context(), i, phase)
				release := f.release()
				if err := <-v.ended; err != nil {
					t.Fatal(err)
				}
				f.stable(i, release)
				i.unharmed(t)
			}
			users.check(t)
		})
	}
}
