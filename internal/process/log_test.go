//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLogThatIsTooLongIsCut writes as a unit does, and cuts in between as the Runner does.
func TestLogThatIsTooLongIsCut(t *testing.T) {
	t.Parallel()
	for name, flag := range map[string]int{"appended": os.O_APPEND, "written where it was": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t, t.TempDir(), "boot-1")
			r.mu.Lock()
			r.units["web"] = &entry{rec: record{Name: "web"}, ended: make(chan struct{})}
			r.mu.Unlock()
			file, err := os.OpenFile(r.logPath("web"), os.O_CREATE|os.O_WRONLY|flag, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			line := strings.Repeat("x", 99)
			number := 0
			for range 3 {
				var text bytes.Buffer
				for text.Len() <= logLimit {
					number++
					fmt.Fprintf(&text, "%8d %s\n", number, line)
				}
				if _, err := file.Write(text.Bytes()); err != nil {
					t.Fatal(err)
				}
				if err := r.boundLog("web"); err != nil {
					t.Fatal(err)
				}
				if info, err := file.Stat(); err != nil || used(info) > 4096 {
					t.Errorf("the log still takes %d bytes: %v", used(info), err)
				}
			}
			if info, err := os.Stat(r.logPath("web") + oldSuffix); err != nil || info.Size() > logKeep {
				t.Errorf("more than its end was kept: %v, %v", info, err)
			}
			fmt.Fprintln(file, "the end")
			lines, err := r.Tail(t.Context(), "web", 3)
			want := []string{fmt.Sprintf("%8d %s", number-1, line), fmt.Sprintf("%8d %s", number, line), "the end"}
			if err != nil || strings.Join(lines, "|") != strings.Join(want, "|") {
				t.Errorf("the tail over the cut is %q, %v, want %q", lines, err, want)
			}
		})
	}
}

// TestALogThatFilledItsDiskMakesRoomAndKeepsItsEnd cuts where nothing more can be written, not even the end that is to be kept.
func TestALogThatFilledItsDiskMakesRoomAndKeepsItsEnd(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk: run this test as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r := open(t, dir, "boot-1")
	r.mu.Lock()
	r.units["web"] = &entry{rec: record{Name: "web"}, ended: make(chan struct{})}
	r.mu.Unlock()
	// The bound is looked at five times a second besides: it must not cut before the disk is full.
	r.logs.Lock()
	file, err := os.OpenFile(r.logPath("web"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for n := 0; err == nil; n++ {
		_, err = fmt.Fprintf(file, "%8d %s\n", n, strings.Repeat("x", 90))
	}
	r.logs.Unlock()
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := r.boundLog("web"); err != nil {
		t.Error(err)
	}
	if _, err := fmt.Fprintln(file, "and it goes on"); err != nil {
		t.Errorf("there is no room: %v", err)
	}
	if err := os.WriteFile(dir+"/other", make([]byte, 4<<20), 0o600); err != nil {
		t.Errorf("there is no room for others: %v", err)
	}
	lines, err := r.Tail(t.Context(), "web", 3)
	if err != nil || len(lines) != 3 || !strings.Contains(lines[0], "xxx") || !strings.HasSuffix(lines[2], "and it goes on") {
		t.Errorf("the tail is %.40q, %v", lines, err)
	}
}

func TestTailOfAnEndlessLine(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/log"
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, err := lastLines(path, 10)
	if err != nil || len(lines) != 1 || len(lines[0]) > 500 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}
