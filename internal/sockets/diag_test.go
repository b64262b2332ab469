package sockets

import (
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Both ways of asking give the same of sockets that stand.
func TestTheKernelAndProcAgreeOnWhoListens(t *testing.T) {
	t.Parallel()
	var mine []Listener
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
		mine = append(mine, Listener{Port: l.Addr().(*net.TCPAddr).Port, Inode: stat.Ino})
		c, err := net.Dial("tcp", l.Addr().String()) // which does not listen
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	asked, err := diagnose()
	if err != nil {
		t.Fatal(err)
	}
	read, err := listeners(procfs)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range mine {
		if !slices.Contains(asked, l) || !slices.Contains(read, l) {
			t.Errorf("%+v is among the kernel's: %t, among those of /proc: %t", l, slices.Contains(asked, l), slices.Contains(read, l))
		}
		if n := len(slices.DeleteFunc(slices.Clone(asked), func(o Listener) bool { return o.Port != l.Port })); n != 1 {
			t.Errorf("port %d is listened on %d times", l.Port, n)
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

func BenchmarkListenersAsked(b *testing.B) {
	for b.Loop() {
		if _, err := diagnose(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListenersRead(b *testing.B) {
	for b.Loop() {
		if _, err := listeners(procfs); err != nil {
			b.Fatal(err)
		}
	}
}
