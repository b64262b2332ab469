package source_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// The test binary is other processes too, by its environment: benchFetch ("URL SHA DIR") only fetches, benchMeasure runs the
// command in its arguments and prints how long it took and what memory it had. A child's peak begins with its parent's
// size, so what measures must be small.
const (
	benchFetch   = "BOOTAGENT_BENCH_FETCH"
	benchMeasure = "BOOTAGENT_BENCH_MEASURE"
)

// otherLife is what the binary does instead of tests; done says whether it did.
func otherLife() (done bool, err error) {
	switch {
	case os.Getenv(benchMeasure) != "":
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Stderr = os.Stderr
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, benchMeasure) })
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			return true, err
		}
		usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return true, errors.New("no rusage here")
		}
		fmt.Println(time.Since(begin).Seconds(), usage.Maxrss>>10)
		return true, nil
	case os.Getenv(bombFetch) != "":
		return true, fetchMeasured(os.Getenv(bombFetch))
	case os.Getenv(gitMachine) != "":
		return true, onAnotherMachine(os.Getenv(gitMachine))
	case os.Getenv(gitFetch) != "":
		return true, fetchByGit(os.Getenv(gitFetch))
	case os.Getenv(benchFetch) != "":
		f := strings.Fields(os.Getenv(benchFetch))
		s, err := source.New(source.Config{URL: f[0]})
		if err != nil {
			return true, err
		}
		return true, s.Fetch(context.Background(), f[1], f[2])
	}
	return false, nil
}

// sourceTree is n files that look like a program's: words, indentation, typical bytes on average and some far more, and some binaries.
func sourceTree(n, typical int) map[string]string {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("func return if err nil for range context string int error package import struct type var " +
		"request response handler server client config value name key map slice append len close open read write")
	files := make(map[string]string, n)
	for i := range n {
		name := fmt.Sprintf("src/m%02d/p%02d/file%05d.go", i%40, i%700/40, i)
		if i%50 == 0 {
			files[strings.Replace(name, ".go", ".png", 1)] = noise(uint64(i), 20_000+r.IntN(40_000))
			continue
		}
		var b strings.Builder
		for size := int(float64(typical) * (0.05 + 0.95*r.ExpFloat64())); b.Len() < size; {
			b.WriteString(strings.Repeat("\t", r.IntN(4)))
			for range 3 + r.IntN(9) {
				fmt.Fprintf(&b, "%s ", words[r.IntN(len(words))])
				if r.IntN(3) == 0 {
					fmt.Fprintf(&b, "v%d ", r.IntN(5000))
				}
			}
			b.WriteByte('\n')
		}
		files[name] = b.String()
	}
	return files
}

// BenchmarkFetch fetches repositories of three shapes: some big files, and many smaller ones.
func BenchmarkFetch(b *testing.B) {
	for _, shape := range []struct{ files, typical int }{{1600, 16_000}, {8000, 6000}, {13_000, 7800}} {
		files := sourceTree(shape.files, shape.typical)
		bytes := 0
		for _, body := range files {
			bytes += len(body)
		}
		b.Run(fmt.Sprintf("%dfiles-%dMB", shape.files, bytes/1_000_000), func(b *testing.B) { benchmarkFetch(b, files) })
	}
}

// benchmarkFetch runs us and the git CLI (init, fetch --depth=1, checkout) in turns, each as a process of its own,
// against the same server, and reports the ratio of their times and the peaks of their memory. Run it on tmpfs:
//
//	TMPDIR=/dev/shm go test -run - -bench Fetch ./deploy/source
func benchmarkFetch(b *testing.B, files map[string]string) {
	repo := gittest.NewRepo(b)
	before := map[string]string{} // a history
	for name, body := range files {
		if len(before) < len(files)/2 {
			before[name] = body[:len(body)/2]
		}
	}
	repo.Commit(before)
	sha := repo.Commit(files)
	repo.Git("repack", "-adfq")
	srv := gittest.NewServer(b, repo)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	var wall, peak [2]float64
	run := func(which int, env []string, dir string, args ...string) {
		cmd := exec.Command(self, args...)
		cmd.Dir, cmd.Env = dir, append(env, benchMeasure+"=1")
		out, err := cmd.Output()
		var seconds, mb float64
		if _, scanErr := fmt.Sscan(string(out), &seconds, &mb); err != nil || scanErr != nil {
			b.Fatalf("%v: %v: %s", args, err, out)
		}
		wall[which] += seconds
		peak[which] = max(peak[which], mb)
	}
	runs := 0
	for b.Loop() {
		runs++
		dir := b.TempDir()
		job := strings.Join([]string{srv.CloneURL(), sha, filepath.Join(dir, "ours")}, " ")
		run(0, append(os.Environ(), benchFetch+"="+job), dir, self)
		run(1, gittest.Environment(dir), dir, "sh", "-ec",
			"git init -q git; cd git; git fetch -q --depth=1 "+srv.CloneURL()+" "+sha+"; git checkout -q FETCH_HEAD")
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(wall[0]/wall[1], "ours/git")
	b.ReportMetric(wall[0]/float64(runs), "ours-s")
	b.ReportMetric(wall[1]/float64(runs), "git-s")
	b.ReportMetric(peak[0], "ours-MB")
	b.ReportMetric(peak[1], "git-MB")
}
