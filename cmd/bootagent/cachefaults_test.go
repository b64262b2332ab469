package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/fault"
	regionwire "github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/unit"
)

// checkout is a source of the artifacts' tree.
type checkout struct {
	tree    string
	fetched atomic.Int32
}

func (*checkout) Resolve(_ context.Context, ref string) (string, error) { return ref, nil }

func (c *checkout) Fetch(_ context.Context, _, dir string) error {
	c.fetched.Add(1)
	return errors.Join(os.CopyFS(dir, os.DirFS(c.tree)), os.WriteFile(filepath.Join(dir, "Procfile"), []byte("web: ./server\n"), 0o644))
}

// noUnits is a runner without units.
type noUnits struct{}

func (noUnits) List(context.Context) ([]unit.Status, error) { return nil, nil }
func (noUnits) Run(context.Context, unit.Spec, io.Writer) error {
	return errors.New("nothing is to be built here")
}

// machine is an instance that takes releases from the cache, or builds them.
func (a *artifacts) machine() (*deploy.Machine, *checkout) {
	a.t.Helper()
	src := &checkout{tree: a.tree}
	m, err := deploy.New(deploy.Options{App: "shop", Env: "prod", InstanceID: "i-0123456789", StateDir: a.t.TempDir(), Source: src, Runner: noUnits{}, Cache: a.cache()})
	if err != nil {
		a.t.Fatal(err)
	}
	return m, src
}

var theRelease = model.Release{Number: 7, Ref: "main", Revision: strings.Repeat("a", 40)}

// prepare brings the release onto a machine, whole and alone.
func (a *artifacts) prepare(m *deploy.Machine) {
	a.t.Helper()
	p, err := m.Prepare(a.t.Context(), theRelease, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	want, err1 := os.ReadFile(filepath.Join(a.tree, "noise"))
	got, err2 := os.ReadFile(filepath.Join(p.Dir, "noise"))
	if !bytes.Equal(want, got) {
		a.t.Errorf("it is another tree (%v, %v)", err1, err2)
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) != 3 {
		a.t.Errorf("the tree has %v, %v", left, err)
	}
	if trees, err := os.ReadDir(filepath.Join(m.StateDir, "trees")); err != nil || len(trees) != 1 {
		a.t.Errorf("there are the trees %v, %v", trees, err)
	}
}

// answers changes what S3 sends of objects that are larger, or smaller, than a manifest.
func answers(archive bool, change func(context.Context, io.Reader) io.Reader) fault.Effect {
	return func(ctx context.Context, _ regionwire.Call, next func() (any, error)) (any, error) {
		result, err := next()
		if resp, ok := result.(*regionwire.Response); ok && resp.Body != nil && (resp.Size > 100<<10) == archive {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{change(ctx, resp.Body), resp.Body}
		}
		return result, err
	}
}

func flipped(_ context.Context, r io.Reader) io.Reader {
	return io.MultiReader(io.LimitReader(r, 20), strings.NewReader("\x00"), &skipping{r, 1})
}

// swap puts another archive in the place of the one that is there.
func (a *artifacts) swap(with []byte) {
	store, err := openStore("s3://artifacts/built/here", a.session)
	if err != nil {
		a.t.Error(err)
		return
	}
	objects, err := store.List(a.t.Context(), "shop/prod/")
	if err != nil {
		a.t.Error(err)
	}
	for _, o := range objects {
		if !strings.HasSuffix(o.Name, ".tar.zst") {
			continue
		}
		if err := errors.Join(store.Remove(a.t.Context(), o.Name), store.Put(a.t.Context(), o.Name, bytes.NewReader(with), int64(len(with)))); err != nil {
			a.t.Error(err)
		}
	}
}

// silent sends a part, and then nothing until the client is gone.
func silent(ctx context.Context, r io.Reader) io.Reader {
	return io.MultiReader(io.LimitReader(r, 1<<20), waiting{ctx})
}

type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, io.EOF
}

func endsAt(n int64) func(context.Context, io.Reader) io.Reader {
	return func(_ context.Context, r io.Reader) io.Reader { return io.LimitReader(r, n) }
}

// kept is a fleet whose first instance has built the release and kept it.
func kept(t *testing.T) *artifacts {
	t.Helper()
	a := newArtifacts(t)
	first, _ := a.machine()
	a.prepare(first)
	if err := first.Keep(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestWhateverBreaksOnTheWayFromS3TheReleaseIsServed: what the cache can't give is built, and said. The artifact is none the worse for it.
func TestWhateverBreaksOnTheWayFromS3TheReleaseIsServed(t *testing.T) {
	t.Parallel()
	a := kept(t)
	expired := fault.Fail(&regionwire.Error{Code: "ExpiredToken", Message: "The provided token has expired.", Status: http.StatusForbidden})
	for name, c := range map[string]struct {
		rule fault.Rule
		says string // "" for one that is served from the cache all the same
	}{
		"cut in each piece":                   {fault.Rule{Effect: answers(true, endsAt(100))}, "unexpected EOF"},
		"cut in the last piece":               {fault.Rule{Skip: 3, Effect: answers(true, endsAt(100))}, "unexpected EOF"},
		"cut once":                            {fault.Rule{Skip: 1, Count: 1, Effect: answers(true, endsAt(3<<20))}, ""},
		"cut in the manifest":                 {fault.Rule{Effect: answers(false, endsAt(50))}, "unexpected EOF"},
		"cut once in the manifest":            {fault.Rule{Count: 1, Effect: answers(false, endsAt(50))}, ""},
		"a flip in one piece":                 {fault.Rule{Skip: 2, Count: 1, Effect: answers(true, flipped)}, ""},
		"a flip in the manifest":              {fault.Rule{Count: 1, Effect: answers(false, flipped)}, ""},
		"a server that falls silent":          {fault.Rule{Effect: answers(true, silent)}, "got no answer within"},
		"credentials that expire in mid-read": {fault.Rule{Skip: 3, Effect: expired}, "the credentials have expired"},
	} {
		c.rule.Operation = "GetObject"
		rule := a.region.Faults.Add(c.rule)
		one := *a
		if strings.Contains(name, "silent") {
			s := *a.session
			s.Timeout, one.session = 1500*time.Millisecond, &s // else half a minute
		}
		m, src := one.machine()
		a.prepare(m)
		if rule.Remove(); rule.Hits() == 0 {
			t.Errorf("%s: nothing happened", name)
		}
		a.came(name, m, src, c.says)
	}
	a.stored(1)
}

// came holds a machine to where its release came from.
func (a *artifacts) came(what string, m *deploy.Machine, src *checkout, says string) {
	a.t.Helper()
	problem := m.CacheProblem()
	switch {
	case says == "" && (problem != nil || src.fetched.Load() != 0):
		a.t.Errorf("%s: it was built: %v", what, problem)
	case says != "" && (src.fetched.Load() != 1 || problem == nil || !strings.Contains(problem.Error(), "release 7 is built here") || !strings.Contains(problem.Error(), says)):
		a.t.Errorf("%s: fetched %d times, and the problem is %v", what, src.fetched.Load(), problem)
	}
	if err := m.Keep(a.t.Context(), 7); err != nil || m.CacheProblem() != nil {
		a.t.Errorf("%s: kept: %v, %v", what, err, m.CacheProblem())
	}
}

// stored holds the store to so many artifacts, of which the next instance takes one.
func (a *artifacts) stored(want int) {
	a.t.Helper()
	list, err := a.cache().List(a.t.Context())
	if err != nil || len(list) != want {
		a.t.Errorf("there are %d artifacts, not %d (%v)", len(list), want, err)
	}
	m, src := a.machine()
	a.prepare(m)
	if err := m.CacheProblem(); src.fetched.Load() != 0 || err != nil {
		a.t.Errorf("the next one built it: %v", err)
	}
}

// TestABadArtifactInS3IsMadeAnew: what is not what the fleet has recorded, however often it is read, is no network's fault.
func TestABadArtifactInS3IsMadeAnew(t *testing.T) {
	t.Parallel()
	var other bytes.Buffer // a sound archive, of another tree
	evil := t.TempDir()
	if err := os.WriteFile(filepath.Join(evil, "Procfile"), []byte("web: ./evil\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Pack(t.Context(), artifact.Packing{Dir: evil}, &other); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rule func(*artifacts) fault.Rule
		says string
	}{
		"flips in the archive":  {func(*artifacts) fault.Rule { return fault.Rule{Effect: answers(true, flipped)} }, "is not what its manifest says"},
		"flips in the manifest": {func(*artifacts) fault.Rule { return fault.Rule{Effect: answers(false, flipped)} }, "not the one that the fleet has recorded"},
		"an archive that is swapped after its manifest was read": {func(a *artifacts) fault.Rule {
			return fault.Rule{Count: 1, Effect: func(_ context.Context, _ regionwire.Call, next func() (any, error)) (any, error) {
				result, err := next()
				a.swap(other.Bytes())
				return result, err
			}}
		}, "the archive ends at byte"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := kept(t)
			rule := c.rule(a)
			rule.Operation = "GetObject"
			active := a.region.Faults.Add(rule)
			m, src := a.machine()
			a.prepare(m)
			if active.Remove(); active.Hits() == 0 {
				t.Error("nothing happened")
			}
			a.came(name, m, src, c.says)
			a.stored(2)
		})
	}
}
