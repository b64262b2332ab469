package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// environment gives what a command in the machine sees.
func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"}
}

// Command is a command that runs in the machine as root, with its working directory /. The caller may set its input and output, and
// add to its environment, before starting it.
func (m *Machine) Command(ctx context.Context, argv ...string) (*exec.Cmd, func(), error) {
	leader, err := m.init()
	if err != nil {
		return nil, nil, err
	}
	// With the machine's init, and not with the host's processes: Kill and Close end it too.
	group, err := os.Open(filepath.Join(m.group, "payload", "init.scope"))
	if err != nil {
		return nil, nil, fmt.Errorf("find the control group of the machine %s: %w", m.Name, err)
	}
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--target=" + strconv.Itoa(leader),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/", "--"}, argv...)...)
	c.Env = environment()
	c.WaitDelay = 5 * time.Second
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	return c, func() { _ = group.Close() }, nil
}

// Exec runs a command in the machine, and gives what it printed. An error tells the end of that.
func (m *Machine) Exec(ctx context.Context, argv ...string) (string, error) {
	return m.exec(ctx, nil, argv...)
}

func (m *Machine) exec(ctx context.Context, input []byte, argv ...string) (string, error) {
	c, done, err := m.Command(ctx, argv...)
	if err != nil {
		return "", err
	}
	defer done()
	var out bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(input), &out, &out
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s on %s: %w: %s", strings.Join(argv, " "), m.Name, errors.Join(err, context.Cause(ctx)), lastLines(out.String(), 20))
	}
	return out.String(), nil
}

// Copy copies a file of the host's into the machine.
func (m *Machine) Copy(ctx context.Context, from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return m.Write(ctx, to, File{Content: content, Mode: info.Mode().Perm()})
}

// Write writes a file in the machine; its directories are made.
func (m *Machine) Write(ctx context.Context, path string, file File) error {
	mode := file.Mode
	if mode == 0 {
		mode = 0o644
	}
	_, err := m.exec(ctx, file.Content, "install", "-D", fmt.Sprintf("--mode=%04o", mode.Perm()), "/dev/stdin", path)
	return err
}

// Read reads a file in the machine.
func (m *Machine) Read(ctx context.Context, path string) (string, error) {
	return m.Exec(ctx, "cat", path)
}

// Journal is the machine's journal, of all its boots; args are journalctl's.
func (m *Machine) Journal(ctx context.Context, args ...string) (string, error) {
	return m.Exec(ctx, append([]string{"journalctl", "--no-pager", "--quiet", "--output=short-precise"}, args...)...)
}

// Wait waits until the machine has booted, cloud-init and all, and says which units failed in it.
func (m *Machine) Wait(ctx context.Context) error {
	state, err := m.Exec(ctx, "systemctl", "is-system-running", "--wait")
	if strings.TrimSpace(state) != "degraded" {
		return err
	}
	failed, err := m.Exec(ctx, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
	if err == nil {
		err = fmt.Errorf("units failed on %s: %s", m.Name, failed)
	}
	return err
}

// Listen listens in the machine's network, and serves from here: on 169.254.169.254:80 for its instance metadata.
func (m *Machine) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var listener net.Listener
	result := make(chan error)
	go func() {
		// The thread is never unlocked, and so ends with the goroutine: nothing else must run in that network.
		runtime.LockOSThread()
		result <- func() error {
			namespace, err := os.Open(m.slot.netns())
			if err != nil {
				return err
			}
			defer namespace.Close()
			if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the network of the machine %s: %w", m.Name, err)
			}
			listener, err = new(net.ListenConfig).Listen(ctx, network, address)
			return err
		}()
	}()
	return listener, <-result
}

// answers says whether the machine's systemd takes commands.
func (m *Machine) answers(ctx context.Context) error {
	state, err := m.Exec(ctx, "systemctl", "is-system-running")
	switch strings.TrimSpace(state) {
	case "initializing", "starting", "running", "degraded":
		return nil
	}
	if err == nil {
		err = fmt.Errorf("its state is %q", state)
	}
	return err
}

// init finds the machine's first process, as the host sees it: of those in its scope the one that is 1 in there.
func (m *Machine) init() (int, error) {
	m.mu.Lock()
	known := m.leader
	m.mu.Unlock()
	if known != 0 && m.isOn() {
		return known, nil
	}
	text, err := os.ReadFile(filepath.Join(m.group, "payload", "init.scope", "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || !m.isOn() {
		return 0, fmt.Errorf("the machine %s is off, or just being switched on", m.Name)
	}
	if err != nil {
		return 0, err
	}
	for _, pid := range strings.Fields(string(text)) {
		status, _ := os.ReadFile(filepath.Join("/proc", pid, "status"))
		_, inner, _ := strings.Cut(string(status), "\nNSpid:")
		inner, _, _ = strings.Cut(inner, "\n")
		if pids := strings.Fields(inner); len(pids) > 1 && pids[len(pids)-1] == "1" {
			number, err := strconv.Atoi(pid)
			m.mu.Lock()
			m.leader = number
			m.mu.Unlock()
			return number, err
		}
	}
	return 0, fmt.Errorf("the machine %s has no init yet", m.Name)
}
