package deploy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/model"
)

// random is content that nothing compresses.
func random(seed byte, size int) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return string(b)
}

// fill leaves a disk that many MiB, and gives the file that takes the rest.
func fill(t *testing.T, dir string, leave int64) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, (free(t, dir)-leave)<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return ballast
}

// isFull holds an error to what is said of a full disk, whose revision nobody blames.
func isFull(t *testing.T, err error, dir string) {
	t.Helper()
	var full *deploy.FullError
	var bad *deploy.RevisionError
	if !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) || errors.As(err, &bad) || !strings.Contains(err.Error(), "the disk of "+dir+" was full, with ") ||
		!strings.Contains(err.Error(), "make room there") {
		t.Errorf("got %v", err)
	}
}

// notLeft holds a state directory to what a complete release, and the test's own, leave there.
func notLeft(t *testing.T, m *deploy.Machine, releases ...string) {
	t.Helper()
	if d := cmp.Diff(releases, onDisk(t, m)); d != "" {
		t.Error(d)
	}
	entries, err := os.ReadDir(m.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left: %s", e.Name())
		}
	}
}

func TestACheckoutThatFillsTheDiskLeavesNothingAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	files := map[string]string{"Procfile": "web: x\n"}
	for i := range 12 {
		files[fmt.Sprintf("d/%d", i)] = random(byte(i), 512<<10)
	}
	sha := repo.Commit(files)
	overHTTP, overSSH := gittest.NewServer(t, repo), gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
	ssh := source.Config{URL: overSSH.CloneURL(), KnownHosts: overSSH.KnownHosts, Auth: source.Auth{Key: source.Secret(overSSH.ClientKey)}}
	for name, c := range map[string]source.Config{
		"HTTP": {URL: overHTTP.CloneURL(), Engine: source.EngineGoGit}, "SSH": ssh, "the machine's git": {URL: overHTTP.CloneURL(), Engine: source.EngineGit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, 24, 5000)
			src, err := source.New(c)
			if err != nil {
				t.Fatal(err)
			}
			m := machine(t, src, func(o *deploy.Options) { o.StateDir = dir })
			rel := model.Release{Number: 1, Ref: "main", Revision: sha}
			for _, leave := range []int64{1, 4} {
				ballast := fill(t, dir, leave)
				_, err = m.Prepare(t.Context(), rel, nil)
				isFull(t, err, dir)
				notLeft(t, m)
				if now := free(t, dir); now < leave-1 {
					t.Errorf("%d MiB were free, and %d are", leave, now)
				}
				if err := os.Remove(ballast); err != nil {
					t.Fatal(err)
				}
			}
			p := prepare(t, m, rel)
			if read(t, filepath.Join(p.Dir, "d", "7")) != files["d/7"] {
				t.Error("it is another tree")
			}
			notLeft(t, m, "1")
		})
	}
}

// linked is a release of many links.
func linked() *trees {
	files := map[string]string{"Procfile": "web: x\n"}
	for i := range 300 {
		files[fmt.Sprintf("l/%d", i)] = "-> ../Procfile"
	}
	return &trees{of: map[string]map[string]string{rev("a"): files}}
}

func weighty() *trees {
	return &trees{of: map[string]map[string]string{rev("a"): {"Procfile": "web: x\n", "weight": random(1, 3<<20), "w/eight": random(2, 3<<20)}}}
}

func TestAnArtifactThatFillsTheDiskIsNoBadOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src   *trees
		files int
		leave int64
	}{
		"of bytes": {weighty(), 5000, 4}, "of links": {linked(), 200, 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, dir := t.TempDir(), smallDisk(t, 24, c.files)
			first := cached(t, c.src, store, nil)
			prepare(t, first, release(7, "a"))
			keep(t, first, 7)
			small := cached(t, c.src, store, func(o *deploy.Options) { o.StateDir = dir })
			ballast := fill(t, dir, c.leave)
			_, err := small.Prepare(t.Context(), release(7, "a"), nil)
			isFull(t, err, dir)
			if err := small.CacheProblem(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room there") {
				t.Errorf("the cache's problem is %v", err)
			}
			notLeft(t, small)
			if err := errors.Join(os.Remove(ballast), syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=24m,nr_inodes=5000")); err != nil {
				t.Fatal(err)
			}
			fetched := c.src.fetched.Load()
			prepare(t, small, release(7, "a"))
			if c.src.fetched.Load() != fetched || small.CacheProblem() != nil {
				t.Errorf("with room it was built again: the artifact is taken for a bad one, %v", small.CacheProblem())
			}
			notLeft(t, small, "7")
		})
	}
}

func TestPackingThatFillsTheDiskLeavesNothingAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]int64{"at once": 0, "midway": 2, "near the end": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, dir := t.TempDir(), smallDisk(t, 24, 5000)
			m := cached(t, weighty(), store, func(o *deploy.Options) {
				o.StateDir = dir
				o.Cache = artifact.New(artifact.Options{Store: artifact.OpenDirectory(store), App: "shop", Env: "prod", Scratch: dir})
			})
			prepare(t, m, release(7, "a"))
			ballast := fill(t, dir, leave)
			err := m.Keep(t.Context(), 7)
			if !errors.Is(err, syscall.ENOSPC) || !errors.Is(m.CacheProblem(), syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk of "+dir+" was full: make room there") ||
				strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "no space left") != 1 {
				t.Errorf("got %v, and the problem is %v", err, m.CacheProblem())
			}
			notLeft(t, m, "7")
			if entries, err := os.ReadDir(store); err != nil || len(entries) != 0 {
				t.Errorf("in the cache: %v, %v", entries, err)
			}
			if now := free(t, dir); now < leave-1 {
				t.Errorf("%d MiB were free, and %d are", leave, now)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			keep(t, m, 7)
			if m.CacheProblem() != nil {
				t.Error(m.CacheProblem())
			}
		})
	}
}

// A cache on a disk that is full is as much the machine's fault: of a file:// cache alone.
func TestACacheOnAFullDiskIsSaidAndHoldsNothingHalf(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 16, 5000)
	m := cached(t, weighty(), disk, nil)
	prepare(t, m, release(7, "a"))
	ballast := fill(t, disk, 2)
	if err := m.Keep(t.Context(), 7); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "into the artifact cache: the disk of "+disk+" was full: make room there") {
		t.Errorf("got %v", err)
	}
	if found, _ := filepath.Glob(filepath.Join(disk, "shop", "prod", "*", "*")); len(found) != 0 {
		t.Errorf("left: %v", found)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	keep(t, m, 7)
	none := &trees{}
	prepare(t, cached(t, none, disk, nil), release(7, "a"))
	if none.fetched.Load() != 0 {
		t.Error("it was built again")
	}
}
