//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// markerVariable is in the environment of every process of a unit; its value is the unit's name and a number that
// was drawn for this very start.
const markerVariable = "BOOTAGENT_UNIT"

// ident names one process for as long as the machine runs. A pid alone does not: it is used again.
type ident struct {
	pid   int
	start uint64 // when it started, in clock ticks since the boot
}

// proc is a process as /proc/PID/stat shows it.
type proc struct {
	ident
	parent  int
	session int
	gone    bool // it has ended, and only waits for its parent to ask
}

// mark is how the processes of one unit are told from all others.
type mark struct {
	marker string // NAME/NONCE
	log    string // the log file's path, "" for a run, which has none
	leader ident  // the main process; zero while it is not known
}

// members finds the living processes of the unit. known are processes that were found to be members earlier, and
// gains those found now: a member stays one, whatever it does to its environment or whoever its parent becomes.
//
// The sessions and the children of members are members too: nobody enters a session but by being born in it, and a
// unit's sessions were all made by its own processes.
func members(m mark, known map[ident]bool) ([]proc, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	belongs := make(map[int]bool)
	sessions := make(map[int]bool)
	add := func(p proc) {
		belongs[p.pid] = true
		sessions[p.session] = true
	}
	self, own := os.Getpid(), all[os.Getpid()].session
	for pid, p := range all {
		if pid == self || pid == 1 || p.start < m.leader.start {
			delete(all, pid) // older than the unit
			continue
		}
		if p.ident == m.leader || known[p.ident] || (!p.gone && m.carriedBy(pid)) {
			add(p)
		}
	}
	delete(sessions, own) // a unit never shares the agent's session; never let a mistake kill the agent's own family
	for grown := true; grown; {
		grown = false
		for pid, p := range all {
			if !belongs[pid] && (sessions[p.session] && p.session != own || belongs[p.parent]) {
				add(p)
				grown = true
			}
		}
	}
	var alive []proc
	for pid := range belongs {
		known[all[pid].ident] = true
		if !all[pid].gone {
			alive = append(alive, all[pid])
		}
	}
	return alive, nil
}

// carriedBy says whether the process carries the mark itself. A process of another user, or one that is gone,
// can't be read and carries nothing.
func (m mark) carriedBy(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	if environ, err := os.ReadFile(dir + "/environ"); err == nil {
		variable := markerVariable + "=" + m.marker + "\x00"
		if strings.HasPrefix(string(environ), variable) || bytes.Contains(environ, []byte("\x00"+variable)) {
			return true
		}
	}
	// Servers that show a title of their own in ps (puma, postgres) write it over their environment.
	if m.log == "" {
		return false
	}
	for _, fd := range []string{"/fd/1", "/fd/2"} {
		if path, err := os.Readlink(dir + fd); err == nil && path == m.log {
			return true
		}
	}
	return false
}

// processes gives every process of the machine by its pid.
func processes() (map[int]proc, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	all := make(map[int]proc, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := lookUp(pid); ok {
			all[pid] = p
		}
	}
	return all, nil
}

// lookUp reads /proc/PID/stat; false when there is no such process.
func lookUp(pid int) (proc, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	return parseStat(pid, string(text))
}

// parseStat parses /proc/PID/stat, see proc_pid_stat(5). The second field is the program's name in parentheses and may
// hold anything, so the others are counted from the last parenthesis: fields[0] is field 3.
func parseStat(pid int, text string) (proc, bool) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return proc{}, false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return proc{}, false
	}
	p := proc{ident: ident{pid: pid}}
	var threads int
	var errs [4]error
	p.parent, errs[0] = strconv.Atoi(fields[4-3])
	p.session, errs[1] = strconv.Atoi(fields[6-3])
	threads, errs[2] = strconv.Atoi(fields[20-3])
	p.start, errs[3] = strconv.ParseUint(fields[22-3], 10, 64)
	if errors.Join(errs[:]...) != nil {
		return proc{}, false
	}
	// A program whose first thread has ended shows as a zombie while its other threads go on.
	p.gone = strings.ContainsAny(fields[0], "ZXx") && threads <= 1
	return p, true
}

// alive says whether this very process still runs.
func (i ident) alive() bool {
	p, ok := lookUp(i.pid)
	return ok && p.start == i.start && !p.gone
}

// signal sends sig to this very process. One that is gone is no error.
func (i ident) signal(sig unix.Signal) error {
	fd, err := i.open()
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal process %d: %w", i.pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), i.pid, err)
	}
	return nil
}

// open gives a file descriptor that stands for this very process, ESRCH when it is gone. It is checked after it was opened: from then on
// the pid may be used again, and the descriptor still names the old process.
func (i ident) open() (int, error) {
	fd, err := unix.PidfdOpen(i.pid, 0)
	if err != nil {
		return -1, err
	}
	if p, ok := lookUp(i.pid); !ok || p.start != i.start {
		_ = unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}
