// Package sockets asks the kernel for its TCP sockets (sock_diag, or /proc/net/tcp
// and tcp6): who listens, and how many clients are connected. It connects to
// nothing, so that looking disturbs nobody. It sees the network namespace that
// this process is in, and needs Linux.
package sockets

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Listener is a listening TCP socket.
type Listener struct {
	Port  int
	Inode uint64 // names the socket; several processes may hold it open
}

// Listeners gives every TCP socket that listens on this machine, IPv4 and IPv6. A kernel, or a sandbox, that knows no sock_diag has it read
// from /proc.
func Listeners() ([]Listener, error) {
	if found, err := diagnose(); err == nil {
		return found, nil
	}
	return listeners(procfs)
}

// InUse says whether anything listens on that TCP port, on whatever address. A port may also be taken without
// listening (bound only), which can't be seen here.
func InUse(port int) (bool, error) {
	all, err := Listeners()
	if err != nil {
		return false, err
	}
	for _, l := range all {
		if l.Port == port {
			return true, nil
		}
	}
	return false, nil
}

// Established counts the clients that are connected to that local port, from wherever, this machine included:
// those in ESTABLISHED and CLOSE_WAIT (the client has finished sending and may be waiting for its answer), and
// those in SYN_RECV, which are about to be. In every other state the server has said all that it will say.
func Established(port int) (int, error) { return established(procfs, port) }

// OfProcess gives the inodes of all sockets that the process holds open. A process that is gone has none; one of
// another user can't be read, and is an error that is fs.ErrPermission.
func OfProcess(pid int) ([]uint64, error) { return ofProcess(procfs, pid) }

const procfs = "/proc"

// Socket states as the kernel prints them, include/net/tcp_states.h.
const (
	stateEstablished = "01"
	stateSynRecv     = "03"
	stateCloseWait   = "08"
	stateListen      = "0A"
)

// row is one socket of the table.
type row struct {
	port  int
	state string
	inode uint64
}

func listeners(root string) ([]Listener, error) {
	var found []Listener
	err := rows(root, func(r row) bool {
		// The listening sockets stand first in each table (Documentation/networking/proc_net_tcp.rst; without
		// half-open ones between them since Linux 4.4). What comes behind may be a hundred thousand connections.
		if r.state != stateListen {
			return false
		}
		found = append(found, Listener{Port: r.port, Inode: r.inode})
		return true
	})
	return found, err
}

func established(root string, port int) (int, error) {
	count := 0
	err := rows(root, func(r row) bool {
		if r.port == port {
			switch r.state {
			case stateEstablished, stateSynRecv, stateCloseWait:
				count++
			}
		}
		return true
	})
	return count, err
}

// rows calls each for every TCP socket, of each table until it is false. A kernel without IPv6 has no tcp6.
func rows(root string, each func(row) bool) error {
	for _, name := range []string{"tcp", "tcp6"} {
		path := filepath.Join(root, "net", name)
		err := readTable(path, each)
		if name == "tcp6" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the table of TCP sockets: %w", err)
		}
	}
	return nil
}

// readTable reads one table. Its layout: Documentation/networking/proc_net_tcp.rst; the fields used are the local
// address (1), the state (3) and the inode (9).
func readTable(path string, each func(row) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			return fmt.Errorf("%s: a row has %d fields, at least 10 were expected", path, len(fields))
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return fmt.Errorf("%s: local port %q: %w", path, hex, err)
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return fmt.Errorf("%s: inode %q: %w", path, fields[9], err)
		}
		if !each(row{port: int(port), state: fields[3], inode: inode}) {
			return nil
		}
	}
	return lines.Err()
}

func ofProcess(root string, pid int) ([]uint64, error) {
	dir := filepath.Join(root, strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil, nil
	}
	if err != nil && len(entries) == 0 {
		return nil, fmt.Errorf("read the sockets of process %d: %w", pid, err)
	}
	var inodes []uint64
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		digits, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64); err == nil {
			inodes = append(inodes, inode)
		}
	}
	return inodes, nil
}
