package nspawn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Options says what a machine is like before its first boot.
type Options struct {
	// UserData is what cloud-init runs at the first boot; without it cloud-init does nothing.
	UserData string
	// Files are put on the disk, by absolute path; their directories are made.
	Files map[string]File
	// NoWalls boots a machine whose systemd can't keep units from addresses, and says nothing of that: there is no BPF for
	// control groups in it.
	NoWalls bool
	// Disk is the size of the disk for what is written, in bytes; 0 is 2 GB. It is memory.
	Disk int64
}

// File is a file of root's.
type File struct {
	Content []byte
	Mode    fs.FileMode // 0 is 0644
}

// Machine is a booted machine. Its methods must not be called concurrently with Reboot, Kill, Start and Close.
type Machine struct {
	// Name is its host name.
	Name string
	// Address is where it is reached from the host.
	Address netip.Addr
	// Host is where it reaches the host.
	Host netip.Addr

	slot    slot
	group   string // its control group, version 2
	noWalls bool

	mu      sync.Mutex
	process *exec.Cmd     // systemd-nspawn; nil while the machine is off
	off     chan struct{} // closed when it has ended
	leader  int           // the pid of its init, as the host sees it
}

// MetadataAddresses are those of an instance's metadata. They are the machine's own: a listener in its network (see Listen)
// serves them.
func MetadataAddresses() (v4, v6 netip.Addr) {
	return netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00:ec2::254")
}

// Boot makes a machine and boots it. It returns as soon as its systemd answers; Wait waits for the rest of the boot.
func (i *Image) Boot(ctx context.Context, o Options) (*Machine, error) {
	s, err := take(ctx)
	if err != nil {
		return nil, err
	}
	mounts, err := cgroups()
	if err != nil {
		return nil, errors.Join(err, s.release())
	}
	m := &Machine{Name: s.name(), Address: s.address(), Host: s.gateway(), slot: s, group: s.cgroup(mounts[0]), noWalls: o.NoWalls}
	err = m.disk(i.root, o)
	if err == nil {
		err = m.network(ctx)
	}
	if err == nil {
		err = m.Start(ctx)
	}
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("boot the machine %s: %w", m.Name, err), m.Close(clean))
	}
	return m, nil
}

// Start switches a machine on that was killed. Its disk and its network are as they were.
func (m *Machine) Start(ctx context.Context) error {
	if m.isOn() {
		return fmt.Errorf("the machine %s is on", m.Name)
	}
	if err := m.slot.forgetRun(); err != nil {
		return err
	}
	if err := os.Mkdir(m.group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make its control group: %w", err)
	}
	group, err := os.Open(m.group)
	if err != nil {
		return err
	}
	defer group.Close()
	console, err := os.OpenFile(m.slot.console(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	// It outlives ctx, which is the boot's alone: Close ends it.
	c := exec.Command("systemd-nspawn", "--boot", "--settings=no", "--register=no", "--keep-unit", "--console=pipe", // see above
		"--machine="+m.Name, "--directory="+m.slot.root(), "--network-namespace-path="+m.slot.netns(),
		"--resolv-conf=off", "--timezone=off", "--link-journal=no")
	if !m.noWalls {
		// What IPAddressDeny= and nftables need. Without them both do nothing, and say nothing.
		c.Args = append(c.Args, "--capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf")
	}
	c.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	c.Stdout, c.Stderr = console, console
	// In a control group of its own from its first moment, or two machines would share one.
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Setsid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start systemd-nspawn: %w", err)
	}
	off := make(chan struct{})
	go func() {
		_ = c.Wait() // its state says how it ended
		close(off)
	}()
	m.mu.Lock()
	m.process, m.off, m.leader = c, off, 0
	m.mu.Unlock()
	answering, gaveUp := context.WithCancelCause(ctx)
	defer gaveUp(nil)
	err = until(answering, patience, "its systemd answers", func() error {
		if !m.isOn() {
			gaveUp(errors.New("it went off"))
		}
		return m.answers(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w; on its console:\n%s", err, m.Console())
	}
	return nil
}

// Console is the end of what was printed on the machine's console.
func (m *Machine) Console() string {
	text, _ := os.ReadFile(m.slot.console())
	return lastLines(string(text), 20)
}

func (m *Machine) isOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return false
	}
	select {
	case <-m.off:
		return false
	default:
		return true
	}
}

// wentOff waits until the machine is off, and says how its systemd-nspawn ended.
func (m *Machine) wentOff(ctx context.Context) (*os.ProcessState, error) {
	m.mu.Lock()
	process, off := m.process, m.off
	m.mu.Unlock()
	if process == nil {
		return nil, fmt.Errorf("the machine %s was never on", m.Name)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-off:
		return process.ProcessState, nil
	case <-timer.C:
		return nil, fmt.Errorf("the machine %s is still on after %s; on its console:\n%s", m.Name, patience, m.Console())
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// exitReboot is what systemd-nspawn --keep-unit exits with when the machine asks to be booted again.
const exitReboot = 133

// Reboot shuts the machine down in good order and boots it again.
func (m *Machine) Reboot(ctx context.Context) error {
	if _, err := m.Exec(ctx, "systemctl", "--no-block", "reboot"); err != nil {
		return fmt.Errorf("reboot the machine %s: %w", m.Name, err)
	}
	state, err := m.wentOff(ctx)
	if err == nil && state.ExitCode() != exitReboot {
		err = fmt.Errorf("it ended with %s, and not to be booted again", state)
	}
	if err == nil {
		err = m.Start(ctx)
	}
	if err != nil {
		return fmt.Errorf("reboot the machine %s: %w", m.Name, err)
	}
	return nil
}

// Kill ends the machine as pulling its plug does, but for the disk, which keeps what was written. Start switches it on again.
func (m *Machine) Kill(ctx context.Context) error {
	if err := m.slot.killAll(ctx); err != nil {
		return err
	}
	_, err := m.wentOff(ctx)
	return err
}

// Close kills the machine and removes all that was made for it.
func (m *Machine) Close(ctx context.Context) error {
	err := m.slot.clear(ctx)
	m.mu.Lock()
	on := m.process != nil
	m.mu.Unlock()
	if on {
		_, off := m.wentOff(ctx)
		err = errors.Join(err, off)
	}
	err = errors.Join(err, m.slot.release())
	if err != nil {
		return fmt.Errorf("close the machine %s: %w", m.Name, err)
	}
	return nil
}
