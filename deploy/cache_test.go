package deploy_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/timeline"
	"github.com/bootagent/bootagent/internal/unit"
)

// cached is a machine with a cache in a directory.
func cached(t *testing.T, src deploy.Source, dir string, change func(*deploy.Options)) *deploy.Machine {
	t.Helper()
	return machine(t, src, func(o *deploy.Options) {
		o.Cache = artifact.New(artifact.Options{Store: artifact.OpenDirectory(dir), App: "shop", Env: "prod", Scratch: t.TempDir()})
		if change != nil {
			change(o)
		}
	})
}

const building = "version: 1\nbuild: {run: \"cat greeting > bin; mkdir -p lib; ln -s ../bin lib/bin; echo built >> log\"}\nprocesses: {web: ./bin}\nshared: [uploads]\n"

func shop() *trees {
	return &trees{of: map[string]map[string]string{rev("a"): {"bootagent.yaml": building, "greeting": "hello", "uploads/in/.keep": ""}}}
}

func keep(t *testing.T, m *deploy.Machine, number int64) {
	t.Helper()
	if err := m.Keep(t.Context(), number); err != nil {
		t.Fatal(err)
	}
}

func TestASecondInstanceTakesWhatTheFirstBuilt(t *testing.T) {
	t.Parallel()
	dir, src, none := t.TempDir(), shop(), &trees{}
	first, second := cached(t, src, dir, nil), cached(t, none, dir, nil)
	built := prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	keep(t, first, 7)
	got := prepare(t, second, release(7, "a"))
	if none.fetched.Load() != 0 {
		t.Error("the second instance fetched")
	}
	if read(t, filepath.Join(got.Dir, "lib", "bin")) != "hello" || read(t, filepath.Join(got.Dir, "log")) != "built\n" {
		t.Error("it is another tree")
	}
	if d := cmp.Diff(built.Recipe, got.Recipe); d != "" {
		t.Error(d)
	}
	if to, err := os.Readlink(filepath.Join(got.Dir, "uploads")); err != nil || to != filepath.Join(second.StateDir, "shared", "uploads") {
		t.Errorf("uploads leads to %q, %v", to, err)
	}
	if _, err := os.Stat(filepath.Join(second.StateDir, "shared", "uploads", "in")); err != nil {
		t.Error(err)
	}
	if err := errors.Join(first.CacheProblem(), second.CacheProblem()); err != nil {
		t.Error(err)
	}
	keep(t, second, 7) // which came from there
	if d := cmp.Diff([]string{"7"}, onDisk(t, second)); d != "" {
		t.Error(d)
	}
}

// said are claims in memory.
type said struct {
	mu sync.Mutex
	of map[string]artifact.Claim
}

func (s *said) Claim(_ context.Context, key string) (artifact.Claim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[key], nil
}

func (s *said) Swap(_ context.Context, key string, was, is artifact.Claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[key] != was {
		return fs.ErrExist
	}
	if s.of[key] = is; is == (artifact.Claim{}) {
		delete(s.of, key)
	}
	return nil
}

func TestOfTwoInstancesThatLaunchTogetherOneBuilds(t *testing.T) {
	t.Parallel()
	dir, who := t.TempDir(), &said{of: map[string]artifact.Claim{}}
	claiming := func(name string) func(*deploy.Options) {
		return func(o *deploy.Options) {
			o.Cache.Claims, o.Cache.Instance = who, name
			o.Cache.Patience = artifact.Patience{Renew: time.Millisecond, Dead: time.Hour, Look: time.Millisecond, Most: time.Hour}
		}
	}
	first, none := cached(t, shop(), dir, claiming("i-1")), &trees{}
	second := cached(t, none, dir, claiming("i-2"))
	prepare(t, first, release(7, "a"))
	launched := make(chan error, 1)
	spans := timeline.New(nil)
	go func() {
		_, err := second.Prepare(t.Context(), release(7, "a"), spans)
		launched <- err
	}()
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		waits = slices.ContainsFunc(spans.All(), func(s timeline.Span) bool { return s.Phase == "wait" })
	}
	keep(t, first, 7)
	if err := <-launched; err != nil {
		t.Fatal(err)
	}
	if none.fetched.Load() != 0 || len(who.of) != 0 {
		t.Errorf("the second fetched %d times, and these claims are left: %v", none.fetched.Load(), who.of)
	}
}

func TestABuildThatFailsKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	who := &said{of: map[string]artifact.Claim{}}
	src := &trees{of: map[string]map[string]string{rev("a"): {"bootagent.yaml": "version: 1\nbuild: {run: exit 3}\nprocesses: {web: ./bin}\n"}}}
	m := cached(t, src, t.TempDir(), func(o *deploy.Options) { o.Cache.Claims, o.Cache.Instance = who, "i-1" })
	var bad *deploy.RevisionError
	if _, err := m.Prepare(t.Context(), release(7, "a"), nil); !errors.As(err, &bad) || len(who.of) != 0 {
		t.Errorf("%v, and these claims are left: %v", err, who.of)
	}
}

func TestWhatNoArtifactCanBeMadeOfKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	who := &said{of: map[string]artifact.Claim{}}
	src := &trees{of: map[string]map[string]string{rev("a"): {"bootagent.yaml": "version: 1\nbuild: {run: \"echo $BOOTAGENT_INSTANCE_ID > id\"}\nprocesses: {web: ./bin}\n"}}}
	m := cached(t, src, t.TempDir(), func(o *deploy.Options) {
		o.Cache.Claims, o.Cache.Instance, o.InstanceID = who, "i-0123456789", "i-0123456789"
	})
	prepare(t, m, release(7, "a"))
	keep(t, m, 7)
	for _, claim := range who.of {
		if strings.Contains(claim.Useless, "i-0123456789") {
			return
		}
	}
	t.Errorf("the claims say %v", who.of)
}

func TestARollbackFindsTheArtifactOfTheSameRevision(t *testing.T) {
	t.Parallel()
	dir, none := t.TempDir(), &trees{}
	first := cached(t, shop(), dir, nil)
	prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	prepare(t, cached(t, none, dir, nil), release(9, "a"))
	if none.fetched.Load() != 0 {
		t.Error("it was fetched")
	}
}

func TestACacheThatFailsNeverFailsABoot(t *testing.T) {
	t.Parallel()
	filled := func(t *testing.T) string {
		dir := t.TempDir()
		m := cached(t, shop(), dir, nil)
		prepare(t, m, release(7, "a"))
		keep(t, m, 7)
		return dir
	}
	archive := func(t *testing.T, dir string) string {
		found, err := filepath.Glob(filepath.Join(dir, "shop", "prod", "*", "0.tar.zst"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return found[0]
	}
	for name, c := range map[string]struct {
		dir  func(t *testing.T) string
		says string
	}{
		"missing": {func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, "is not there: make it"},
		"corrupt": {func(t *testing.T) string {
			dir := filled(t)
			write(t, archive(t, dir), strings.Repeat("x", 100))
			return dir
		}, "the archive"},
		"without its archive": {func(t *testing.T) string {
			dir := filled(t)
			if err := os.Remove(archive(t, dir)); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "the archive is not there"},
		"a file": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "file")
			write(t, path, "")
			return path
		}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := shop()
			m := cached(t, src, c.dir(t), nil)
			p := prepare(t, m, release(7, "a"))
			if src.fetched.Load() != 1 || read(t, filepath.Join(p.Dir, "log")) != "built\n" {
				t.Error("it was not built")
			}
			if err := m.CacheProblem(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the problem is %v", err)
			}
		})
	}
}

func TestAfterABadArtifactTheNextInstanceHasAGoodOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := cached(t, shop(), dir, nil)
	prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	found, _ := filepath.Glob(filepath.Join(dir, "shop", "prod", "*", "0.tar.zst"))
	write(t, found[0], "rubbish")
	second, none := cached(t, shop(), dir, nil), &trees{}
	prepare(t, second, release(7, "a"))
	keep(t, second, 7)
	if err := second.CacheProblem(); err != nil {
		t.Errorf("there is a good one now, and the problem is %v", err)
	}
	prepare(t, cached(t, none, dir, nil), release(7, "a"))
	if none.fetched.Load() != 0 {
		t.Error("the third instance fetched")
	}
}

func TestAnotherRecipeInTheConfigurationIsAnotherArtifact(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), shop()
	first := cached(t, src, dir, nil)
	prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	other := cached(t, src, dir, func(o *deploy.Options) { o.Path = "/bin:/usr/bin:/nowhere" })
	prepare(t, other, release(7, "a"))
	if src.fetched.Load() != 2 {
		t.Error("what was built with another PATH was taken")
	}
}

func TestABuildThatChangesItsRecipeIsNotKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &trees{of: map[string]map[string]string{rev("a"): {
		"bootagent.yaml": "version: 1\nbuild: {run: \"echo 'health: {path: /other}' >> bootagent.yaml\"}\nprocesses: {web: ./bin}\n",
	}}}
	m := cached(t, src, dir, nil)
	prepare(t, m, release(7, "a"))
	keep(t, m, 7) // is of no use however often it is tried
	if err := m.CacheProblem(); err == nil || !strings.Contains(err.Error(), "changed the recipe") {
		t.Errorf("the problem is %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("kept: %v, %v", entries, err)
	}
}

func TestACommitThatMustNotRunDoesNotComeFromTheCacheEither(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), shop()
	first := cached(t, src, dir, nil)
	prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	for name, c := range map[string]struct {
		err      error
		revision bool
	}{
		"unsigned":                  {&source.RevisionError{Err: errors.New("nobody signed it")}, true},
		"the server can't be asked": {errors.New("the server is down"), false},
		"signed":                    {nil, false},
	} {
		m := cached(t, src, dir, func(o *deploy.Options) {
			o.Authentic = func(_ context.Context, sha string) error {
				if sha != rev("a") {
					t.Errorf("asked of %s", sha)
				}
				return c.err
			}
		})
		_, err := m.Prepare(t.Context(), release(7, "a"), nil)
		var blamed *deploy.RevisionError
		if (err == nil) != (c.err == nil) || c.err != nil && !errors.Is(err, c.err) || errors.As(err, &blamed) != c.revision {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(onDisk(t, m)) != 0 {
			t.Errorf("%s: it is on the disk", name)
		}
	}
	if src.fetched.Load() != 1 {
		t.Error("it was fetched")
	}
}

func TestPreparingFromTheCacheEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := cached(t, shop(), dir, nil)
	prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	ctx, cancel := context.WithCancelCause(t.Context())
	m := cached(t, &trees{}, dir, func(o *deploy.Options) {
		o.Authentic = func(ctx context.Context, _ string) error {
			cancel(errors.New("enough"))
			<-ctx.Done()
			return ctx.Err()
		}
	})
	if _, err := m.Prepare(ctx, release(7, "a"), nil); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("the error is %v", err)
	}
	if len(onDisk(t, m)) != 0 || m.CacheProblem() != nil {
		t.Error("something was left, or the cache is to blame")
	}
}

func TestWhatComesFromTheCacheIsRootsAndItsReadersTheApp(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("LEFT OUT: what separate users may do to a release is tried by root alone")
	}
	dir := t.TempDir()
	users := func(o *deploy.Options) {
		o.Users = &deploy.Users{Build: deploy.User{Name: "nobody", UID: 65534, GID: 65534}, App: deploy.User{Name: "games", UID: 5, GID: 60}}
		o.Runner = noBuild{runner(t)}
	}
	src := shop()
	first := cached(t, src, dir, users)
	prepare(t, first, release(7, "a"))
	keep(t, first, 7)
	second := cached(t, src, dir, users)
	p := prepare(t, second, release(7, "a"))
	if src.fetched.Load() != 1 {
		t.Fatal("it was fetched twice")
	}
	info, err := os.Stat(filepath.Join(p.Dir, "greeting"))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != 60 || info.Mode().Perm() != 0o755 {
		t.Errorf("greeting is %d:%d's, %v", st.Uid, st.Gid, info.Mode())
	}
}

// noBuild runs nothing.
type noBuild struct{ *units }

func (noBuild) Run(context.Context, unit.Spec, io.Writer) error { return nil }
