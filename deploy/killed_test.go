package deploy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// victimOf makes the test binary an agent that stands still where it is told, in JSON, and is killed there.
const victimOf = "BOOTAGENT_VICTIM"

func TestMain(m *testing.M) {
	if job := os.Getenv(victimOf); job != "" {
		var v victim
		err := json.Unmarshal([]byte(job), &v)
		if err == nil {
			err = v.live()
		}
		fmt.Println("lived on:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim is such an agent: it prepares release 7, and keeps it where it is to.
type victim struct {
	State, Store, URL, SHA string
	Engine                 source.Engine
	Weight                 int64 // of a file of zeros, in bytes
	Keep                   bool
	// Read, Archive, Manifest and Record are where it stands still: before it reads the archive from that byte on, behind that byte of an
	// archive that it writes, before the manifest, before the record.
	Read, Archive    int64
	Manifest, Record bool
}

// stand says so, and never returns.
func stand() {
	fmt.Println("standing")
	select {}
}

func (v victim) live() error {
	var src deploy.Source = &trees{}
	if v.URL != "" {
		s, err := source.New(source.Config{URL: v.URL, Engine: v.Engine})
		if err != nil {
			return err
		}
		src = s
	} else if v.Weight > 0 {
		src = hollow(v.Weight)
	}
	o := artifact.Options{Store: &standing{artifact.OpenDirectory(v.Store), v}, App: "shop", Env: "prod", Scratch: v.State}
	if v.Record {
		o.Ledger = standingLedger{}
	}
	m, err := deploy.New(deploy.Options{App: "shop", Env: "prod", InstanceID: "i-1", StateDir: v.State, Source: src, Runner: noRunner{},
		Path: os.Getenv("PATH"), Cache: artifact.New(o)})
	if err != nil {
		return err
	}
	if _, err := m.Prepare(context.Background(), model.Release{Number: 7, Ref: "main", Revision: v.SHA}, nil); err != nil {
		return err
	}
	if v.Keep {
		return m.Keep(context.Background(), 7)
	}
	return nil
}

// hollow is a source of a tree with a file of so many zeros, which weigh nothing on a disk.
type hollow int64

func (hollow) Resolve(_ context.Context, ref string) (string, error) { return ref, nil }

func (h hollow) Fetch(_ context.Context, _, dir string) error {
	path := filepath.Join(dir, "zeros")
	return errors.Join(os.WriteFile(filepath.Join(dir, "Procfile"), []byte("web: x\n"), 0o644), os.WriteFile(path, nil, 0o644), os.Truncate(path, int64(h)))
}

type noRunner struct{}

func (noRunner) List(context.Context) ([]unit.Status, error) { return nil, nil }
func (noRunner) Run(context.Context, unit.Spec, io.Writer) error {
	return errors.New("nothing is to be built here")
}

// standing is a store at which its victim stands still.
type standing struct {
	*artifact.Directory
	victim victim
}

func (s *standing) Read(ctx context.Context, name string, from int64, p []byte) (int, error) {
	if s.victim.Read >= 0 && strings.HasSuffix(name, ".tar.zst") && from >= s.victim.Read {
		stand()
	}
	return s.Directory.Read(ctx, name, from, p)
}

func (s *standing) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	switch {
	case s.victim.Archive > 0 && strings.HasSuffix(name, ".tar.zst"):
		body = &standingBody{body, s.victim.Archive}
	case s.victim.Manifest && strings.HasSuffix(name, ".json"):
		stand()
	}
	return s.Directory.Put(ctx, name, body, size)
}

type standingBody struct {
	io.ReadSeeker
	left int64
}

func (b *standingBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		stand()
	}
	n, err := b.ReadSeeker.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

type standingLedger struct{}

func (standingLedger) Entry(context.Context, string) (artifact.Entry, error) {
	return artifact.Entry{}, nil
}
func (standingLedger) Record(context.Context, string, artifact.Entry, artifact.Entry) error {
	stand()
	return nil
}

// kill lets a victim live until it stands still, or until seen of its pid is true, and what is begun is true besides; then it is killed.
func (v victim) kill(t *testing.T, seen func(pid int) bool, begun func() bool) {
	t.Helper()
	job, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimOf+"="+string(job))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when the thread ends that started it, and artifact.Quietly ends threads
	defer runtime.UnlockOSThread()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	wait := func(what string, is func() bool) {
		for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				_ = cmd.Process.Kill() // it may have ended
				said, _ := io.ReadAll(out)
				t.Fatalf("never %s: %+v, and the victim says %q", what, v, said)
			}
		}
	}
	if seen != nil {
		wait("seen", func() bool { return seen(cmd.Process.Pid) })
	} else if line, _ := bufio.NewReader(out).ReadString('\n'); line != "standing\n" {
		t.Fatalf("the victim says %q", line)
	}
	if begun != nil {
		wait("begun", begun)
	}
}

// size is what the files below a directory weigh; 0 where there is none.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

func TestAnAgentKilledInMidCheckoutLeavesNothing(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	content := random(1, 3<<20) // one file, which is written while it comes: small ones wait in memory
	sha := repo.Commit(map[string]string{"Procfile": "web: x\n", "content": content})
	state := t.TempDir()
	srv := gittest.NewServer(t, repo)
	for _, c := range []struct {
		engine source.Engine
		after  int
	}{{source.EngineGoGit, 200}, {source.EngineGoGit, 900_000}, {source.EngineGoGit, 2_500_000}, {source.EngineGit, 2_500_000}} {
		after := c.after
		srv.Use(srv.StallAfter(after))
		app := filepath.Join(state, "trees", "7", "app")
		victim{State: state, Store: t.TempDir(), URL: srv.CloneURL(), SHA: sha, Engine: c.engine, Read: -1}.kill(t,
			func(int) bool { _, err := os.Stat(app); return err == nil }, func() bool { return after < 1000 || size(app) > 0 })
		src, err := source.New(source.Config{URL: srv.CloneURL()})
		if err != nil {
			t.Fatal(err)
		}
		m := machine(t, src, func(o *deploy.Options) { o.StateDir = state })
		notLeft(t, m)
		srv.Use(nil)
		p := prepare(t, m, model.Release{Number: 7, Ref: "main", Revision: sha})
		if read(t, filepath.Join(p.Dir, "content")) != content || len(entriesOf(t, p.Dir)) != 2 {
			t.Errorf("%+v: another tree: %v", c, entriesOf(t, p.Dir))
		}
		srv.CloseClientConnections() // of what git ran, which waits for the server yet
		if err := os.RemoveAll(state); err != nil {
			t.Fatal(err)
		}
	}
}

func entriesOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAnAgentKilledInMidUnpackLeavesNothing(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	src := &trees{of: map[string]map[string]string{rev("a"): {"Procfile": "web: x\n", "a": random(1, 3<<20), "b": random(2, 3<<20), "c": random(3, 3<<20)}}}
	first := cached(t, src, store, nil)
	prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	for _, from := range []int64{0, 1, 5 << 20} { // of pieces of 4 MiB
		state := t.TempDir()
		app := filepath.Join(state, "trees", "7", "app")
		victim{State: state, Store: store, SHA: rev("a"), Read: from}.kill(t, nil, func() bool { return size(app) >= (from+1)/2 })
		none := &trees{}
		m := cached(t, none, store, func(o *deploy.Options) { o.StateDir = state })
		notLeft(t, m)
		p := prepare(t, m, release(7, "a"))
		if read(t, filepath.Join(p.Dir, "c")) != src.of[rev("a")]["c"] || none.fetched.Load() != 0 || m.CacheProblem() != nil {
			t.Errorf("from byte %d: it was not taken from the cache: %v", from, m.CacheProblem())
		}
		notLeft(t, m, "7")
	}
}

func TestAnAgentKilledWhileItKeepsLeavesNoHalfArtifact(t *testing.T) {
	t.Parallel()
	packing := func(pid int) bool {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && strings.HasSuffix(to, " (deleted)") { // the one file that has no name
				return true
			}
		}
		return false
	}
	const small, large = 3 << 20, 1 << 30
	for name, c := range map[string]struct {
		victim victim
		seen   func(int) bool
		left   []string // of the artifact
	}{
		"while it packs":               {victim{Weight: large}, packing, nil},
		"in mid-archive":               {victim{Weight: small, Archive: 50}, nil, nil},
		"between archive and manifest": {victim{Weight: small, Manifest: true}, nil, []string{"0.tar.zst"}},
		"before the record":            {victim{Weight: small, Record: true}, nil, []string{"0.json", "0.tar.zst"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := c.victim
			v.State, v.Store, v.SHA, v.Keep, v.Read = t.TempDir(), t.TempDir(), rev("a"), true, -1
			v.kill(t, c.seen, nil)
			var left []string
			found, _ := filepath.Glob(filepath.Join(v.Store, "shop", "prod", "*", "*"))
			for _, f := range found {
				left = append(left, filepath.Base(f))
			}
			if d := cmp.Diff(c.left, left); d != "" {
				t.Error(d)
			}
			l := &memory{entries: map[string]artifact.Entry{}}
			open := func(o *deploy.Options) {
				o.Cache = artifact.New(artifact.Options{Store: artifact.OpenDirectory(v.Store), Ledger: l, App: "shop", Env: "prod", Scratch: o.StateDir})
			}
			m := machine(t, &trees{}, func(o *deploy.Options) { o.StateDir = v.State; open(o) })
			notLeft(t, m, "7")
			none := &trees{fail: map[string]error{rev("a"): errors.New("it is to be built")}}
			if _, err := machine(t, none, open).Prepare(t.Context(), release(7, "a"), nil); err == nil || none.fetched.Load() != 1 {
				t.Errorf("half an artifact was taken: %v", err)
			}
			if v.Weight == large {
				return // for the time that packing it takes
			}
			keep(t, m, 7)
			next := machine(t, &trees{}, open)
			if p := prepare(t, next, release(7, "a")); size(p.Dir) != v.Weight+7 {
				t.Errorf("it has %d bytes", size(p.Dir))
			}
			if err := errors.Join(m.CacheProblem(), next.CacheProblem()); err != nil {
				t.Error(err)
			}
		})
	}
}
