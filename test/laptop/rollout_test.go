package laptop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/trial"
)

// newShop is a fleet of n instances, in service on release 1, which is stable.
func newShop(t testing.TB, n int) *lab {
	t.Helper()
	l := newLab(t, func(o *trial.Options) { o.Instances = n })
	l.put(l.commit("main"))
	l.launch()
	l.wait("in service", serving(1))
	l.until("stable", func() error { return l.labelled(1) })
	return l
}

// commitWithTask commits a release whose task adds a line to a file that outlives every release.
func (l *lab) commitWithTask(branch, marks string, flags ...string) {
	l.t.Helper()
	l.commits++
	app := appRecipe(flags...)
	line, _ := json.Marshal("echo done >> " + marks) // a text can always be encoded
	app["bootagent.yaml"] += "release_task: {run: " + string(line) + ", reversible: true}\n"
	app["VERSION"] = fmt.Sprintln(l.commits)
	l.repo.CommitFiles(branch, files(app))
}

// leader is the instance whose agent said last that it leads; "" for none.
func (l *lab) leader() (id string) {
	for _, i := range l.Instances() {
		if s, ok := i.Status(l.t.Context()); ok && s.Leads {
			id = i.ID
		}
	}
	return id
}

// killAgents is kill -9 of the agents of these instances; their machines start them again, as systemd would.
func (l *lab) killAgents(instances ...*trial.Instance) {
	l.t.Helper()
	for _, i := range instances {
		if pid := l.machine(i).AgentPID(); pid == 0 || syscall.Kill(pid, syscall.SIGKILL) != nil {
			l.t.Errorf("the agent of %s could not be killed", i.ID)
		}
	}
}

// TestARolloutOutlivesItsAgents kills, in mid-rollout and under load, the leader's agent, another one, and two at once.
func TestARolloutOutlivesItsAgents(t *testing.T) {
	t.Parallel()
	for name, victims := range map[string]func(leader string, all []*trial.Instance) []*trial.Instance{
		"the leader": func(leader string, all []*trial.Instance) []*trial.Instance {
			return slices.DeleteFunc(slices.Clone(all), func(i *trial.Instance) bool { return i.ID != leader })
		},
		"two at once, the leader one of them": func(leader string, all []*trial.Instance) []*trial.Instance {
			others := slices.DeleteFunc(slices.Clone(all), func(i *trial.Instance) bool { return i.ID == leader })
			return append(slices.DeleteFunc(slices.Clone(all), func(i *trial.Instance) bool { return i.ID != leader }), others[0])
		},
		"one that does not lead": func(leader string, all []*trial.Instance) []*trial.Instance {
			return slices.DeleteFunc(slices.Clone(all), func(i *trial.Instance) bool { return i.ID == leader })[:1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newShop(t, 3)

			marks := filepath.Join(t.TempDir(), "marks")
			traffic := l.startLoad()
			l.commitWithTask("main", marks)
			l.put("main")
			var leader string
			l.until("the canary serves", func() error {
				if leader = l.leader(); leader == "" {
					return fmt.Errorf("nobody leads")
				}
				for _, i := range l.Instances() {
					if s, ok := i.Status(t.Context()); ok && s.InService.Number == 2 {
						return nil
					}
				}
				return fmt.Errorf("nobody serves release 2")
			})
			l.killAgents(victims(leader, l.Instances())...)
			l.wait("on release 2, each of them", serving(2))
			l.until("stable", func() error { return l.labelled(2) })
			traffic.stop()
			if text, err := os.ReadFile(marks); err != nil || string(text) != "done\n" {
				t.Errorf("the release task left %q (%v), and was to run once", text, err)
			}
		})
	}
}

func TestAReleaseThatFailsOnItsCanaryIsTriedOnNoOther(t *testing.T) {
	t.Parallel()
	l := newShop(t, 3)
	traffic := l.startLoad()
	l.commit("main", "-dies=300ms", "-status=503", "-say=no database")
	l.put("main")
	l.until("given up", func() error {
		if !l.log.contains(`"phase": "check"`, "no database") {
			return fmt.Errorf("nobody has tried it")
		}
		if l.leader() != "" {
			return fmt.Errorf("it is still led")
		}
		return nil
	})
	l.wait("serving on", serving(1))
	if n := l.log.count("", "\tunit started\t", `"release": 2,`); n != 1 {
		t.Errorf("release 2 was started %d times", n)
	}
	traffic.stop()
	l.sound("main")
	fix := l.put("main")
	l.wait("on the fix", serving(fix))
}

func TestAFleetOfOneNeedsNoTable(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) { o.NoTable = true })
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	traffic := l.startLoad()
	l.put(l.commit("main")) // a full SHA: what a branch was is lost with the instance
	l.until("on release 2, and stable", func() error { return l.stable(i, 2) })
	l.commit("main", "-dies=300ms", "-status=503", "-say=no database")
	l.put("main")
	l.wait("reverted", serving(2), state("reverted"), failure(3, "no database"))
	traffic.stop()

	// The one that takes its place knows what the label says. Whether what is newer was tried is lost with the other.
	if err := l.machine(i).Kill(); err != nil {
		t.Fatal(err)
	}
	next := l.replaced(i.ID)
	l.until("in service on what was stable", func() error { return l.settled(next, 2) })
	l.wait("held", problem("release 3", "put it again"))
	l.sound("main")
	fix := l.put("main")
	l.until("on the fix, and stable", func() error { return l.stable(next, fix) })
}

func TestAGroupThatMayGrowIsRefusedWithoutATable(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) { o.NoTable, o.Most = true, 3 })
	l.put(l.commit("main"))
	l.endsItsLaunch(nil, "may have 3 instances", "fleet.table", "aws dynamodb create-table")
}

func TestWhereTheTableIsOutOfReachTheMirrorIsBooted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main")) // a full SHA
	l.launch()
	first := l.only()
	l.until("in service, and stable", func() error { return l.stable(first, 1) })
	gone := l.Region.Faults.Add(fault.Rule{Service: "dynamodb", Effect: fault.CutBefore()})
	if err := l.machine(first).Kill(); err != nil {
		t.Fatal(err)
	}
	next := l.replaced(first.ID)
	began := time.Now()
	l.until("in service without the table", func() error { return l.settled(next, 1) })
	if waited := time.Since(began); waited < 30*time.Second {
		t.Errorf("the table was given up after %s", waited)
	}
	if s := l.status(next); !strings.Contains(strings.Join(texts(s.Problems), " "), "dynamodb") {
		t.Errorf("nothing is said of the table: %v", s.Problems)
	}
	gone.Remove()
	l.commit("main")
	l.put("main")
	l.until("on release 2, and stable", func() error { return l.stable(next, 2) })
}

func texts(problems map[string]string) (out []string) {
	for subject, text := range problems {
		out = append(out, subject+": "+text)
	}
	return out
}

// bootagent is one of its commands, as an operator runs it.
func (l *lab) bootagent(args ...string) *exec.Cmd {
	c := exec.CommandContext(l.t.Context(), programs.bootagent, args...)
	c.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}, l.Environment()...)
	c.Dir = os.TempDir()
	return c
}

// runs runs a command to its end, and gives what it printed and its exit code.
func (l *lab) runs(args ...string) (said string, code int) {
	l.t.Helper()
	out, err := l.bootagent(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatalf("bootagent %v: %v", args, err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

func TestARolloutOutlivesTheCommandThatAskedForIt(t *testing.T) {
	t.Parallel()
	l := newShop(t, 3)

	traffic := l.startLoad()
	l.commit("main")
	deploy := l.bootagent("deploy", "main", "-m", "killed in the middle")
	if err := deploy.Start(); err != nil {
		t.Fatal(err)
	}
	l.until("a canary", func() error {
		for _, i := range l.Instances() {
			if s, ok := i.Status(t.Context()); ok && s.InService.Number == 2 {
				return nil
			}
		}
		return fmt.Errorf("nobody serves release 2")
	})
	if err := deploy.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = deploy.Wait() // killed
	l.wait("on release 2, each of them", serving(2))
	l.until("stable", func() error { return l.labelled(2) })

	// Another asks for a bad one, and is told what became of it; the revision is known from then on.
	l.commit("main", "-dies=300ms", "-status=503", "-say=no database")
	if said, code := l.runs("deploy", "main"); code != 3 || !strings.Contains(said, "rolled back") || !strings.Contains(said, "no database") {
		t.Errorf("a bad release: exit code %d, and it said\n%s", code, said)
	}
	if said, code := l.runs("deploy", "main"); code != 1 || !strings.Contains(said, "failed before") {
		t.Errorf("the same again: exit code %d, and it said\n%s", code, said)
	}
	if said, code := l.runs("history", "--json"); code != 0 || !strings.Contains(said, "killed in the middle") || !strings.Contains(said, `"rolled_back"`) {
		t.Errorf("the history: exit code %d, and it said\n%s", code, said)
	}
	// And back to the release before.
	if said, code := l.runs("rollback"); code != 0 {
		t.Errorf("a rollback: exit code %d, and it said\n%s", code, said)
	}
	l.until("on the first revision again", func() error { return l.labelled(4) })
	if said, code := l.runs("status", "--fleet"); code != 0 || !strings.Contains(said, "release 4") {
		t.Errorf("the status: exit code %d, and it said\n%s", code, said)
	}
	traffic.stop()
}
