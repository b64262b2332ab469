// Package laptop_test drives whole deployments on this machine: a region, a
// git server, a balancer, and Auto Scaling groups whose instances are real
// bootagent processes. What is seen here is what users see: the status on the
// instance's socket, the processes, the targets, the traffic.
//
// A test makes a lab, commits releases to its repository, puts them, launches
// the fleet and waits for what should happen:
//
//	l := newLab(t)
//	l.put(l.commit("main"))
//	l.launch()
//	l.wait("in service", serving(1))
package laptop_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// The programs that every test uses, made once by TestMain.
var programs struct {
	bootagent string // cmd/bootagent, with the race detector where the test has it
	app       string // testdata/app
}

// memory is Linux's file system in memory, where there is one.
const memory = "/dev/shm"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	// These tests wait for health checks and drains far more than they compute: six times as many of them as there are
	// processors keep a machine busy. An explicit -parallel is left alone.
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Value.Set(strconv.Itoa(6 * runtime.GOMAXPROCS(0))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	// Agents flush whole file systems, and so wait for whatever else writes to them. What a flush is worth is tested
	// elsewhere: in memory a test does not depend on its neighbors' disk.
	if info, err := os.Stat(memory); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", memory); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "bootagent-laptop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs.bootagent, programs.app = filepath.Join(dir, "bootagent"), filepath.Join(dir, "app")
	agent := []string{"build", "-o", programs.bootagent}
	if raceDetector {
		agent = append(agent, "-race")
	}
	for _, args := range [][]string{append(agent, "../../cmd/bootagent"), {"build", "-o", programs.app, "./testdata/app"}} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %v: %v\n%s", args, err, out)
			return 1
		}
	}
	return m.Run()
}
