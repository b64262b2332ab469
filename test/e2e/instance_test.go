package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/test/nspawn"
)

// instance is a machine of the fleet's, with its metadata.
type instance struct {
	*nspawn.Machine
	f    *fleet
	id   string
	imds *imds.Server
	// unserve ends what is served in its network besides; nil for nothing.
	unserve func() error

	// power is held to read by whoever uses the machine, and to write by whoever switches it off and on.
	power  sync.RWMutex
	ending sync.Once
	err    error
	gone   chan struct{}
}

// Done is closed when the machine is gone for good. One that is killed and started again is not.
func (i *instance) Done() <-chan struct{} { return i.gone }

// Terminate ends the machine, and leaves nothing of it.
func (i *instance) Terminate(ctx context.Context) error {
	i.ending.Do(func() {
		i.power.Lock()
		defer i.power.Unlock()
		i.err = i.imds.Close()
		if i.unserve != nil {
			i.err = errors.Join(i.err, i.unserve())
		}
		i.err = errors.Join(i.err, i.Close(ctx))
		close(i.gone)
	})
	return i.err
}

// Exec runs a command on the machine. It waits while the machine is switched off and on.
func (i *instance) Exec(ctx context.Context, argv ...string) (string, error) {
	i.power.RLock()
	defer i.power.RUnlock()
	return i.Machine.Exec(ctx, argv...)
}

// pull pulls the plug, calls meanwhile, and switches the machine on again.
func (i *instance) pull(ctx context.Context, meanwhile func()) error {
	i.power.Lock()
	defer i.power.Unlock()
	if err := i.Kill(ctx); err != nil {
		return err
	}
	meanwhile()
	return i.Start(ctx)
}

// do runs a command on the machine, which must succeed.
func (i *instance) do(argv ...string) string {
	i.f.t.Helper()
	out, err := i.Exec(i.f.t.Context(), argv...)
	if err != nil {
		i.f.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// show is a property of a unit.
func (i *instance) show(unit, property string) string {
	i.f.t.Helper()
	return i.do("systemctl", "show", "--property="+property, "--value", unit)
}

// status asks the agent, as a person on the machine does.
func (i *instance) status(ctx context.Context) (agent.Status, error) {
	var s agent.Status
	out, err := i.Exec(ctx, "bootagent", "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// process is a process of the app's, or of a build.
type process struct {
	pid, port int
	release   int64
}

// environ are variables of all processes of the machine, as "/proc/7/environ:PORT=8080".
var environ = regexp.MustCompile(`^/proc/(\d+)/environ:(BOOTAGENT_RELEASE|PORT)=(\d+)$`)

// processes finds the processes on the machine that were told which release they are of.
func (i *instance) processes(ctx context.Context) ([]process, error) {
	// It does not read what has just ended, and says so.
	out, err := i.Exec(ctx, "sh", "-c", `grep -azosE '^(BOOTAGENT_RELEASE|PORT)=[0-9]+' /proc/[0-9]*/environ | tr '\0' '\n'`)
	if err != nil {
		return nil, err
	}
	found := map[int]*process{}
	for line := range strings.Lines(out) {
		m := environ.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			return nil, fmt.Errorf("the environment of a process reads %q", line)
		}
		pid, _ := strconv.Atoi(m[1]) // all of these are digits
		number, _ := strconv.Atoi(m[3])
		p := found[pid]
		if p == nil {
			p = &process{pid: pid}
			found[pid] = p
		}
		if m[2] == "PORT" {
			p.port = number
		} else {
			p.release = int64(number)
		}
	}
	var all []process
	for _, p := range found {
		if p.release != 0 {
			all = append(all, *p)
		}
	}
	return all, nil
}

// web gives the one process of the app that runs.
func (i *instance) web() process {
	i.f.t.Helper()
	found, err := i.processes(i.f.t.Context())
	if err != nil || len(found) != 1 {
		i.f.t.Fatalf("one process of the app should run on %s: %v (%v)", i.id, found, err)
	}
	return found[0]
}

// until asks again and again until err is nil, and fails the test when it was not in time. Call it from the test's own goroutine.
func (f *fleet) until(what string, look func(context.Context) error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	var last error
	for {
		err := look(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil { // else it is only that the time is over
			last = err
		}
		select {
		case <-ctx.Done():
			f.t.Fatalf("after %s still not %s: %v", patience, what, last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
