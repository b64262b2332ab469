package trial

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/internal/region/machine"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// Instance is an instance of the fleet: a bootagent process with an IMDS, a
// range of ports and a disk of its own.
type Instance struct {
	autoscaling.Instance
	// Socket is where its agent answers.
	Socket string
	// Ports is the range that its releases are given.
	First, Last int

	dir  string
	imds *imds.Server
}

// Instances gives the instances that run, in order of their launch.
func (t *Trial) Instances() []*Instance {
	var out []*Instance
	for _, status := range t.Groups.Instances(GroupName) {
		t.mu.Lock()
		i := t.instances[status.ID]
		t.mu.Unlock()
		if i != nil {
			out = append(out, i)
		}
	}
	return out
}

// Resize changes how many instances the fleet should have, as aws autoscaling set-desired-capacity does.
func (t *Trial) Resize(ctx context.Context, instances int) error {
	_, err := t.Groups.Serve(ctx, wire.Call{Service: autoscaling.Name, Operation: "SetDesiredCapacity", Form: url.Values{
		"AutoScalingGroupName": {GroupName}, "DesiredCapacity": {strconv.Itoa(instances)},
	}})
	if err != nil {
		return fmt.Errorf("resize the fleet: %w", err)
	}
	return nil
}

// command prepares an instance: what machine.Launcher runs.
func (t *Trial) command(ctx context.Context, launched autoscaling.Instance) (machine.Command, error) {
	i := &Instance{Instance: launched, dir: filepath.Join(t.dir, launched.ID)}
	i.Socket = filepath.Join(i.dir, "run", "agent.sock")
	var err error
	if i.First, i.Last, err = t.ports.take(); err != nil {
		return machine.Command{}, err
	}
	for _, dir := range []string{i.dir, filepath.Join(i.dir, "run"), filepath.Join(i.dir, "state")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return machine.Command{}, err
		}
	}
	if t.Disk != nil {
		if err := t.Disk(filepath.Join(i.dir, "state")); err != nil {
			return machine.Command{}, err
		}
	}
	config := filepath.Join(i.dir, "config.yaml")
	if err := os.WriteFile(config, []byte(t.configuration(i)), 0o600); err != nil {
		return machine.Command{}, err
	}
	metadata := imdsOptions(launched)
	if t.IMDS != nil {
		t.IMDS(&metadata)
	}
	if i.imds, err = t.Region.StartIMDS(ctx, metadata); err != nil {
		return machine.Command{}, err
	}
	t.mu.Lock()
	t.instances[launched.ID] = i
	t.mu.Unlock()
	var out io.Writer
	if t.Output != nil {
		out = t.Output(launched.ID)
	}
	command := machine.Command{
		Argv: []string{t.Agent, "run", "--config", config},
		Dir:  i.dir,
		Env: []string{
			"PATH=" + os.Getenv("PATH"),
			"AWS_ENDPOINT_URL=" + t.Region.Endpoint(),
			"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + i.imds.Endpoint(),
			// The laptop's own configuration and keys are none of the instance's: it has a role.
			"AWS_CONFIG_FILE=" + os.DevNull,
			"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
			"STATE_DIRECTORY=" + filepath.Join(i.dir, "state"),
			"RUNTIME_DIRECTORY=" + filepath.Join(i.dir, "run"),
		},
		Output: out,
	}
	if t.Machine != nil {
		t.Machine(i, &command)
	}
	return command, nil
}

// configuration is what an instance's user-data would write; nil is for the operators, who care for no ports.
func (t *Trial) configuration(i *Instance) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\napp: %s\nenv: %s\nsource: {url: %s}\n", t.App, Env, t.Repo)
	ports := ""
	if i != nil {
		last := i.Last
		if t.OnePort {
			last = i.First
		}
		ports = fmt.Sprintf(", ports: \"%d-%d\"", i.First, last)
	}
	switch t.Mode {
	case "asg":
		fmt.Fprintf(&b, "balancer: {mode: asg, target_groups: [%q]}\n", t.TargetGroup)
	case "none":
		fmt.Fprintf(&b, "balancer: {mode: none%s}\n", ports)
	default:
		fmt.Fprintf(&b, "balancer: {target_groups: [%q]%s}\n", t.TargetGroup, ports)
	}
	if !t.NoTable {
		fmt.Fprintf(&b, "fleet: {table: %s}\n", Table)
	}
	fmt.Fprintf(&b, "policy: %s\n", cmp.Or(t.Policy, Policy))
	fmt.Fprintf(&b, "drain_min: %s\n", DrainMin)
	for key, value := range map[string]time.Duration{"unhealthy_grace": t.UnhealthyGrace, "hold_on_failure": t.HoldOnFailure} {
		if value > 0 {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	b.WriteString(t.Configuration)
	return b.String()
}

// retire takes away what an instance leaves: its IMDS, its ports, its disk.
func (t *Trial) retire(i *Instance) {
	_ = i.imds.Close()   // the region reports what it could not close
	_ = removeAll(i.dir) // Close removes what is left
	t.ports.give(i.First)
}

// ports hands out ranges of four below the range that the kernel takes for
// outgoing connections (32768 and up), so that nothing else comes by. The port
// before a range is listened on for as long as the range is taken: that is how
// trials, also those of other processes, keep out of each other's way.
type ports struct {
	mu     sync.Mutex
	guards map[int]net.Listener // by the first port of the range
	next   int
}

const (
	firstPort = 20000
	lastPort  = 32000
	rangeSize = 4
)

// take gives a range in which nobody listens. Ranges go round, so that one
// that was given back rests as long as possible.
func (p *ports) take() (first, last int, err error) {
	const step = 1 + rangeSize
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.guards == nil {
		// Several trials begin in different places.
		p.guards, p.next = map[int]net.Listener{}, firstPort+rand.N((lastPort-firstPort)/step)*step
	}
	for range (lastPort - firstPort) / step {
		first = p.next + 1
		if p.next += step; p.next >= lastPort {
			p.next = firstPort
		}
		guard, err := listen(first - 1)
		if err != nil {
			continue
		}
		if !free(first) {
			_ = guard.Close()
			continue
		}
		p.guards[first] = guard
		return first, first + rangeSize - 1, nil
	}
	return 0, 0, fmt.Errorf("no %d free ports in a row between %d and %d", rangeSize, firstPort, lastPort)
}

func (p *ports) give(first int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.guards[first].Close()
	delete(p.guards, first)
}

// close gives back what was not given.
func (p *ports) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for first, guard := range p.guards {
		_ = guard.Close()
		delete(p.guards, first)
	}
}

func free(first int) bool {
	for port := first; port < first+rangeSize; port++ {
		l, err := listen(port)
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}
