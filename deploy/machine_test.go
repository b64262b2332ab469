package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/process"
	"github.com/bootagent/bootagent/internal/timeline"
	"github.com/bootagent/bootagent/internal/unit"
)

// trees is a source of trees by revision: path → content. An error value fails the fetch.
type trees struct {
	of      map[string]map[string]string
	fail    map[string]error
	fetched atomic.Int64
}

func (s *trees) Resolve(_ context.Context, ref string) (string, error) {
	if err := s.fail[ref]; err != nil {
		return "", err
	}
	return rev(ref), nil
}

func (s *trees) Fetch(_ context.Context, sha, dir string) error {
	s.fetched.Add(1)
	if err := s.fail[sha]; err != nil {
		return err
	}
	for name, content := range s.of[sha] {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(to, path); err != nil {
				return err
			}
		} else if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// rev is a full SHA for a letter.
func rev(letter string) string { return strings.Repeat(letter, 40) }

func release(number int64, letter string) model.Release {
	return model.Release{Number: number, Ref: "main", Revision: rev(letter)}
}

// units is a runner of builds, real ones, whose list of units is what the test says.
type units struct {
	deploy.Runner
	list func() []unit.Status
}

func (u *units) List(context.Context) ([]unit.Status, error) {
	if u.list == nil {
		return nil, nil
	}
	return u.list(), nil
}

func runner(t *testing.T) *units {
	t.Helper()
	dir := t.TempDir()
	r, err := process.New(process.Options{Dir: filepath.Join(dir, "units"), LogDir: filepath.Join(dir, "logs"), BootID: "boot-of-" + t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return &units{Runner: r}
}

func machine(t *testing.T, src deploy.Source, change func(*deploy.Options)) *deploy.Machine {
	t.Helper()
	o := deploy.Options{App: "shop", Env: "prod", InstanceID: "i-1", StateDir: t.TempDir(), Source: src, Path: os.Getenv("PATH")}
	if change != nil {
		change(&o)
	}
	if o.Runner == nil {
		o.Runner = runner(t)
	}
	m, err := deploy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// onDisk lists the names of releases below the state directory, each of which must have its tree, and there must be no other.
func onDisk(t *testing.T, m *deploy.Machine) []string {
	t.Helper()
	var out [2][]string
	for i, dir := range []string{"releases", "trees"} {
		entries, err := os.ReadDir(filepath.Join(m.StateDir, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out[i] = append(out[i], e.Name())
		}
	}
	if d := cmp.Diff(out[0], out[1]); d != "" {
		t.Errorf("releases and trees differ: %s", d)
	}
	return out[0]
}

func prepare(t *testing.T, m *deploy.Machine, rel model.Release) deploy.Prepared {
	t.Helper()
	p, err := m.Prepare(t.Context(), rel, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestARevisionBecomesARelease(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{
		"bootagent.yaml": "version: 1\nbuild:\n  run: env | grep ^BOOTAGENT_ | grep -v ^BOOTAGENT_UNIT= | sort > facts && cp greeting bin && touch $HOME/cache $TMPDIR/scrap\nprocesses: {web: ./bin}\nhealth: {path: /up}\n",
		"greeting":       "hello",
	})
	server := gittest.NewServer(t, repo)
	src, err := source.New(source.Config{URL: server.URL + "/" + repo.Name()})
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, src, nil)
	got, err := m.Resolve(t.Context(), "main")
	if err != nil || got != sha {
		t.Fatalf("main is %s, %v; want %s", got, err, sha)
	}
	rel := model.Release{Number: 7, Ref: "main", Revision: sha}
	spans := timeline.New(time.Now)
	p, err := m.Prepare(t.Context(), rel, spans)
	if err != nil {
		t.Fatal(err)
	}
	if p.Release != rel || p.Dir != filepath.Join(m.StateDir, "trees", "7", "app") || p.Recipe.Health.Path != "/up" {
		t.Errorf("prepared %+v", p)
	}
	facts, err := os.ReadFile(filepath.Join(p.Dir, "facts"))
	want := "BOOTAGENT_APP=shop\nBOOTAGENT_ENV=prod\nBOOTAGENT_INSTANCE_ID=i-1\nBOOTAGENT_RELEASE=7\nBOOTAGENT_REVISION=" + sha + "\n"
	if d := cmp.Diff(want, string(facts)); err != nil || d != "" {
		t.Errorf("the build saw other facts: %v %s", err, d)
	}
	var phases []string
	for _, s := range spans.All() {
		phases = append(phases, s.Phase)
		if s.End.IsZero() || s.Error != "" || s.Release != 7 {
			t.Errorf("span %+v", s)
		}
	}
	if d := cmp.Diff([]string{"fetch", "build", "store"}, phases); d != "" {
		t.Error(d)
	}
	entries, err := os.ReadDir(filepath.Dir(p.Dir))
	if err != nil || len(entries) != 2 {
		t.Errorf("a release holds %v, %v; want app and release.json", entries, err)
	}
}

func TestWhatABuildMakesMayHoldItsOwnPath(t *testing.T) {
	t.Parallel()
	// As a Python virtual environment does: in the first line of its programs, and in links.
	src := &trees{of: map[string]map[string]string{rev("a"): {"bootagent.yaml": `version: 1
build:
  run: |
    set -e
    mkdir -p venv/bin
    ln -s "$(command -v sh)" venv/bin/sh
    ln -s "$PWD/venv" link
    printf '#!%s\necho "I am $0"\n' "$PWD/venv/bin/sh" > venv/bin/app
    chmod +x venv/bin/app
processes: {web: venv/bin/app}
`}}}
	m := machine(t, src, nil)
	p := prepare(t, m, release(1, "a"))
	program := filepath.Join(p.Dir, "link", "bin", "app")
	if out, err := exec.CommandContext(t.Context(), program).CombinedOutput(); err != nil || string(out) != "I am "+program+"\n" {
		t.Errorf("what was built says %q, %v", out, err)
	}
}

func TestPreparingAgainDoesNothing(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{rev("a"): {"Procfile": "web: x\n"}}}
	m := machine(t, src, nil)
	first := prepare(t, m, release(1, "a"))
	// The same after a restart.
	again, err := deploy.New(m.Options)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, prepare(t, again, release(1, "a"))); d != "" {
		t.Error(d)
	}
	list, err := again.Prepared(t.Context())
	if d := cmp.Diff([]deploy.Prepared{first}, list); err != nil || d != "" {
		t.Error(err, d)
	}
	if n := src.fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

type revisionError struct{ error }

func (revisionError) Revision() bool { return true }

func TestWhoIsToBlameForAFailure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		tree  map[string]string
		fail  error
		phase string // "" is the world
		want  string
	}{
		{"a hostile tree", nil, fmt.Errorf("fetch: %w", revisionError{errors.New(`the name ".." is in the tree`)}), "fetch", `fetch: fetch: the name ".." is in the tree`},
		{"a cut transfer", nil, io.ErrUnexpectedEOF, "", "unexpected EOF"},
		{"no recipe", map[string]string{"README": "x"}, nil, "recipe", "recipe: revision aaaaaaaaaaaa: nothing says how to run this app: there is neither a bootagent.yaml nor a Procfile"},
		{"a wrong key", map[string]string{"bootagent.yaml": "version: 1\nproceses: {}\n"}, nil, "recipe", `recipe: revision aaaaaaaaaaaa: bootagent.yaml:2:1: unknown key "proceses"; did you mean "processes"?`},
		{"a recipe outside of the tree", map[string]string{"Procfile": "-> /etc/passwd"}, nil, "recipe", "recipe: revision aaaaaaaaaaaa: open Procfile: "},
		{"a failing build", map[string]string{"bootagent.yaml": "version: 1\nbuild: {run: 'echo no such module; exit 2'}\nprocesses: {web: x}\n"}, nil, "build", "no such module"},
		{"a build that hangs", map[string]string{"bootagent.yaml": "version: 1\nbuild: {run: 'sleep 606', timeout: 1s}\nprocesses: {web: x}\n"}, nil, "build", "build.timeout, 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := machine(t, &trees{of: map[string]map[string]string{rev("a"): c.tree}, fail: map[string]error{rev("a"): c.fail}}, nil)
			spans := timeline.New(time.Now)
			_, err := m.Prepare(t.Context(), release(1, "a"), spans)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			var bad *deploy.RevisionError
			if errors.As(err, &bad) != (c.phase != "") {
				t.Errorf("blamed the wrong one: %v", err)
			} else if bad != nil && bad.Phase != c.phase {
				t.Errorf("phase %q, want %q", bad.Phase, c.phase)
			}
			if left := onDisk(t, m); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			for _, s := range spans.All() {
				if s.End.IsZero() {
					t.Errorf("span %s has no end", s.Phase)
				}
			}
		})
	}
}

func TestAnAppMayBeInASubdirectory(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{rev("a"): {
		"services/shop/bootagent.yaml": "version: 1\nbuild: {run: cat ../../shared/x > out}\nprocesses: {web: x}\n",
		"shared/x":                     "shared", "away": "-> /etc",
	}}}
	m := machine(t, src, func(o *deploy.Options) { o.Subdirectory = "services/shop/" })
	p := prepare(t, m, release(1, "a"))
	if got, err := os.ReadFile(filepath.Join(p.Dir, "out")); err != nil || string(got) != "shared" || !strings.HasSuffix(p.Dir, "1/app/services/shop") {
		t.Errorf("%s: %q, %v", p.Dir, got, err)
	}
	for _, sub := range []string{"services/none", "away", "shared/x"} {
		m := machine(t, src, func(o *deploy.Options) { o.Subdirectory = sub })
		_, err := m.Prepare(t.Context(), release(1, "a"), nil)
		var bad *deploy.RevisionError
		if !errors.As(err, &bad) || bad.Phase != "recipe" || !strings.Contains(err.Error(), "source.subdirectory") {
			t.Errorf("%s: got %v", sub, err)
		}
	}
	if _, err := deploy.New(deploy.Options{App: "a", Env: "b", InstanceID: "i", StateDir: t.TempDir(), Source: src, Runner: runner(t), Subdirectory: "../x"}); err == nil {
		t.Error("a subdirectory outside of the repository passed")
	}
}

func TestTheConfigurationsRecipeServesWhereACommitHasNone(t *testing.T) {
	t.Parallel()
	r, err := recipe.Parse("inline", []byte("version: 1\nprocesses: {web: inline}\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, &trees{of: map[string]map[string]string{rev("a"): {"x": "x"}}}, func(o *deploy.Options) { o.Inline = &r })
	if p := prepare(t, m, release(1, "a")); p.Recipe.Processes[0].Run[2] != "inline" {
		t.Errorf("got %+v", p.Recipe)
	}
}

func TestOldReleasesGoAndNeededOnesStay(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{}}
	run := runner(t)
	run.list = func() []unit.Status {
		return []unit.Status{{Spec: unit.Spec{Release: release(2, "2")}, State: unit.Running}}
	}
	m := machine(t, src, func(o *deploy.Options) { o.KeepReleases, o.Runner = 2, run })
	for n := int64(1); n <= 6; n++ {
		letter := fmt.Sprint(n)
		src.of[rev(letter)] = map[string]string{"Procfile": "web: x\n"}
		prepare(t, m, release(n, letter))
		if n == 4 { // never served
			continue
		}
		if err := m.Promote(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	// 2 has a unit that runs; 4 is the newest that never served; 5 and 6 are kept by number.
	if d := cmp.Diff([]string{"2", "4", "5", "6"}, onDisk(t, m)); d != "" {
		t.Error(d)
	}
	if to, err := os.Readlink(filepath.Join(m.StateDir, "current")); err != nil || to != "releases/6/app" {
		t.Errorf("current is %s, %v", to, err)
	}
	if err := m.Promote(t.Context(), 1); err == nil {
		t.Error("a release that is gone was promoted")
	}
}

func TestWithoutRoomNothingIsFetched(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{rev("1"): {"Procfile": "web: x\n"}, rev("2"): {"Procfile": "web: x\n"}, rev("3"): {"Procfile": "web: x\n"}}}
	m := machine(t, src, nil)
	for n := int64(1); n <= 3; n++ {
		prepare(t, m, release(n, fmt.Sprint(n)))
		if err := m.Promote(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	short := m.Options
	short.FreeSpace = 1 << 60
	m, err := deploy.New(short)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Prepare(t.Context(), release(4, "4"), nil)
	var bad *deploy.RevisionError
	if err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), " free and 1048576TiB are needed (limits.free_space)") || !strings.Contains(err.Error(), m.StateDir) {
		t.Errorf("got %v", err)
	}
	if n := src.fetched.Load(); n != 3 {
		t.Errorf("fetched %d times", n)
	}
	// It made what room it could: only the current and the one before it are left.
	if d := cmp.Diff([]string{"2", "3"}, onDisk(t, m)); d != "" {
		t.Error(d)
	}
}

func TestANumberThatStandsForAnotherRevisionNow(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{rev("a"): {"Procfile": "web: a\n"}, rev("b"): {"Procfile": "web: b\n"}}}
	run := runner(t)
	m := machine(t, src, func(o *deploy.Options) { o.Runner = run })
	prepare(t, m, release(5, "a"))
	if p := prepare(t, m, release(5, "b")); p.Recipe.Processes[0].Run[2] != "b" || p.Release.Revision != rev("b") {
		t.Errorf("nobody uses it, and it was not replaced: %+v", p)
	}
	run.list = func() []unit.Status { return []unit.Status{{Spec: unit.Spec{Release: release(5, "b")}}} }
	if _, err := m.Prepare(t.Context(), release(5, "a"), nil); err == nil || !strings.Contains(err.Error(), "is in service here") {
		t.Errorf("one in use gave %v", err)
	}
	run.list = nil
	if err := m.Promote(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Prepare(t.Context(), release(5, "a"), nil); err == nil || !strings.Contains(err.Error(), "is in service here") {
		t.Errorf("the current gave %v", err)
	}
	// A current that can't be used is of use to nobody.
	if err := os.Remove(filepath.Join(m.StateDir, "releases", "5", "release.json")); err != nil {
		t.Fatal(err)
	}
	if p := prepare(t, m, release(5, "a")); p.Release.Revision != rev("a") {
		t.Errorf("got %+v", p)
	}
}

func TestOneIsPreparedAtATimeAndPromotionDoesNotWaitForIt(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{
		rev("a"): {"Procfile": "web: a\n"},
		rev("b"): {"bootagent.yaml": "version: 1\nbuild: {run: 'touch ../started; while ! test -e ../go; do sleep 0.05; done'}\nprocesses: {web: b}\n"},
	}}
	m := machine(t, src, nil)
	prepare(t, m, release(1, "a"))
	slow := make(chan error, 1)
	go func() {
		_, err := m.Prepare(t.Context(), release(2, "b"), nil)
		slow <- err
	}()
	attempt := ""
	for deadline := time.Now().Add(30 * time.Second); attempt == ""; time.Sleep(10 * time.Millisecond) {
		if found, err := filepath.Glob(filepath.Join(m.StateDir, "trees", "2", "started")); err != nil {
			t.Fatal(err)
		} else if len(found) == 1 {
			attempt = filepath.Dir(found[0])
		}
		if time.Now().After(deadline) {
			t.Fatal("the build does not start")
		}
	}
	if err := m.Promote(t.Context(), 1); err != nil {
		t.Errorf("promoting while another is built: %v", err)
	}
	if list, err := m.Prepared(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("prepared while one is built: %v, %v", list, err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("no patience"))
	defer cancel()
	if _, err := m.Prepare(ctx, release(3, "a"), nil); err == nil || !strings.Contains(err.Error(), "wait for the release before it: no patience") {
		t.Errorf("a second one gave %v", err)
	}
	if err := os.WriteFile(filepath.Join(attempt, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

func TestACancelledPreparationLeavesNothing(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{rev("a"): {"bootagent.yaml": "version: 1\nbuild: {run: 'touch ../started; sleep 607'}\nprocesses: {web: b}\n"}}}
	m := machine(t, src, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for ctx.Err() == nil {
			if found, err := filepath.Glob(filepath.Join(m.StateDir, "trees", "1", "started")); err != nil || len(found) == 1 {
				cancel(errors.New("superseded"))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, err := m.Prepare(ctx, release(1, "a"), nil)
	var bad *deploy.RevisionError
	if err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), "superseded") {
		t.Errorf("got %v", err)
	}
	if left := onDisk(t, m); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestARestartClearsWhatWasLeft(t *testing.T) {
	t.Parallel()
	m := machine(t, &trees{of: map[string]map[string]string{rev("a"): {"Procfile": "web: a\n"}}}, nil)
	prepare(t, m, release(1, "a"))
	for _, litter := range []string{"trees/2/app", "trees/.3-removing-x/app", "releases/.3-removing-x"} {
		if err := os.MkdirAll(filepath.Join(m.StateDir, litter), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := deploy.New(m.Options); err != nil {
		t.Fatal(err)
	}
	if left := onDisk(t, m); !slices.Equal(left, []string{"1"}) {
		t.Errorf("left behind: %v", left)
	}
}

func TestOnlyAResolvedReleaseIsPrepared(t *testing.T) {
	t.Parallel()
	m := machine(t, &trees{fail: map[string]error{"gone": revisionError{errors.New("no such branch")}}}, nil)
	if _, err := m.Prepare(t.Context(), model.Release{Number: 1, Ref: "main"}, nil); err == nil {
		t.Error("a ref was prepared")
	}
	var bad *deploy.RevisionError
	if _, err := m.Resolve(t.Context(), "gone"); !errors.As(err, &bad) || bad.Phase != "resolve" {
		t.Errorf("got %v", err)
	}
	if sha, err := m.Resolve(t.Context(), "b"); err != nil || sha != rev("b") {
		t.Errorf("got %s, %v", sha, err)
	}
}
