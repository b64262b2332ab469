package laptop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// attempt is `bootagent try` as a person runs it: a process of its own, with a TMPDIR of its own.
type attempt struct {
	lab    // only to wait
	cmd    *exec.Cmd
	tmp    string
	screen *console
	ended  chan struct{}
}

// try starts `bootagent try` with these arguments.
func try(t *testing.T, args ...string) *attempt {
	t.Helper()
	tmp, err := os.MkdirTemp("", "try-") // t.TempDir's names are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) }) // what is left was told
	a := &attempt{lab: lab{t: t}, tmp: tmp, screen: &console{}, ended: make(chan struct{})}
	a.cmd = exec.Command(programs.bootagent, append([]string{"try"}, args...)...)
	a.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + a.tmp}
	a.cmd.Stdout, a.cmd.Stderr = a.screen.of("out"), a.screen.of("err")
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.ended)
		_ = a.cmd.Wait() // its ProcessState says how it ended
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen's last lines:\n%s", a.screen.tail(80))
		}
		select {
		case <-a.ended:
		default: // the test failed before it ended it
			_ = a.cmd.Process.Signal(syscall.SIGINT)
			<-a.ended
		}
	})
	return a
}

// find waits for a line on the screen that matches, and gives the first group.
func (a *attempt) find(pattern string) string {
	a.t.Helper()
	re, found := regexp.MustCompile(pattern), ""
	a.until("on the screen", func() error {
		m := re.FindStringSubmatch(a.screen.tail(1 << 20))
		if m == nil {
			return fmt.Errorf("no line matches %s", pattern)
		}
		found = m[1]
		return nil
	})
	return found
}

// interrupt presses Ctrl-C, after which there must be nothing left of it but exit code 0.
func (a *attempt) interrupt(instances []string) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(os.Interrupt); err != nil {
		a.t.Fatal(err)
	}
	select {
	case <-a.ended:
	case <-time.After(patience):
		a.t.Fatalf("it goes on %s after Ctrl-C", patience)
	}
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		a.t.Errorf("exit code %d after Ctrl-C", code)
	}
	if !a.screen.contains("everything is gone: no process, no file") {
		a.t.Error("it does not say that everything is gone")
	}
	if left := ofInstances(instances); len(left) > 0 {
		a.t.Errorf("these processes are left: %v", left)
	}
	left, err := os.ReadDir(a.tmp)
	if err != nil || len(left) > 0 {
		a.t.Errorf("these files are left: %v (%v)", left, err)
	}
}

// ofInstances finds the processes that run on these instances, by their environment.
func ofInstances(ids []string) []string {
	var found []string
	environs, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
	for _, path := range environs {
		environ, err := os.ReadFile(path)
		if err != nil {
			continue // gone, or somebody else's
		}
		for _, id := range ids {
			if strings.Contains(string(environ), id) {
				found = append(found, filepath.Base(filepath.Dir(path)))
			}
		}
	}
	return found
}

// herokuApp is a repository, with a work tree, as people deploy it to Heroku: it holds nothing of bootagent's.
func herokuApp(t *testing.T) (dir string, git func(args ...string)) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "Storefront")
	if err := os.CopyFS(dir, os.DirFS("../../examples/procfile")); err != nil {
		t.Fatal(err)
	}
	git = func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=Tess", "-c", "user.email=tess@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, out)
		}
	}
	git("init", "--quiet", "--initial-branch", "main")
	git("add", "--all")
	git("commit", "--quiet", "-m", "Say hello")
	return dir, git
}

// stockCLI makes a directory with the command aws, for the PATH, of the CLI that make test sets up. Without it the
// test is left out, loudly, and fails with CI=true.
func stockCLI(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	candidates := []string{filepath.Join(root, ".cache", "venv", "bin", "python"), "python3"}
	if chosen := os.Getenv("BOOTAGENT_PYTHON"); chosen != "" {
		candidates = []string{chosen}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, python := range candidates {
		probe := "import importlib.util, sys; sys.exit(importlib.util.find_spec('awscli') is None)"
		if exec.CommandContext(ctx, python, "-c", probe).Run() != nil {
			continue
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "aws"), fmt.Appendf(nil, "#!/bin/sh\nexec %s -m awscli \"$@\"\n", python), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	why := fmt.Sprintf("no Python that can import awscli (tried %v): run make test, which sets one up, or set BOOTAGENT_PYTHON", candidates)
	if os.Getenv("CI") == "true" {
		t.Fatalf("try can't be tested with the stock AWS CLI, and CI=true leaves nothing out: %s", why)
	}
	t.Skipf("LEFT OUT: try with the stock AWS CLI: %s", why)
	return ""
}

// terminal is another terminal, in which the lines from the screen were pasted.
func (a *attempt) terminal(t *testing.T, aws, line string) string {
	t.Helper()
	var exports strings.Builder
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		exports.WriteString(a.find(`(?m)^\S+\s+(export `+name+`=\S+)$`) + "\n")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", exports.String()+line)
	cmd.Env = []string{"PATH=" + aws + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_PAGER="}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

func TestTryServesAProcfileAppAndRollsWhatTheStockCLIPuts(t *testing.T) {
	t.Parallel()
	aws := stockCLI(t)
	dir, git := herokuApp(t)
	a := try(t, "--instances", "2", "--listen", "127.0.0.1:0", dir)
	url := a.find(`storefront at [0-9a-f]{12}: 2 instances behind (http://127\.0\.0\.1:\d+)`)
	body := func() (string, error) { return read(newClient(), url) }
	a.until("serving release 1 through the balancer", func() error { return says(body, "Hello from release 1,") })
	a.until("both in service", func() error {
		if n := strings.Count(a.screen.tail(1<<20), " serves on port "); n < 2 {
			return fmt.Errorf("the screen tells of %d", n)
		}
		return nil
	})
	instances := strings.Fields(a.terminal(t, aws,
		"aws autoscaling describe-auto-scaling-instances --query 'AutoScalingInstances[].InstanceId' --output text"))
	if n := len(ofInstances(instances)); len(instances) != 2 || n < 2*3 {
		t.Fatalf("on the instances %v run %d processes; an agent, a web and a worker should on each", instances, n)
	}

	stop := keepAsking(t, body)
	git("checkout", "--quiet", "-b", "blue")
	text, err := os.ReadFile(filepath.Join(dir, "app.py"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte(strings.Replace(string(text), "Hello from", "Blue from", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	git("commit", "--quiet", "--all", "-m", "Paint it blue")
	put := a.find(`(?m)^\S+\s+(aws ssm put-parameter .*)$`)
	if !strings.Contains(put, "--value main --overwrite") {
		t.Errorf("the line to paste puts no branch: %s", put)
	}
	a.terminal(t, aws, strings.Replace(put, "--value main", "--value blue", 1))
	a.until("serving the branch, and nothing else", func() error {
		for range 20 {
			if err := says(body, "Blue from release 2,"); err != nil {
				return err
			}
		}
		return nil
	})
	stop()
	a.interrupt(instances)
}

func TestTryLeavesNothingWhenItIsInterruptedAtOnce(t *testing.T) {
	t.Parallel()
	dir, _ := herokuApp(t)
	a := try(t, "--listen", "127.0.0.1:0", dir)
	a.find(`(Ctrl-C ends everything)`)
	a.interrupt([]string{a.tmp}) // which every process of its instances has in its environment
}

// read gives what is at the URL.
func read(client *http.Client, url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(text), err
}

func says(body func() (string, error), words string) error {
	text, err := body()
	if err == nil && !strings.Contains(text, words) {
		err = fmt.Errorf("it says %q", text)
	}
	return err
}

// keepAsking asks until it is stopped, and fails the test if one answer fails.
func keepAsking(t *testing.T, body func() (string, error)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			if _, err := body(); err != nil && ctx.Err() == nil {
				t.Errorf("a request failed while the fleet took a release: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(15 * time.Millisecond):
			}
		}
	})
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
}
