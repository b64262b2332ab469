package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/test/traffic"
)

func TestARebootEndsInServiceAndNothingIsAskedBeforeItHasPassedThisBootsChecks(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "reboot")
	f.release()
	f.launch()
	i := f.only()
	f.stable(i, 1)
	f.release()
	f.stable(i, 2) // release 1 is on the disk too, and must not run again
	users := f.users()

	t.Log("in good order")
	i.power.Lock()
	err := i.Reboot(t.Context())
	i.power.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	f.settled(i, 2)
	i.unharmed(t)

	t.Log("without notice, while a release is put")
	if err := i.pull(t.Context(), func() { f.release() }); err != nil {
		t.Fatal(err)
	}
	f.settled(i, 3)
	i.unharmed(t)
	users.check(t)
}

func TestAMachineThatIsOutOfServiceStaysSoOverAReboot(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "reboot")
	f.release()
	f.launch()
	i := f.only()
	f.stable(i, 1)
	reboot := func() {
		t.Helper()
		i.power.Lock()
		defer i.power.Unlock()
		if err := i.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	idle := func(ctx context.Context) error {
		running, err := i.processes(ctx)
		if err != nil || len(running) > 0 {
			return fmt.Errorf("these processes run: %v (%v)", running, err)
		}
		targets, err := i.targets(ctx)
		if err != nil || len(targets) > 0 {
			return fmt.Errorf("these targets are registered: %v (%v)", targets, err)
		}
		return nil
	}

	t.Log("by an operator")
	i.do("bootagent", "drain")
	f.release()
	reboot()
	f.until("drained still", func(ctx context.Context) error {
		s, err := i.status(ctx)
		if err == nil && (s.State != "drained" || s.Newest.Number != 2) {
			err = fmt.Errorf("it is %s, and release %d is wanted", s.State, s.Newest.Number)
		}
		if err != nil {
			return err
		}
		return idle(ctx)
	})
	i.do("bootagent", "undrain")
	f.stable(i, 2) // what is wanted by now

	t.Log("while Parameter Store can't be reached")
	down := f.region.Faults.Add(fault.Rule{Service: "ssm", Effect: fault.CutBefore()})
	reboot()
	f.until("waiting, with a reason", func(ctx context.Context) error {
		s, err := i.status(ctx)
		if err == nil && s.Problems["release"] == "" {
			err = fmt.Errorf("its problems are %v", s.Problems)
		}
		if err != nil {
			return err
		}
		return idle(ctx)
	})
	down.Remove()
	f.settled(i, 2)
	i.unharmed(t)
}

// unharmed says that what has happened to the machine cost nothing but time: its app was asked nothing too early, no revision is
// blamed, nothing stands in the way, and the agent knows which boot this is.
func (i *instance) unharmed(t *testing.T) {
	t.Helper()
	if err := i.early(); err != nil {
		t.Error(err)
	}
	boot := i.do("cat", "/proc/sys/kernel/random/boot_id")
	i.f.until("without a problem", func(ctx context.Context) error {
		s, err := i.status(ctx)
		if err == nil && (len(s.Failed) > 0 || len(s.Problems) > 0 || s.Identity.BootID != boot) {
			err = fmt.Errorf("the status of %s says boot: %s, failed: %v, problems: %v", i.id, s.Identity.BootID, s.Failed, s.Problems)
		}
		return err
	})
}

// watchers are users of an app whose only machine goes off and on: what the balancer answers by itself is no surprise, but
// an app that is asked before it is ready, and says so, is.
type watchers struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	early []string
	good  int
}

// users begin to send requests. They end with check, or with the test.
func (f *fleet) users() *watchers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watchers{cancel: cancel}
	for range 3 {
		client := traffic.Client()
		w.done.Go(func() {
			for ctx.Err() == nil {
				w.look(client, f.url())
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	f.t.Cleanup(func() { cancel(); w.done.Wait() })
	return w
}

func (w *watchers) look(client *http.Client, url string) {
	answer, err := client.Get(url)
	if err != nil {
		return
	}
	_ = answer.Body.Close()
	release := answer.Header.Get("X-Release")
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case answer.StatusCode == http.StatusOK:
		w.good++
	case release != "": // the app's own answer
		w.early = append(w.early, fmt.Sprintf("%s: %s from release %s", time.Now().Format("15:04:05.000"), answer.Status, release))
	}
}

// check ends the requests, and fails the test if one came too early.
func (w *watchers) check(t *testing.T) {
	t.Helper()
	w.cancel()
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.early) > 0 || w.good == 0 {
		t.Errorf("%d requests were answered, and %d came too early:\n%s", w.good, len(w.early), strings.Join(w.early, "\n"))
	}
}
