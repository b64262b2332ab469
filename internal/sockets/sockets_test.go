package sockets

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// table writes a procfs with these tables; an empty tcp6 is left out.
func table(t *testing.T, tcp, tcp6 string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "net"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, rows := range map[string]string{"tcp": tcp, "tcp6": tcp6} {
		if rows == "" && name == "tcp6" {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, "net", name), []byte(heading+rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func line(local, state, inode string) string {
	return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000     0        0 " + inode + " 1 0000 100 0 0 10 0\n"
}

func TestListenersAreOfBothFamilies(t *testing.T) {
	t.Parallel()
	root := table(t,
		line("0100007F:1F91", "0A", "41")+line("00000000:0016", "0A", "43")+line("0100007F:1F91", "01", "42")+"what comes behind is not read\n",
		line("00000000000000000000000000000000:1F91", "0A", "44"))
	got, err := read(root, listening, anyPort)
	want := []socket{{8081, stateListen, 41}, {22, stateListen, 43}, {8081, stateListen, 44}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(socket{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestEstablishedCountsThoseWhoMayWaitForAnAnswer(t *testing.T) {
	t.Parallel()
	for state, counts := range map[string]bool{
		"01": true, "03": true, "08": true, // ESTABLISHED, SYN_RECV, CLOSE_WAIT
		"02": false, "04": false, "05": false, "06": false, "07": false, "09": false, "0A": false, "0B": false,
	} {
		root := table(t, line("0100007F:1F91", state, "0")+line("0100007F:1F92", state, "0"), line("00000000000000000000000001000000:1F91", state, "0"))
		got, err := read(root, connected, 8081)
		if want := map[bool]int{true: 2}[counts]; len(got) != want || err != nil {
			t.Errorf("state %s: %v, %v, want %d", state, got, err, want)
		}
	}
}

func TestTablesThatCanNotBeReadAreAnError(t *testing.T) {
	t.Parallel()
	if got, err := read(table(t, "", ""), listening, anyPort); err != nil || len(got) != 0 {
		t.Errorf("no sockets, and no IPv6: %v, %v", got, err)
	}
	if _, err := read(t.TempDir(), listening, anyPort); err == nil {
		t.Error("no table at all is no error")
	}
	for _, row := range []string{"   0: nonsense\n", line("0100007F:XYZ", "0A", "1"), line("0100007F", "0A", "1"), line("0100007F:1F91", "0A", "x"), line("0100007F:1F91", "20", "1")} {
		if _, err := read(table(t, row, ""), listening, anyPort); err == nil || !strings.Contains(err.Error(), "net/tcp") {
			t.Errorf("%q: %v", row, err)
		}
	}
}

func TestARealListener(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		l, err := net.Listen(network, address)
		if err != nil && network == "tcp6" {
			t.Logf("this machine has no IPv6: %v", err)
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		if used, err := InUse(port); !used || err != nil {
			t.Errorf("%s: something listens on %d, but %v, %v", network, port, used, err)
		}
		all, err := Listeners()
		if err != nil {
			t.Fatal(err)
		}
		inodes, err := OfProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(l Listener) bool { return l.Port == port && slices.Contains(inodes, l.Inode) }) {
			t.Errorf("%s: the listener on %d is not known as ours", network, port)
		}

		count(t, port, 0)
		client, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		count(t, port, 1) // waiting to be accepted
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		count(t, port, 1)
		if err := client.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		count(t, port, 1) // the client still reads
		_ = server.Close()
		count(t, port, 0)
		_ = client.Close()
		_ = l.Close()
		if used, err := InUse(port); used || err != nil {
			t.Errorf("%s: nothing listens on %d, but %v, %v", network, port, used, err)
		}
	}
	if inodes, err := OfProcess(1 << 30); err != nil || len(inodes) != 0 {
		t.Errorf("a process that is not there: %v, %v", inodes, err)
	}
}

// count waits until that many clients are connected: the kernel closes a connection in its own time.
func count(t *testing.T, port, want int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got, err := Established(port)
		if err == nil && got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections to port %d, %v, want %d", got, port, err, want)
		}
	}
}
