package laptop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/machine"
	"github.com/bootagent/bootagent/internal/trial"
)

// patience is how long a lab waits for anything. It is long because the machine may be slow and busy; a test
// that works never comes near it.
const patience = 4 * time.Minute

// lab is a trial of one app with a repository of its own. It ends with its
// test; a test that failed gets the agents' last lines.
type lab struct {
	*trial.Trial
	t       testing.TB
	repo    *gittest.Repo
	commits int
	// log is what the agents of all instances printed.
	log *console
}

// newLab starts everything but the fleet: launch does that. One instance,
// unless an edit says otherwise; edits may change any of the trial's options.
func newLab(t testing.TB, edits ...func(*trial.Options)) *lab {
	t.Helper()
	l := &lab{t: t, repo: gittest.NewRepo(t), log: &console{}}
	options := trial.Options{
		Agent: programs.bootagent, Repository: l.repo.Dir, App: "shop", Instances: 1, Listen: "127.0.0.1:0",
		Check: elbv2.HealthCheck{Path: "/up"}, Output: l.log.of,
		Policy: "{bake: 1s, min_healthy_time: 0s}", // what a test waits for longer it says
	}
	for _, edit := range edits {
		edit(&options)
	}
	var err error
	if l.Trial, err = trial.Start(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agents' last lines:\n%s", l.log.tail(80))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// commit commits a release of the test's app (testdata/app) on top of a
// branch: it is built by copying the program, and runs with these flags.
func (l *lab) commit(branch string, flags ...string) string {
	l.t.Helper()
	l.commits++
	app := appRecipe(flags...)
	app["VERSION"] = fmt.Sprintln(l.commits) // so that no commit is like another
	return l.repo.CommitFiles(branch, files(app))
}

// files makes what gittest commits of texts by path.
func files(texts map[string]string) map[string]gittest.File {
	out := map[string]gittest.File{}
	for path, text := range texts {
		out[path] = gittest.File{Body: text}
	}
	return out
}

// appRecipe is the repository of the test's app: it is checked five times a second.
func appRecipe(flags ...string) map[string]string {
	argv, _ := json.Marshal(append([]string{"bin/app"}, flags...)) // a list of texts can always be encoded; YAML reads it too
	return map[string]string{"bootagent.yaml": fmt.Sprintf(`version: 1
build:
  run: mkdir bin && cp %s bin/app
processes:
  web:
    run: %s
    stop_timeout: 5s
health: {path: /up, interval: 200ms, timeout: 5s, deadline: 60s}
`, programs.app, argv)}
}

// put asks for a release, by branch, tag or SHA, and gives its number.
func (l *lab) put(value string) int64 {
	l.t.Helper()
	number, err := l.Put(l.t.Context(), value)
	if err != nil {
		l.t.Fatal(err)
	}
	return number
}

// launch launches the fleet.
func (l *lab) launch() {
	l.t.Helper()
	if err := l.Launch(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

// only gives the fleet's one instance, which it waits for.
func (l *lab) only() *trial.Instance {
	l.t.Helper()
	var only *trial.Instance
	l.until("exactly one instance", func() error {
		all := l.Instances()
		if len(all) != 1 {
			return fmt.Errorf("there are %d", len(all))
		}
		only = all[0]
		return nil
	})
	return only
}

// machine is what an instance runs on: kill it, or its agent.
func (l *lab) machine(i *trial.Instance) *machine.Machine {
	l.t.Helper()
	m, ok := l.Machines.Machine(i.ID)
	if !ok {
		l.t.Fatalf("the machine of %s does not run", i.ID)
	}
	return m
}

// until asks again and again until err is nil, and fails the test when it was not in time. Call it from the
// test's own goroutine.
func (l *lab) until(what string, look func() error) {
	l.t.Helper()
	if err := l.try(l.t.Context(), what, look); err != nil {
		l.t.Fatal(err)
	}
}

// try is until for other goroutines: it gives the failure back.
func (l *lab) try(ctx context.Context, what string, look func() error) error {
	began := time.Now()
	for {
		err := look()
		if err == nil {
			return nil
		}
		if time.Since(began) > patience || ctx.Err() != nil {
			return fmt.Errorf("after %s still not %s: %w", time.Since(began).Round(time.Second), what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// wait waits until the status of every instance of the fleet, as its socket
// tells it, is as wished, and gives that of the first.
func (l *lab) wait(what string, wishes ...wish) agent.Status {
	l.t.Helper()
	var first agent.Status
	l.until(what, func() error {
		instances := l.Instances()
		if len(instances) != l.Options.Instances {
			return fmt.Errorf("there are %d instances, not %d", len(instances), l.Options.Instances)
		}
		for n, i := range instances {
			s, err := l.look(i, wishes...)
			if err != nil {
				return err
			}
			if n == 0 {
				first = s
			}
		}
		return nil
	})
	return first
}

// look asks one instance, once, and says which of the wishes are not fulfilled.
func (l *lab) look(i *trial.Instance, wishes ...wish) (agent.Status, error) {
	s, ok := i.Status(l.t.Context())
	if !ok {
		return s, fmt.Errorf("the agent of %s does not answer", i.ID)
	}
	for _, w := range wishes {
		if err := w(s); err != nil {
			brief := s
			brief.Timeline = nil
			text, _ := json.MarshalIndent(brief, "  ", "  ") // a status came as JSON
			return s, fmt.Errorf("%s: %w\n  %s", i.ID, err, text)
		}
	}
	return s, nil
}

// status asks an instance that must answer.
func (l *lab) status(i *trial.Instance) agent.Status {
	l.t.Helper()
	var s agent.Status
	l.until("an answer of "+i.ID, func() (err error) {
		s, err = l.look(i)
		return err
	})
	return s
}

// wish says what of a status is not as it should be; nil when all is.
type wish func(agent.Status) error

// serving: the release is in service, the launch hook is complete, and nothing is left to do.
func serving(release int64) wish {
	return func(s agent.Status) error {
		switch {
		case s.InService.Number != release:
			return fmt.Errorf("release %d is in service, not %d", s.InService.Number, release)
		case s.Group.Lifecycle != model.LifecycleInService:
			return fmt.Errorf("it is %s in its group", s.Group.Lifecycle)
		case len(s.Doing) > 0 || !s.Deploying.IsZero():
			return fmt.Errorf("it is still at work")
		}
		return nil
	}
}

// state: the status says so in one word.
func state(word string) wish {
	return func(s agent.Status) error {
		if s.State != word {
			return fmt.Errorf("its state is %q, not %q", s.State, word)
		}
		return nil
	}
}

// problem: something stands in the way, and it is told in these words.
func problem(words ...string) wish {
	return func(s agent.Status) error {
		for _, text := range s.Problems {
			if all(text, words) {
				return nil
			}
		}
		return fmt.Errorf("no problem says %q", words)
	}
}

// failure: the release failed here, for a reason that says these words.
func failure(release int64, words ...string) wish {
	return func(s agent.Status) error {
		for _, f := range s.Failed {
			if f.Release.Number == release && all(f.Reason, words) {
				return nil
			}
		}
		return fmt.Errorf("release %d did not fail with %q", release, words)
	}
}

func all(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}
