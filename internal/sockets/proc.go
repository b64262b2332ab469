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

const procfs = "/proc"

// read gives the sockets of both tables that are in one of these states and have that local port. A kernel without IPv6 has no tcp6.
func read(root string, states uint32, port int) ([]socket, error) {
	var found []socket
	for _, name := range []string{"tcp", "tcp6"} {
		err := readTable(filepath.Join(root, "net", name), func(s socket) bool {
			if states&(1<<s.state) != 0 && (port == anyPort || port == s.port) {
				found = append(found, s)
			}
			// The listening sockets stand first in each table (Documentation/networking/proc_net_tcp.rst; without
			// half-open ones between them since Linux 4.4). What comes behind may be a hundred thousand connections.
			return states != listening || s.state == stateListen
		})
		if name == "tcp6" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the table of TCP sockets: %w", err)
		}
	}
	return found, nil
}

// readTable calls each for every TCP socket of a table until it is false. The layout: Documentation/networking/proc_net_tcp.rst;
// the fields used are the local address (1), the state (3) and the inode (9).
func readTable(path string, each func(socket) bool) error {
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
		state, err := strconv.ParseUint(fields[3], 16, 5) // a bit of 32
		if err != nil {
			return fmt.Errorf("%s: state %q: %w", path, fields[3], err)
		}
		if !each(socket{port: int(port), state: int(state), inode: inode}) {
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
