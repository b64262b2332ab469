// Package e2e_test boots whole fleets of real machines: Debian with systemd as its first process and cloud-init that runs the
// user-data of packaging/user-data, behind a region that runs here. What is seen is what users see: the traffic, the targets, and what
// systemctl, ps and the journal say on the machine.
//
// What a case is made of lies in cases/<name>: 1, 2, … are its app's commits, each laid over app/ and over the commit before, and
// config is what its instances' configuration has besides. Its test has the same name:
//
//	f := newFleet(t, "userdata")
//	f.release(1)
//	f.launch()
//	f.settled(f.only(), 1)
package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/bootagent/bootagent/test/nspawn"
)

// packages are what is installed, made once by TestMain: the same program, as two versions.
var packages struct{ first, second string }

const memory = "/dev/shm" // Linux's file system in memory

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if os.Getenv(nspawn.Variable) != "1" {
		return m.Run() // which leaves them out
	}
	// Machines wait more than they compute. An explicit -parallel is left alone.
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))); err != nil {
			return failed(err)
		}
	}
	dir, err := os.MkdirTemp(memory, "bootagent-e2e-")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	if packages.first, err = makePackage(dir, "1.0.0"); err != nil {
		return failed(err)
	}
	if packages.second, err = makePackage(dir, "1.1.0"); err != nil {
		return failed(err)
	}
	down, err := nspawn.HostUp(context.Background())
	if err != nil {
		return failed(err)
	}
	code := m.Run()
	if err := down(); err != nil {
		return failed(err)
	}
	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// makePackage builds the program, and the Debian package of that version with it, as packaging/build.sh does.
func makePackage(dir, version string) (string, error) {
	program := filepath.Join(dir, "bootagent-"+version)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", program, "./cmd/bootagent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	nfpm := os.Getenv("NFPM")
	if nfpm == "" {
		nfpm = ".cache/tools/nfpm"
	}
	target := program + ".deb"
	pack := exec.Command(nfpm, "package", "--config", "packaging/nfpm.yaml", "--packager", "deb", "--target", target)
	pack.Env = append(os.Environ(), "ARCH="+runtime.GOARCH, "PACKAGE_VERSION="+version, "BINARY="+program, "SOURCE_DATE_EPOCH=1700000000")
	for _, command := range []*exec.Cmd{build, pack} {
		command.Dir = "../.."
		if out, err := command.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", command.Args, err, out)
		}
	}
	return target, nil
}
