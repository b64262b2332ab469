package systemd

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

func TestMarksAreReadBackAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := marksOf(unit.Spec{
			Name: rapid.StringMatching(`[a-z0-9_.:-]{1,30}`).Draw(t, "name"), Process: rapid.String().Draw(t, "process"), Port: rapid.IntRange(0, 65535).Draw(t, "port"),
			Release: model.Release{Number: rapid.Int64Min(0).Draw(t, "number"), Ref: rapid.String().Draw(t, "ref"), Revision: rapid.StringMatching(`([0-9a-f]{40})?`).Draw(t, "revision")},
		})
		fields := want.fields()
		for _, f := range fields {
			if bytes.ContainsAny(f, " \t\n\"'\\") {
				t.Fatalf("systemd would split or unquote %q", f)
			}
		}
		got, ours := marksIn(fields)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(marks{})); diff != "" || !ours {
			t.Fatalf("ours %t (-want +got):\n%s", ours, diff)
		}
	})
	for name, fields := range map[string][][]byte{"no fields": nil, "others' fields": {[]byte("UNIT=x")}, "damaged": {[]byte("BOOTAGENT_UNIT=x"), []byte("BOOTAGENT_PORT=y")}} {
		if m, ours := marksIn(fields); ours {
			t.Errorf("%s: %+v is said to be ours", name, m)
		}
	}
}

func TestMessagesOfTheJournal(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		`{"MESSAGE":"plain"}`:            "plain",
		`{"MESSAGE":[116,119,111,255]}`:  "two\xff",
		`{"MESSAGE":""}`:                 "",
		`{"__CURSOR":"x","MESSAGE":"y"}`: "y",
	} {
		if got, err := message([]byte(entry)); got != want || err != nil {
			t.Errorf("%s: %q, %v", entry, got, err)
		}
	}
	for _, entry := range []string{"", "-- No entries --", `{"MESSAGE":{}}`, `{"MESSAGE":[-1]}`, `{"MESSAGE":[256]}`} {
		if got, err := message([]byte(entry)); err == nil {
			t.Errorf("%s became %q", entry, got)
		}
	}
}

func TestSystemdHearsHowThisProcessIs(t *testing.T) { // not parallel: the environment is the process's
	socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "unixgram", filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	heard := func() string {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(30 * time.Second))
		text := make([]byte, 4096)
		n, _, err := socket.ReadFrom(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready(); err != nil {
		t.Error("nobody listens, and that is no error:", err)
	}
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	for want, tell := range map[string]func() error{
		"READY=1": Ready, "STOPPING=1": Stopping,
		"STATUS=building release 7 MAINPID=1": func() error { return Status("building\x1b[31m release 7\nMAINPID=1") },
	} {
		if err := tell(); err != nil {
			t.Error(err)
		}
		if got := heard(); got != want {
			t.Errorf("systemd heard %q, want %q", got, want)
		}
	}

	if err := Watchdog(t.Context(), func() bool { return true }); err != nil {
		t.Error("there is no watchdog:", err)
	}
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, cancel := context.WithCancel(t.Context())
	var alive atomic.Bool
	alive.Store(true)
	var asked atomic.Int32
	done := make(chan error, 1)
	go func() { done <- Watchdog(ctx, func() bool { asked.Add(1); return alive.Load() }) }()
	for range 3 {
		if got := heard(); got != "WATCHDOG=1" {
			t.Errorf("the watchdog heard %q", got)
		}
	}
	alive.Store(false)
	for seen := asked.Load(); asked.Load() < seen+3; time.Sleep(time.Millisecond) {
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), strings.Repeat("x", 8)))
	if err := Ready(); err == nil {
		t.Error("systemd's socket is not there, and nobody says so")
	}
}
