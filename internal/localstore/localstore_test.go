package localstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/rollout"
	"github.com/bootagent/bootagent/rollout/storetest"
)

// asProcess makes this test's binary a process that uses the store; its value says how.
const asProcess = "BOOTAGENT_TEST_LOCALSTORE"

func TestMain(m *testing.M) {
	how, path, ok := strings.Cut(os.Getenv(asProcess), " ")
	if !ok {
		os.Exit(m.Run())
	}
	switch how {
	case "hold":
		f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil || syscall.Flock(int(f.Fd()), syscall.LOCK_EX) != nil {
			os.Exit(1)
		}
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin)
	default: // a name: count to 50 under it
		s := At(path, time.Now)
		for n := range 50 {
			if err := s.Apply(context.Background(), rollout.Change{Key: "rollout", Set: map[string]string{how: strconv.Itoa(n + 1)}}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Contract(t, storetest.Adapter{Open: func(t testing.TB) func() rollout.Store {
		path := filepath.Join(t.TempDir(), "records.json")
		return func() rollout.Store {
			s := At(path, time.Now)
			s.patience = time.Hour // hundreds of handles, on however slow a disk
			return s
		}
	}})
}

func start(t *testing.T, how, path string) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asProcess+"="+how+" "+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in, bufio.NewReader(out)
}

func TestTwoProcessesLoseNothingOfEachOther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "records.json")
	a, _, _ := start(t, "a", path)
	b, _, _ := start(t, "b", path)
	if err := errors.Join(a.Wait(), b.Wait()); err != nil {
		t.Fatal(err)
	}
	r, err := At(path, time.Now).Get(t.Context(), "rollout")
	if err != nil || r.Attributes["a"] != "50" || r.Attributes["b"] != "50" {
		t.Errorf("%v, %v", r, err)
	}
}

func TestALockThatAnotherProcessHoldsIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "records.json")
	holder, in, out := start(t, "hold", path)
	if line, err := out.ReadString('\n'); line != "held\n" {
		t.Fatal(line, err)
	}
	s := At(path, time.Now)
	s.patience = 50 * time.Millisecond
	_, err := s.Get(t.Context(), "stable")
	if err == nil || !strings.Contains(err.Error(), path+".lock, which another process holds") {
		t.Errorf("%v", err)
	}
	// A holder that is killed holds nothing.
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	_ = in.Close()
	s.patience = lockWait
	if _, err := s.Get(t.Context(), "stable"); err != nil {
		t.Error(err)
	}
}

func TestWhatExpiredGoesWithTheNextChange(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	s := At(filepath.Join(t.TempDir(), "records.json"), func() time.Time { return now })
	put := func(key string, expires time.Time) {
		t.Helper()
		if err := s.Apply(t.Context(), rollout.Change{Key: key, Set: map[string]string{"x": "1"}, Expires: expires}); err != nil {
			t.Fatal(err)
		}
	}
	put("log/1", now.Add(time.Hour))
	put("log/2", now.Add(time.Hour))
	put("log/2", time.Time{}) // kept after all
	now = now.Add(2 * time.Hour)
	put("stable", time.Time{})
	all, err := s.List(t.Context(), "", 0, false)
	if err != nil || len(all) != 2 || all[0].Key != "log/2" || all[1].Key != "stable" {
		t.Errorf("%v, %v", all, err)
	}
}

func TestAFileOfALaterVersionIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "records.json")
	const later = `{"schema":2,"records":{}}`
	if err := os.WriteFile(path, []byte(later), 0o600); err != nil {
		t.Fatal(err)
	}
	err := At(path, time.Now).Apply(t.Context(), rollout.Change{Key: "stable", Set: map[string]string{"x": "1"}})
	if err == nil || !strings.Contains(err.Error(), "schema 2") {
		t.Errorf("%v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != later {
		t.Errorf("the file is now %s", data)
	}
}
