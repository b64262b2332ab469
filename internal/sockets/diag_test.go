package sockets

import (
	"cmp"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Both ways of asking give the same of sockets that stand.
func TestTheKernelAndProcAgreeOnWhoListens(t *testing.T) {
	t.Parallel()
	var mine []socket
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("left out: %v", err) // a machine without IPv6
			continue
		}
		t.Cleanup(func() { _ = l.Close() })
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var stat unix.Stat_t
		if err := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); err != nil {
			t.Fatal(err)
		}
		mine = append(mine, socket{l.Addr().(*net.TCPAddr).Port, stateListen, stat.Ino})
		c, err := net.Dial("tcp", l.Addr().String()) // which does not listen
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	asked, err := diagnose(listening, anyPort)
	if err != nil {
		t.Fatal(err)
	}
	proc, err := read(procfs, listening, anyPort)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range mine {
		if !slices.Contains(asked, l) || !slices.Contains(proc, l) {
			t.Errorf("%+v is among the kernel's: %t, among those of /proc: %t", l, slices.Contains(asked, l), slices.Contains(proc, l))
		}
		if n := len(slices.DeleteFunc(slices.Clone(asked), func(o socket) bool { return o.port != l.port })); n != 1 {
			t.Errorf("port %d is listened on %d times", l.port, n)
		}
	}
}

func TestWhatTheKernelRefusesIsAnError(t *testing.T) {
	t.Parallel()
	message := func(kind, flags uint16, data []byte) []byte {
		m := make([]byte, headerBytes, headerBytes+len(data))
		binary.NativeEndian.PutUint32(m, uint32(headerBytes+len(data)))
		binary.NativeEndian.PutUint16(m[4:], kind)
		binary.NativeEndian.PutUint16(m[6:], flags)
		return append(m, data...)
	}
	refused := -int32(syscall.ENOENT)
	for want, datagram := range map[string][]byte{
		"no such file":             message(unix.NLMSG_ERROR, 0, binary.NativeEndian.AppendUint32(nil, uint32(refused))),
		"changed while they were":  message(sockDiagByFamily, dumpInterrupted, make([]byte, answerBytes)),
		"of type 20 and 12 bytes":  message(sockDiagByFamily, 0, make([]byte, 12)),
		"of type 99 and 72 bytes":  message(99, 0, make([]byte, answerBytes)),
		"what sock_diag answers: ": {200, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4},
	} {
		if _, done, err := parse(datagram); err == nil || done || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, and should say %q", err, want)
		}
	}
}

// Both ways of asking give the same of connections in every state that the other side, or the kernel, can bring about.
func TestTheKernelAndProcAgreeOnWhoIsConnected(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("left out: %v", err) // a machine without IPv6
			continue
		}
		t.Cleanup(func() { _ = l.Close() })
		port := l.Addr().(*net.TCPAddr).Port
		var clients, servers []net.Conn
		for range 4 {
			// An IPv4 client of [::] has a socket of the other family there.
			client, err := net.Dial("tcp", strings.Replace(l.Addr().String(), "[::]", "127.0.0.1", 1))
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			clients, servers = append(clients, client), append(servers, server)
		}
		_ = clients[0].(*net.TCPConn).CloseWrite() // CLOSE_WAIT, which counts
		_ = servers[1].(*net.TCPConn).CloseWrite() // FIN_WAIT2, which doesn't
		_ = servers[2].Close()
		_ = clients[2].Close() // TIME_WAIT
		want := 2
		if lazy(t, l) { // from now on who says nothing is in SYN_RECV
			client, err := net.Dial("tcp", strings.Replace(l.Addr().String(), "[::]", "127.0.0.1", 1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			want++
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			asked, err := diagnose(connected, port)
			proc, otherErr := read(procfs, connected, port)
			byState := func(a, b socket) int { return cmp.Or(a.state-b.state, int(a.inode)-int(b.inode)) }
			slices.SortFunc(asked, byState)
			slices.SortFunc(proc, byState)
			if err == nil && otherErr == nil && len(asked) == want && slices.Equal(asked, proc) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the kernel says %v (%v), /proc %v (%v), and there should be %d", address, asked, err, proc, otherErr, want)
			}
		}
	}
}

// lazy makes a listener take note of a connection when its client has said something.
func lazy(t *testing.T, l net.Listener) bool {
	t.Helper()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 60) }); failed != nil {
		t.Fatal(failed)
	}
	return err == nil
}

// The table of connections is as large as the machine's memory has it, and both ways walk over it; what differs is what they say of it.
func BenchmarkSockets(b *testing.B) {
	for what, states := range map[string]uint32{"listening": listening, "connected": connected} {
		for how, ask := range map[string]func() ([]socket, error){
			"asked": func() ([]socket, error) { return diagnose(states, 80) },
			"read":  func() ([]socket, error) { return read(procfs, states, 80) },
		} {
			b.Run(what+"/"+how, func(b *testing.B) {
				for b.Loop() {
					if _, err := ask(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
