// Package sockets asks the kernel for its TCP sockets (sock_diag, or /proc/net/tcp
// and tcp6): who listens, and how many clients are connected. It connects to
// nothing, so that looking disturbs nobody. It sees the network namespace that
// this process is in, and needs Linux.
package sockets

// Listener is a listening TCP socket.
type Listener struct {
	Port  int
	Inode uint64 // names the socket; several processes may hold it open
}

// Listeners gives every TCP socket that listens on this machine, IPv4 and IPv6. A kernel, or a sandbox, that knows no sock_diag has it read
// from /proc.
func Listeners() ([]Listener, error) {
	found, err := find(listening, anyPort)
	if err != nil {
		return nil, err
	}
	all := make([]Listener, len(found))
	for i, s := range found {
		all[i] = Listener{Port: s.port, Inode: s.inode}
	}
	return all, nil
}

// InUse says whether anything listens on that TCP port, on whatever address. A port may also be taken without
// listening (bound only), which can't be seen here.
func InUse(port int) (bool, error) {
	found, err := find(listening, port)
	return len(found) > 0, err
}

// Established counts the clients that are connected to that local port, from wherever, this machine included:
// those in ESTABLISHED and CLOSE_WAIT (the client has finished sending and may be waiting for its answer), and
// those in SYN_RECV, which are about to be. In every other state the server has said all that it will say.
func Established(port int) (int, error) {
	found, err := find(connected, port)
	return len(found), err
}

// socket is a TCP socket.
type socket struct {
	port  int // the local one
	state int // include/net/tcp_states.h
	inode uint64
}

// States of a socket, and sets of them, a bit each.
const (
	stateEstablished = 1
	stateSynRecv     = 3
	stateCloseWait   = 8
	stateListen      = 10

	listening = 1 << stateListen
	// connected is where a client may wait for an answer.
	connected = 1<<stateEstablished | 1<<stateSynRecv | 1<<stateCloseWait
)

const anyPort = 0

// find gives the sockets that are in one of these states and have that local port. A kernel, or a sandbox, that knows no sock_diag has them read
// from /proc.
func find(states uint32, port int) ([]socket, error) {
	found, err := diagnose(states, port)
	if err != nil {
		return read(procfs, states, port)
	}
	return found, nil
}

// OfProcess gives the inodes of all sockets that the process holds open. A process that is gone has none; one of
// another user can't be read, and is an error that is fs.ErrPermission.
func OfProcess(pid int) ([]uint64, error) { return ofProcess(procfs, pid) }
