package artifact_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bootagent/bootagent/deploy/artifact"
)

// benchTree is 8,000 files of 100 MB together, half of them text, in 400 directories.
func benchTree(b *testing.B) string {
	b.Helper()
	dir := filepath.Join(benchDir(b), "app")
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // noise
	words := make([]string, 2000)
	for i := range words {
		words[i] = fmt.Sprintf("%x", r.Uint32())
	}
	for i := range 8000 {
		path := filepath.Join(dir, fmt.Sprintf("d%03d/f%d", i/20, i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		data := make([]byte, 0, 26<<10)
		for size := 1<<10 + r.IntN(24<<10); len(data) < size; {
			if i%2 == 0 {
				data = append(append(data, words[r.IntN(len(words))]...), ' ')
			} else {
				data = append(data, byte(r.Uint32()))
			}
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// benchDir is on tmpfs where there is one: the disk is not what is measured.
func benchDir(b *testing.B) string {
	b.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "bench-artifact-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// BenchmarkUnpack is an artifact from a directory, and what a person would write for the same archive.
func BenchmarkUnpack(b *testing.B) {
	tree, dir := benchTree(b), benchDir(b)
	c := artifact.New(artifact.Options{Store: artifact.OpenDirectory(dir), App: "shop", Env: "prod", Scratch: dir})
	w := artifact.Wanted{Revision: revision, Home: "/nowhere"}
	k, err := c.Keep(b.Context(), w, artifact.Built{Instance: "i-0123456789"}, artifact.Packing{Dir: tree}, nil)
	if err != nil {
		b.Fatal(err)
	}
	place := func() string {
		to, err := os.MkdirTemp(dir, "to-")
		if err != nil {
			b.Fatal(err)
		}
		return to
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportMetric(float64(k.Bytes)/1e6, "MB-archive")
		for b.Loop() {
			f, err := c.Find(b.Context(), w)
			if err == nil {
				err = c.Unpack(b.Context(), f, place())
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("zstd-tar", func(b *testing.B) {
		for b.Loop() {
			to := place()
			if out, err := exec.CommandContext(b.Context(), "sh", "-c", "zstd -dc "+filepath.Join(dir, k.Name+".tar.zst")+" | tar x -C "+to).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			if _, err := artifact.Pack(b.Context(), artifact.Packing{Dir: tree}, discard{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
