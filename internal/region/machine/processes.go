package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one process, told apart from a later one of the same pid by its start time.
type process struct {
	pid, parent, session int
	started              string // in clock ticks since boot; proc(5), stat field 22
}

// rescan is how long killAll waits for killed processes to go before it looks again.
const rescan = 5 * time.Millisecond

// looks is how many looks in a row must find nothing before nothing is left. One is not enough: a process that is
// within execve(2) has no environment to be read, and one that forks while /proc is read may be in no list.
const looks = 3

// killAll sends SIGKILL to everything on the machine until nothing is left, or ctx ends.
func killAll(ctx context.Context, id string) error {
	for clean := 0; ; {
		var last error
		kill := func(p process) {
			if err := p.kill(); err != nil {
				last = err
			}
		}
		found, err := processesOf(id, kill)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			clean = 0
		} else if clean++; clean == looks {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not all its processes are gone, these are left: %v: %w", pids(found),
				errors.Join(context.Cause(ctx), last))
		case <-time.After(rescan):
		}
	}
}

func pids(list []process) []int {
	out := make([]int, len(list))
	for i, p := range list {
		out[i] = p.pid
	}
	return out
}

// kill kills this very process: the handle pins it, so that a pid used again meanwhile is not hit.
func (p process) kill() error {
	handle, err := os.FindProcess(p.pid)
	if err != nil {
		return nil // gone
	}
	defer func() { _ = handle.Release() }()
	now, ok := stat(p.pid)
	if !ok || now.started != p.started {
		return nil
	}
	if err := handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	return nil
}

// processesOf finds the living processes of a machine, in order of pid: those that carry its mark, and from
// there on their children and the members of their sessions. Zombies are dead and left out. Each is told to
// found as soon as it is known.
func processesOf(id string, found func(process)) ([]process, error) {
	self, _ := stat(os.Getpid())
	mark := []byte(Variable + "=" + id)
	ours := map[int]bool{}
	sessions := map[int]bool{}
	all, err := processes(func(p process) {
		if p.pid != self.pid && marked(p.pid, mark) {
			found(p)
			ours[p.pid], sessions[p.session] = true, true
		}
	})
	if err != nil {
		return nil, err
	}
	// The session of whoever runs the machine is not the machine's, even if a marked process should be in it.
	delete(sessions, self.session)
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if p.pid != self.pid && !ours[p.pid] && (ours[p.parent] || sessions[p.session]) {
				found(p)
				ours[p.pid], grown = true, true
			}
		}
	}
	return slices.DeleteFunc(all, func(p process) bool { return !ours[p.pid] }), nil
}

// processes lists the living processes of this user (for root: of everybody), in order of pid. seen gets each as it
// is read, the newest first: those are the ones that may be gone the next moment.
func processes(seen func(process)) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes (this needs Linux's /proc): %w", err)
	}
	var candidates []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			candidates = append(candidates, pid)
		}
	}
	slices.Sort(candidates)
	var all []process
	for _, pid := range slices.Backward(candidates) {
		if !mine(pid) {
			continue
		}
		if p, ok := stat(pid); ok {
			seen(p)
			all = append(all, p)
		}
	}
	slices.Reverse(all)
	return all, nil
}

// mine says whether this user may do with a process what it likes.
func mine(pid int) bool {
	uid := os.Geteuid()
	if uid == 0 {
		return true
	}
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	if err != nil {
		return false // gone
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == uid
}

// stat reads /proc/PID/stat; it is false for a process that is gone or a zombie.
func stat(pid int) (process, bool) {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, false
	}
	// The second field is the command's name in parentheses and may hold anything, also ") ".
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return process{}, false
	}
	fields := strings.Fields(string(line[end+1:])) // from field 3, the state, on
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	session, err2 := strconv.Atoi(fields[3])
	if err1 != nil || err2 != nil {
		return process{}, false
	}
	return process{pid: pid, parent: parent, session: session, started: fields[19]}, true
}

// marked says whether the environment that the process was started with holds the mark.
func marked(pid int, mark []byte) bool {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false // gone, or closed to us
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(variable, mark) {
			return true
		}
	}
	return false
}
