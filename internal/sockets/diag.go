package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The kernel is asked by sock_diag(7), which looks at the listening sockets alone for those that listen, and for connections answers with those
// of one port and state. /proc/net/tcp puts every socket into words, the thousands included that only wait for their end, and walks over the
// table of all connections for each of its two files.

const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY of linux/sock_diag.h

	// The sizes of linux/netlink.h's and linux/inet_diag.h's nlmsghdr, inet_diag_req_v2 and inet_diag_msg, and where they have the states, the
	// local port and the inode.
	headerBytes, requestBytes, answerBytes = 16, 56, 72
	wantedStatesAt, wantedPortAt           = headerBytes + 4, headerBytes + 8
	stateAt, portAt, inodeAt               = 1, 4, 68

	// dumpInterrupted is NLM_F_DUMP_INTR: something changed in the middle, and what was said of it may not hold together.
	dumpInterrupted = 0x10

	diagTimeout = 2 // seconds that the kernel has for a part of its answer
)

var errInterrupted = errors.New("the sockets changed while they were listed")

// diagnose lists the TCP sockets of both families that are in one of these states and have that local port.
func diagnose(states uint32, port int) ([]socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: diagTimeout}); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	var found []socket
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := unix.Sendto(fd, question(family, states, port), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, os.NewSyscallError("sendto", err)
		}
		some, err := answer(fd)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

// question asks for sockets of one family.
func question(family byte, states uint32, port int) []byte {
	q := make([]byte, headerBytes+requestBytes)
	native := binary.NativeEndian
	native.PutUint32(q, uint32(len(q)))
	native.PutUint16(q[4:], sockDiagByFamily)
	native.PutUint16(q[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	q[headerBytes], q[headerBytes+1] = family, unix.IPPROTO_TCP
	native.PutUint32(q[wantedStatesAt:], states)
	binary.BigEndian.PutUint16(q[wantedPortAt:], uint16(port))
	return q
}

// answer reads messages up to the one that says that there are no more.
func answer(fd int) ([]socket, error) {
	var found []socket
	for buffer := make([]byte, 32<<10); ; {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		some, done, err := parse(buffer[:n])
		found = append(found, some...)
		if done || err != nil {
			return found, err
		}
	}
}

// parse reads the messages of one datagram.
func parse(datagram []byte) (found []socket, done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return nil, false, fmt.Errorf("read what sock_diag answers: %w", err)
	}
	for _, m := range messages {
		switch {
		case m.Header.Flags&dumpInterrupted != 0:
			return nil, false, errInterrupted
		case m.Header.Type == unix.NLMSG_DONE:
			return found, true, nil
		case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
			return nil, false, fmt.Errorf("sock_diag: %w", syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
		case m.Header.Type != sockDiagByFamily || len(m.Data) < answerBytes:
			return nil, false, fmt.Errorf("sock_diag answers with a message of type %d and %d bytes", m.Header.Type, len(m.Data))
		default:
			found = append(found, socket{
				port: int(binary.BigEndian.Uint16(m.Data[portAt:])), state: int(m.Data[stateAt]), inode: uint64(binary.NativeEndian.Uint32(m.Data[inodeAt:])),
			})
		}
	}
	return found, false, nil
}
