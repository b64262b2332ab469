// Package machine launches instances of the region as child processes: what
// EC2 is to Auto Scaling. A machine is one main process (the agent) in a
// session of its own, which is started again when it exits, as systemd's
// Restart=always does, and everything that it made. Ending a machine ends all
// of that, also what has outlived the main process or called setsid.
//
// What belongs to a machine is found in /proc, so this works on Linux alone:
// every process whose environment holds BOOTAGENT_INSTANCE_ID=<id>, its
// children, and every process of their sessions. Only a process that has
// left its session and its parent *and* has overwritten or cleared its
// environment gets away.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Variable is the environment variable that marks every process of a machine with the instance's id.
const Variable = "BOOTAGENT_INSTANCE_ID"

// BootVariable is the environment variable that tells the main process which boot of the machine this is. The kernel's
// own boot id is that of the laptop, which all machines share.
const BootVariable = "BOOTAGENT_BOOT_ID"

// terminalExit is the exit code by which the main process says that it must not be started again
// (RestartPreventExitStatus=5 in the agent's systemd unit). The machine itself runs on.
const terminalExit = 5

// The main process is started again after restartDelay; one that keeps exiting within steadyAfter waits twice
// as long each time, up to restartLimit. systemd's RestartSec is 100 ms by default.
const (
	restartDelay = 100 * time.Millisecond
	restartLimit = 5 * time.Second
	steadyAfter  = 2 * time.Second
)

// killDeadline bounds the end of a machine that dies without notice. Terminate's is its context's.
const killDeadline = 15 * time.Second

// consoleDeadline is how long the last output may take to be read once a machine is gone.
const consoleDeadline = time.Second

// Command is a machine's main process.
type Command struct {
	Argv []string // Argv[0] is a path, or looked up in the PATH of the caller
	Dir  string   // the working directory, "" for the caller's
	// Env is the whole environment, as KEY=value. Variable and BootVariable are added to it.
	Env []string
	// Output gets what the processes write to standard output and error for as long as the machine lives; nil
	// discards it. It is written to by one goroutine.
	Output io.Writer
}

// Machine is one instance that runs or has ended.
type Machine struct {
	id      string
	command Command
	console *os.File // the write end of the pipe that is the standard output of every main process
	reader  *os.File // its read end
	stop    chan struct{}
	done    chan struct{}

	mu       sync.Mutex
	stopping bool
	main     *os.Process // nil between two starts
	starts   int
	boots    int           // how often it was rebooted
	boot     chan struct{} // closed at the end of this boot
	mainBoot chan struct{} // the boot on which the main process was started last
	ending   sync.Once
	endErr   error
	workers  sync.WaitGroup
}

// Start starts a machine. The error is that of its main process's first start.
func Start(id string, command Command) (*Machine, error) {
	if len(command.Argv) == 0 {
		return nil, fmt.Errorf("start instance %s: its command is empty", id)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start instance %s: make its console: %w", id, err)
	}
	m := &Machine{
		id: id, command: command, console: write, reader: read,
		stop: make(chan struct{}), done: make(chan struct{}), boot: make(chan struct{}),
	}
	cmd, err := m.start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start instance %s: %w", id, err), read.Close(), write.Close())
	}
	m.workers.Go(func() { drain(read, command.Output) })
	m.workers.Go(func() { m.supervise(cmd) })
	return m, nil
}

// ID is the instance's id.
func (m *Machine) ID() string { return m.id }

// Done is closed when the machine is gone with everything on it.
func (m *Machine) Done() <-chan struct{} { return m.done }

// AgentPID is the main process's pid, 0 while none runs.
func (m *Machine) AgentPID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.main == nil {
		return 0
	}
	return m.main.Pid
}

// Starts is how often the main process was started.
func (m *Machine) Starts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts
}

// RestartAgent kills the main process alone, by SIGKILL; the machine starts it again. It is an error when no
// main process runs.
func (m *Machine) RestartAgent() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.main == nil {
		return fmt.Errorf("restart the agent of instance %s: it is not running", m.id)
	}
	if err := m.main.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("restart the agent of instance %s: %w", m.id, err)
	}
	return nil
}

// Reboot ends everything on the machine at once, as a power cut does, and starts the main process again on a new boot.
// What is on its disk stays. It returns when everything of the boot before is gone.
func (m *Machine) Reboot(ctx context.Context) error {
	m.mu.Lock() // the main process is not started again while it is held
	defer m.mu.Unlock()
	if m.stopping {
		return fmt.Errorf("reboot instance %s: %w", m.id, errStopping)
	}
	m.boots++
	close(m.boot)
	m.boot = make(chan struct{})
	if err := killAll(ctx, m.id); err != nil {
		return fmt.Errorf("reboot instance %s: %w", m.id, err)
	}
	return nil
}

// PIDs lists every process that is alive on the machine, in ascending order.
func (m *Machine) PIDs() ([]int, error) {
	found, err := processesOf(m.id, func(process) {})
	if err != nil {
		return nil, fmt.Errorf("list the processes of instance %s: %w", m.id, err)
	}
	return pids(found), nil
}

// Kill lets the machine die without notice: everything on it gets SIGKILL at once, and nobody is told but by
// Done. It returns when nothing is left.
func (m *Machine) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), killDeadline)
	defer cancel()
	return m.Terminate(ctx)
}

// Terminate switches the machine off: everything on it gets SIGKILL, again and again until nothing is left or
// ctx ends; then the error names what is. It may be called again. A machine that is gone is no error.
func (m *Machine) Terminate(ctx context.Context) error {
	m.mu.Lock()
	if !m.stopping {
		m.stopping = true
		close(m.stop)
	}
	m.mu.Unlock()
	select {
	case <-m.done:
		return nil
	default:
	}
	if err := killAll(ctx, m.id); err != nil {
		return fmt.Errorf("terminate instance %s: %w", m.id, err)
	}
	// Nothing is left that could write to the console, so the copier sees its end and the supervisor its child's.
	m.ending.Do(func() {
		// One that got away (see the package's comment) must not hold the machine up by the console it inherited.
		m.endErr = errors.Join(m.reader.SetReadDeadline(time.Now().Add(consoleDeadline)), m.console.Close())
		m.workers.Wait()
		close(m.done)
	})
	<-m.done
	return m.endErr
}

// start starts the main process once.
func (m *Machine) start() (*exec.Cmd, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		return nil, errStopping
	}
	cmd := exec.Command(m.command.Argv[0], m.command.Argv[1:]...)
	cmd.Dir = m.command.Dir
	cmd.Env = append(append([]string{}, m.command.Env...), Variable+"="+m.id, fmt.Sprintf("%s=%s-boot-%d", BootVariable, m.id, m.boots))
	cmd.Stdout, cmd.Stderr = m.console, m.console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m.main, m.mainBoot = cmd.Process, m.boot
	m.starts++
	return cmd, nil
}

var errStopping = errors.New("the machine is being switched off")

// supervise waits for the main process and starts it again until the machine stops.
func (m *Machine) supervise(cmd *exec.Cmd) {
	delay := restartDelay
	for {
		code, boot := -1, (chan struct{})(nil)
		if cmd != nil {
			began := time.Now()
			_ = cmd.Wait() // the exit code says all there is to know
			code = cmd.ProcessState.ExitCode()
			m.mu.Lock()
			m.main = nil
			boot = m.mainBoot
			m.mu.Unlock()
			if time.Since(began) >= steadyAfter {
				delay = restartDelay
			}
		}
		if code == terminalExit {
			m.say("%s: the main process exited with code %d and is not started again", m.id, code)
			select {
			case <-m.stop:
				return
			case <-boot: // on the next boot it is
			}
		}
		select {
		case <-m.stop:
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, restartLimit)
		var err error
		if cmd, err = m.start(); err != nil {
			if errors.Is(err, errStopping) {
				return
			}
			m.say("%s: the main process could not be started again: %v", m.id, err)
			cmd = nil
		}
	}
}

// say writes a line of the machine's own to its console, where its processes' lines are.
func (m *Machine) say(format string, args ...any) {
	_, _ = fmt.Fprintf(m.console, format+"\n", args...) // a console that is closed has no reader to tell
}

// drain copies the console to its reader until every writer is gone. It goes on reading when the reader fails,
// so that no process on the machine is blocked by, or dies of, a console that nobody reads.
func drain(read *os.File, out io.Writer) {
	defer func() { _ = read.Close() }()
	if out != nil {
		if _, err := io.Copy(out, read); err == nil {
			return
		}
	}
	_, _ = io.Copy(io.Discard, read)
}
