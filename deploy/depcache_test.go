package deploy_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy"
)

// carrying is a build that says in the file state what it found in node_modules, and leaves something there for the next one.
const carrying = `version: 1
build:
  cache: [node_modules]
  run: |
    set -e
    cat node_modules/pkg/index > state 2>/dev/null || echo nothing > state
    mkdir -p node_modules/pkg node_modules/.bin
    echo "of $BOOTAGENT_RELEASE" > node_modules/pkg/index
    chmod 0750 node_modules/pkg/index; touch -d 2020-01-02T03:04:05.678 node_modules/pkg/index
    ln -sfn ../pkg/index node_modules/.bin/run; ln -sfn ../lib node_modules/own
    [ ! -e fail ]
processes: {web: x}
`

// revision is a commit with a lock file, and what else is to be in it.
func revision(lock string, more map[string]string) map[string]string {
	tree := map[string]string{"bootagent.yaml": carrying, "package-lock.json": lock, "lib/own.js": "mine"}
	maps.Copy(tree, more)
	return tree
}

// lives prepares a release and keeps what it left, as one that is in service is.
func lives(t *testing.T, m *deploy.Machine, number int64, letter string) deploy.Prepared {
	t.Helper()
	p := prepare(t, m, release(number, letter))
	keep(t, m, number)
	return p
}

// foundBy is what a release's build found.
func foundBy(t *testing.T, p deploy.Prepared) string {
	t.Helper()
	return strings.TrimSpace(read(t, filepath.Join(p.Dir, "state")))
}

func noProblem(t *testing.T, m *deploy.Machine) {
	t.Helper()
	if err := m.CacheProblem(); err != nil {
		t.Errorf("there is a problem: %v", err)
	}
}

func TestTheNextBuildFindsWhatTheLastOneLeft(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{rev("a"): revision("1", nil), rev("b"): revision("1", map[string]string{"more": "x"})}}
	m := machine(t, src, nil)
	if got := foundBy(t, lives(t, m, 1, "a")); got != "nothing" {
		t.Errorf("the first build found %q", got)
	}
	again, err := deploy.New(m.Options) // also after a restart
	if err != nil {
		t.Fatal(err)
	}
	first, p := filepath.Join(m.StateDir, "trees", "1", "app", "node_modules"), prepare(t, again, release(2, "b"))
	if got := foundBy(t, p); got != "of 1" {
		t.Errorf("the second build found %q", got)
	}
	if got := read(t, filepath.Join(first, "pkg", "index")); got != "of 1\n" {
		t.Errorf("the second build changed the first release: it has %q", got)
	}
	keep(t, again, 2)
	if got := foundBy(t, prepare(t, again, release(3, "a"))); got != "of 2" {
		t.Errorf("the third build found %q, which is not the newest", got)
	}
	noProblem(t, again)
}

func TestWhatIsCarriedKeepsItsModesLinksAndTimes(t *testing.T) {
	t.Parallel()
	tree := revision("1", nil)
	tree["bootagent.yaml"] = strings.Replace(carrying, "    set -e\n", "    set -e\n    cp -a node_modules as-found 2>/dev/null || true\n", 1)
	m := machine(t, &trees{of: map[string]map[string]string{rev("a"): tree, rev("b"): tree}}, nil)
	lives(t, m, 1, "a")
	p := prepare(t, m, release(2, "b"))
	info, err := os.Stat(filepath.Join(p.Dir, "as-found", "pkg", "index"))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2020, 1, 2, 3, 4, 5, 678e6, time.Local); info.Mode().Perm() != 0o750 || !info.ModTime().Equal(want) {
		t.Errorf("it is %v of %v", info.Mode(), info.ModTime())
	}
	for link, want := range map[string]string{".bin/run": "../pkg/index", "own": "../lib"} {
		if to, err := os.Readlink(filepath.Join(p.Dir, "as-found", link)); err != nil || to != want {
			t.Errorf("%s leads to %q, %v", link, to, err)
		}
	}
	noProblem(t, m)
}

func TestWhenABuildBeginsWithNothing(t *testing.T) {
	t.Parallel()
	other := strings.Replace(carrying, "set -e", "set -e; true", 1)
	for name, c := range map[string]map[string]string{
		"another lock":          revision("2", nil),
		"one lock more":         revision("1", map[string]string{"yarn.lock": ""}),
		"no lock":               {"bootagent.yaml": carrying},
		"another command":       revision("1", map[string]string{"bootagent.yaml": other}),
		"another environment":   revision("1", map[string]string{"bootagent.yaml": strings.Replace(carrying, "build:", "build:\n  environment: {NODE_ENV: test}", 1)}),
		"another directory too": revision("1", map[string]string{"bootagent.yaml": strings.Replace(carrying, "[node_modules]", "[other]", 1)}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t, &trees{of: map[string]map[string]string{rev("a"): revision("1", nil), rev("b"): c}}, nil)
			lives(t, m, 1, "a")
			if got := foundBy(t, prepare(t, m, release(2, "b"))); got != "nothing" {
				t.Errorf("it found %q", got)
			}
			noProblem(t, m)
		})
	}
}

func TestABuildThatRewritesItsLockIsFoundByTheCommitsLock(t *testing.T) {
	t.Parallel()
	tree := revision("1", map[string]string{"bootagent.yaml": strings.Replace(carrying, "set -e", "set -e; echo $BOOTAGENT_RELEASE > package-lock.json", 1)})
	m := machine(t, &trees{of: map[string]map[string]string{rev("a"): tree, rev("b"): tree}}, nil)
	lives(t, m, 1, "a")
	if got := foundBy(t, prepare(t, m, release(2, "b"))); got != "of 1" {
		t.Errorf("it found %q", got)
	}
}

func TestABuildThatFailsLeavesNothingForTheNext(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{rev("a"): revision("1", map[string]string{"fail": ""}), rev("b"): revision("1", nil)}}
	m := machine(t, src, nil)
	var bad *deploy.RevisionError
	if _, err := m.Prepare(t.Context(), release(1, "a"), nil); !errors.As(err, &bad) {
		t.Fatal(err)
	}
	keep := m.Keep(t.Context(), 1) // as an agent never would
	if got := foundBy(t, prepare(t, m, release(2, "b"))); got != "nothing" {
		t.Errorf("it found %q; keeping said %v", got, keep)
	}
}

func TestWhatTheCommitHasThereCounts(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for name, c := range map[string]struct {
		more map[string]string
		want string
	}{
		"the directory":           {map[string]string{"node_modules/pkg/index": "the commit's"}, "the commit's"},
		"an empty one":            {map[string]string{"node_modules/.keep": ""}, "nothing"},
		"a link out of the tree":  {map[string]string{"node_modules": "-> " + outside}, "nothing"},
		"a link inside":           {map[string]string{"node_modules": "-> lib"}, "nothing"},
		"a link that leads to no": {map[string]string{"node_modules": "-> nowhere"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := revision("1", c.more)
			src := &trees{of: map[string]map[string]string{rev("a"): revision("1", nil), rev("b"): tree, rev("c"): revision("1", nil)}}
			m := machine(t, src, nil)
			lives(t, m, 1, "a")
			p, err := m.Prepare(t.Context(), release(2, "b"), nil)
			if c.want == "" {
				var bad *deploy.RevisionError // mkdir -p of the build's own
				if !errors.As(err, &bad) {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := foundBy(t, p); got != c.want {
				t.Errorf("it found %q", got)
			}
			keep(t, m, 2) // what is the commit's is not carried
			if got := foundBy(t, prepare(t, m, release(3, "c"))); got != "of 1" {
				t.Errorf("the third found %q", got)
			}
			noProblem(t, m)
		})
	}
}

func TestALinkInTheWayWritesNothingOutside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	const nested = "version: 1\nbuild: {cache: [vendor/deps], run: 'mkdir -p vendor/deps && echo x > vendor/deps/file'}\nprocesses: {web: x}\n"
	const still = "version: 1\nbuild: {cache: [vendor/deps], run: 'mkdir -p vendor/deps && echo x > vendor/deps/file'}\nprocesses: {web: y}\n"
	for name, to := range map[string]string{"outside": outside, "in the release": "lib"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t, &trees{of: map[string]map[string]string{
				rev("a"): {"bootagent.yaml": nested},
				rev("b"): {"bootagent.yaml": still, "lib/x": "", "vendor": "-> " + to},
				rev("c"): {"bootagent.yaml": still, "lib/x": "", "vendor/x": ""},
			}}, nil)
			lives(t, m, 1, "a")
			// The build that would write through the link by itself runs nothing: what is there was filled.
			o := m.Options
			o.Runner = noBuild{runner(t)}
			m, err := deploy.New(o)
			if err != nil {
				t.Fatal(err)
			}
			p := prepare(t, m, release(2, "b"))
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
				t.Errorf("outside there are %v, %v", entries, err)
			}
			if _, err := os.Lstat(filepath.Join(p.Dir, "lib", "deps")); err == nil {
				t.Error("it was filled through the link")
			}
			noProblem(t, m)
			if got := read(t, filepath.Join(prepare(t, m, release(3, "c")).Dir, "vendor", "deps", "file")); got != "x\n" {
				t.Errorf("without a link in the way it was filled with %q", got)
			}
		})
	}
}
