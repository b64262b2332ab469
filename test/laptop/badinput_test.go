package laptop_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/trial"
)

// bad is a release that must not come into service.
type bad struct {
	name  string
	files map[string]string // its repository
	says  []string          // why it fails, in words
}

func TestReleasesThatCannotBePreparedAreRevertedAndLoseNothing(t *testing.T) {
	t.Parallel()
	walkBad(t, []bad{
		{"keys that are none in the recipe", recipe("version: 1\nprocesses: {web: ./shop}\nhelth: {path: /up}\nbiuld: {}\n"), []string{
			`bootagent.yaml:3:1: unknown key "helth"; did you mean "health"?`, `bootagent.yaml:4:1: unknown key "biuld"; did you mean "build"?`,
		}},
		{"a recipe that is no YAML", recipe("version: 1\nprocesses: {web: [\n"), []string{"bootagent.yaml:", "not valid YAML"}},
		{"no recipe at all", nil, []string{"neither a bootagent.yaml nor a Procfile", "commit one"}},
		{"no process with a port", map[string]string{"Procfile": "mail: sleep 60\n"}, []string{"no process of the app has a port", "named web"}},
		{
			"a build that fails", recipe("version: 1\nbuild: {run: 'echo one; echo cannot find module shop/cart >&2; exit 7'}\nprocesses: {web: ./shop}\n"),
			[]string{"build: ", "exited with code 7", "its last lines", "| cannot find module shop/cart"},
		},
		{
			"a build that hangs", recipe("version: 1\nbuild: {run: 'echo waiting for the mirror; sleep 3600', timeout: 3s}\nprocesses: {web: ./shop}\n"),
			[]string{"still running after build.timeout, 3s, and was ended", "| waiting for the mirror"},
		},
		{
			"a build that floods its log", recipe("version: 1\nbuild: {run: 'yes noise | head -c 20000000; echo; echo out of tokens; exit 1'}\nprocesses: {web: ./shop}\n"),
			[]string{"exited with code 1", "| noise", "| out of tokens"},
		},
	})
}

func TestAppsThatNeverGetWellAreRevertedAndLoseNothing(t *testing.T) {
	t.Parallel()
	walkBad(t, []bad{
		{"a command that is not there", recipe("version: 1\nprocesses: {web: [bin/shop]}\n"), []string{"bin/shop", "no such file"}},
		{
			"an app that exits at once", recipe("version: 1\nprocesses: {web: 'echo no database at db:5432; exit 4'}\nhealth: {deadline: 10m}\n"),
			[]string{"the process web exited with code 4", "the app's last lines", "| no database at db:5432"},
		},
		{
			"an app that never listens", appWith("deadline: 3s", "-silent", "-say", "thinking"),
			[]string{"not healthy after", "does not listen on any port yet, and should on PORT=", "| thinking"},
		},
		{
			"an app that listens elsewhere", appWith("path: /up, deadline: 10m", "-elsewhere"),
			[]string{"it listens on ", "not on PORT=", "must listen on the port that is in the environment variable PORT"},
		},
		{
			"an app that answers 500", appWith("path: /up, deadline: 4s", "-status", "500"),
			[]string{"not healthy after", "answered 500 Internal Server Error"},
		},
		{
			"an app that listens and then dies", appWith("path: /up, interval: 1s, successes: 9", "-dies", "4s"),
			// Not how often it had passed: a last check may fall between the end of its socket and its own.
			[]string{"the process web exited with code 3", "| the app dies as it was told"},
		},
		{
			// It passes its checks here, but not the balancer's, which wants 200; while the agent waits for that, it dies.
			"an app that dies once it is registered", appWith("path: /up, status: 299", "-status", "299", "-dies", "3s"),
			[]string{"the process web exited with code 3", "| the app dies as it was told"},
		},
	})
}

// walkBad takes an instance, which serves a good release to a small load, through one bad release after the other.
func walkBad(t *testing.T, all []bad) {
	// A busy machine must not make the balancer take the good release for unhealthy: it would fail open, to the bad one.
	l := newLab(t, func(o *trial.Options) { o.Check.UnhealthyThreshold = 10 })
	l.put(l.sound("main"))
	l.launch()
	l.wait("in service", serving(1))
	only, traffic := l.only(), l.startLoad()
	for n, bad := range all {

		began := time.Now()
		number := l.put(l.branch(fmt.Sprintf("bad-%d", n), bad.files))
		s := l.wait(bad.name+": reverted", failure(number, bad.says...), state("reverted"), serving(1))
		reason := s.Failed[len(s.Failed)-1].Reason
		if len(reason) > 8<<10 {
			t.Errorf("%s: the reason has %d bytes, and goes into records and terminals", bad.name, len(reason))
		}
		t.Logf("%s, after %s:\n%s", bad.name, time.Since(began).Round(100*time.Millisecond), reason)
	}
	// The good one once more, as somebody puts who gives up: nothing of the bad ones is left but bounded logs.
	last := l.put("main")
	l.until("settled", func() error { return l.settled(only, last) })
	l.wait("untroubled", state("in_service"), untroubled)
	if answers := traffic.stop(); len(answers) != 2 {
		t.Errorf("only releases 1 and %d may have answered: %v", last, answers)
	}
	// Retention leaves the newest of those that never served where it is: it may be one that is just about to.
	releases, err := filepath.Glob(filepath.Join(stateOf(only), "releases", "*"))
	if err != nil || len(releases) > 3 {
		t.Errorf("the releases on the disk are %v (%v)", releases, err)
	}
	logs, err := filepath.Glob(filepath.Join(stateOf(only), "builds", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no build has left a log (%v)", err)
	}
	for _, log := range logs {
		if most := int64(8<<20 + 64<<10 + 1<<10); size(t, log) > most {
			t.Errorf("%s has %d bytes, and a build's log has %d at most", log, size(t, log), most)
		}
	}
}

// TestAnAppThatDiesInServiceIsStartedAgainUntilAFixIsPut: it passed every
// check, so it took over. What it then is is said, and a fix is taken at once.
func TestAnAppThatDiesInServiceIsStartedAgainUntilAFixIsPut(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.sound("main"))
	l.launch()
	l.wait("in service", serving(1))
	i := l.only()
	l.sound("main", "-say", "no memory left")
	second := l.put("main")
	l.wait("in service", serving(second))
	ctx, cancel := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	t.Cleanup(func() { cancel(); killer.Wait() })
	killer.Go(func() {
		for ctx.Err() == nil {
			running, _ := l.processes(i) // what can't be seen lives until the next look
			for _, p := range running {
				if p.release == second {
					_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have ended
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	l.wait("told that it keeps dying",
		problem("out of it until it is healthy again", "times in a row", "was ended by signal SIGKILL", "no memory left"))
	fix := l.put(l.sound("main"))
	l.until("settled on the fix", func() error { return l.settled(i, fix) })
	l.wait("untroubled", state("in_service"), untroubled)
}
