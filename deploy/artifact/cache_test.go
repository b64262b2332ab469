package artifact_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/artifact"
)

const revision = "0123456789abcdef0123456789abcdef01234567"

// store is a directory, some of whose ways can be replaced.
type store struct {
	*artifact.Directory
	read func(ctx context.Context, name string, from int64, p []byte) (int, error)
	put  func(ctx context.Context, name string, body io.ReadSeeker, size int64) error
}

func (s *store) Read(ctx context.Context, name string, from int64, p []byte) (int, error) {
	if s.read != nil {
		return s.read(ctx, name, from, p)
	}
	return s.Directory.Read(ctx, name, from, p)
}

func (s *store) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if s.put != nil {
		return s.put(ctx, name, body, size)
	}
	return s.Directory.Put(ctx, name, body, size)
}

// ledger is the fleet's records, in memory.
type ledger struct {
	mu      sync.Mutex
	entries map[string]artifact.Entry
	err     error
}

func (l *ledger) Entry(_ context.Context, key string) (artifact.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[key], l.err
}

func (l *ledger) Record(_ context.Context, key string, was, is artifact.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries[key] != was {
		return fs.ErrExist
	}
	l.entries[key] = is
	return l.err
}

// caching is one instance with a cache that it may share.
type caching struct {
	*artifact.Cache
	t     *testing.T
	state string
	store *store
}

func instance(t *testing.T, dir string, l *ledger) caching {
	t.Helper()
	s := &store{Directory: artifact.OpenDirectory(dir)}
	o := artifact.Options{Store: s, App: "shop", Env: "prod", Scratch: t.TempDir()}
	if l != nil {
		o.Ledger = l
	}
	return caching{artifact.New(o), t, t.TempDir(), s}
}

func (c caching) wanted() artifact.Wanted {
	return artifact.Wanted{Revision: revision, Inputs: artifact.Inputs{"system": "debian 12"}, Home: filepath.Join(c.state, "app")}
}

func (c caching) keep(dir string) (artifact.Kept, error) {
	c.t.Helper()
	return c.Keep(c.t.Context(), c.wanted(), artifact.Built{Instance: "i-0123456789", Release: 7, Revision: revision, At: time.Unix(1, 0)}, artifact.Packing{Dir: dir}, []string{c.state})
}

// mustKeep keeps a tree and gives its artifact's name.
func (c caching) mustKeep(dir string) string {
	c.t.Helper()
	k, err := c.keep(dir)
	if err != nil || k.Name == "" {
		c.t.Fatalf("kept %+v, %v", k, err)
	}
	return k.Name
}

// boot finds and unpacks.
func (c caching) boot(to string) error {
	c.t.Helper()
	f, err := c.Find(c.t.Context(), c.wanted())
	if err != nil {
		return err
	}
	err = c.Unpack(c.t.Context(), f, to)
	if err == nil {
		c.t.Cleanup(func() { _ = os.Chmod(filepath.Join(to, "lib/deep"), 0o755) })
	} else {
		nothingIn(c.t, to)
	}
	return err
}

func TestOneInstanceBuildsAndTheNextFetches(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]*ledger{"alone": nil, "in a fleet": {entries: map[string]artifact.Entry{}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, tree := t.TempDir(), built(t)
			first, second := instance(t, dir, l), instance(t, dir, l)
			if err := first.boot(t.TempDir()); !errors.Is(err, artifact.ErrMiss) {
				t.Fatalf("before anything was built: %v", err)
			}
			first.mustKeep(tree)
			to := t.TempDir()
			if err := second.boot(to); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(inventory(t, tree), inventory(t, to)); d != "" {
				t.Error(d)
			}
			if k, err := second.keep(to); err != nil || !k.Already {
				t.Errorf("kept a second time: %+v, %v", k, err)
			}
			scratch, err := os.ReadDir(first.Scratch)
			if err != nil || len(scratch) > 0 {
				t.Errorf("left in the scratch directory: %v, %v", scratch, err)
			}
		})
	}
}

func TestAnArtifactOfAnotherKindIsNotFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := instance(t, dir, nil)
	c.mustKeep(built(t))
	other := c.wanted()
	other.Inputs = artifact.Inputs{"system": "debian 13"}
	if _, err := c.Find(t.Context(), other); !errors.Is(err, artifact.ErrMiss) {
		t.Errorf("on another system: %v", err)
	}
	c.Env = "staging"
	if _, err := c.Find(t.Context(), c.wanted()); !errors.Is(err, artifact.ErrMiss) {
		t.Errorf("of another env: %v", err)
	}
}

func TestWhatHoldsItsDirectorysNameServesThatDirectoryAlone(t *testing.T) {
	t.Parallel()
	dir, tree := t.TempDir(), built(t)
	c, other := instance(t, dir, nil), instance(t, dir, nil)
	if err := os.WriteFile(filepath.Join(tree, "activate"), []byte("cd "+c.state+"/app"), 0o644); err != nil {
		t.Fatal(err)
	}
	if name := c.mustKeep(tree); !strings.Contains(name, ".at-") {
		t.Errorf("it is kept as %s", name)
	}
	if err := c.boot(t.TempDir()); err != nil {
		t.Errorf("in its own directory: %v", err)
	}
	if err := other.boot(t.TempDir()); !errors.Is(err, artifact.ErrMiss) {
		t.Errorf("in another directory: %v", err)
	}
}

func TestWhatHoldsTheInstancesIDIsKeptFromOthers(t *testing.T) {
	t.Parallel()
	dir, tree := t.TempDir(), built(t)
	if err := os.WriteFile(filepath.Join(tree, "facts"), []byte("id=i-0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	var unfit *artifact.UnfitError
	if _, err := instance(t, dir, nil).keep(tree); !errors.As(err, &unfit) {
		t.Errorf("the error is %v", err)
	}
	nothingIn(t, dir)
}

// damage changes an object in place.
func damage(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(data), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestABadObjectIsNeverFinal(t *testing.T) {
	t.Parallel()
	flip := func(at func(n int) int) func([]byte) []byte {
		return func(b []byte) []byte { b[at(len(b))] ^= 1; return b }
	}
	for name, c := range map[string]struct {
		object string
		change func([]byte) []byte
		fleet  bool
	}{
		"a flipped bit in the archive":   {".tar.zst", flip(func(n int) int { return n / 2 }), false},
		"the archive's end is missing":   {".tar.zst", func(b []byte) []byte { return b[:len(b)-1] }, false},
		"an empty archive":               {".tar.zst", func([]byte) []byte { return nil }, false},
		"an archive swapped afterwards":  {".tar.zst", func(b []byte) []byte { return []byte(strings.Repeat("x", len(b))) }, true},
		"a manifest that is no manifest": {".json", func([]byte) []byte { return []byte("{}") }, false},
		"a manifest cut in the middle":   {".json", func(b []byte) []byte { return b[:len(b)/2] }, false},
		"a manifest swapped afterwards":  {".json", func(b []byte) []byte { return append(b, ' ') }, true},
		"a manifest without end":         {".json", func(b []byte) []byte { return append(b, make([]byte, 2<<20)...) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l *ledger
			if c.fleet {
				l = &ledger{entries: map[string]artifact.Entry{}}
			}
			dir, tree := t.TempDir(), built(t)
			name := instance(t, dir, l).mustKeep(tree)
			damage(t, filepath.Join(dir, name+c.object), c.change)
			second := instance(t, dir, l)
			if err := second.boot(t.TempDir()); err == nil || errors.Is(err, artifact.ErrMiss) {
				t.Fatalf("booted from it: %v", err)
			}
			again := second.mustKeep(tree)
			if !strings.HasSuffix(name, "/0") || !strings.HasSuffix(again, "/1") {
				t.Errorf("generations %s and %s", name, again)
			}
			if err := instance(t, dir, l).boot(t.TempDir()); err != nil {
				t.Errorf("from the next generation: %v", err)
			}
		})
	}
}

func TestVerifyingReadsWhatUnpackingLeavesToIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := &ledger{entries: map[string]artifact.Entry{}}
	c := instance(t, dir, l)
	name := c.mustKeep(built(t))
	verify := func(c caching) error {
		all, err := c.List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return c.Verify(t.Context(), all[0])
	}
	if err := verify(c); err != nil {
		t.Error(err)
	}
	damage(t, filepath.Join(dir, name+".json"), func(data []byte) []byte {
		m, err := artifact.ParseManifest(data, artifact.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		m.Content.SHA256 = strings.Repeat("0", 64)
		return encoded(t, m)
	})
	for says, c := range map[string]caching{"its content is not": instance(t, dir, nil), "not the one that the fleet has recorded": c} {
		var bad *artifact.BadError
		if err := verify(c); !errors.As(err, &bad) || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v, and not %q", err, says)
		}
	}
}

func TestAMissingArchiveIsABadObject(t *testing.T) {
	t.Parallel()
	dir, tree := t.TempDir(), built(t)
	name := instance(t, dir, nil).mustKeep(tree)
	if err := os.Remove(filepath.Join(dir, name+".tar.zst")); err != nil {
		t.Fatal(err)
	}
	second := instance(t, dir, nil)
	var bad *artifact.BadError
	if err := second.boot(t.TempDir()); !errors.As(err, &bad) {
		t.Fatalf("the error is %v", err)
	}
	second.mustKeep(tree)
}

func TestAManifestThatTheFleetHasNotRecordedIsNoArtifact(t *testing.T) {
	t.Parallel()
	dir, tree := t.TempDir(), built(t)
	instance(t, dir, nil).mustKeep(tree) // by somebody who can write objects, and no records
	l := &ledger{entries: map[string]artifact.Entry{}}
	c := instance(t, dir, l)
	if err := c.boot(t.TempDir()); !errors.Is(err, artifact.ErrMiss) {
		t.Fatalf("booted from it: %v", err)
	}
	if name := c.mustKeep(tree); !strings.HasSuffix(name, "/1") {
		t.Errorf("kept as %s", name)
	}
	if err := c.boot(t.TempDir()); err != nil {
		t.Error(err)
	}
	l.err = errors.New("the table is away")
	if err := c.boot(t.TempDir()); err == nil || !strings.Contains(err.Error(), "the table is away") {
		t.Errorf("without the records: %v", err)
	}
}

func TestTwoInstancesThatBuildAtTheSameTimeMakeOneArtifact(t *testing.T) {
	t.Parallel()
	dir, tree := t.TempDir(), built(t)
	l := &ledger{entries: map[string]artifact.Entry{}}
	var names sync.Map
	var wait sync.WaitGroup
	for range 4 {
		c := instance(t, dir, l)
		wait.Go(func() {
			if k, err := c.keep(tree); err != nil {
				t.Error(err)
			} else if k.Name != "" {
				names.Store(k.Name, true)
			}
		})
	}
	wait.Wait()
	n := 0
	names.Range(func(any, any) bool { n++; return true })
	if n == 0 {
		t.Error("nobody kept it")
	}
	if err := instance(t, dir, l).boot(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestAFlipInTheNetworkIsReadOnceMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	instance(t, dir, nil).mustKeep(built(t))
	c := instance(t, dir, nil)
	var once sync.Once
	c.store.read = func(ctx context.Context, name string, from int64, p []byte) (int, error) {
		n, err := c.store.Directory.Read(ctx, name, from, p)
		if strings.HasSuffix(name, ".tar.zst") {
			once.Do(func() { p[n/2] ^= 1 })
		}
		return n, err
	}
	if err := c.boot(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestReadingThatFailsHalfWayLeavesNothingAndBlamesNobody(t *testing.T) {
	t.Parallel()
	dir, tree := t.TempDir(), built(t)
	noise(t, filepath.Join(tree, "noise"), 20<<20)
	instance(t, dir, nil).mustKeep(tree)
	for _, after := range []int64{0, 4 << 20, 16 << 20} {
		c := instance(t, dir, nil)
		c.store.read = func(ctx context.Context, name string, from int64, p []byte) (int, error) {
			if strings.HasSuffix(name, ".tar.zst") && from >= after {
				return 0, errors.New("the credentials have expired")
			}
			return c.store.Directory.Read(ctx, name, from, p)
		}
		err := c.boot(t.TempDir())
		var bad *artifact.BadError
		if err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("after %d bytes: %v", after, err)
		}
		if k, err := c.keep(tree); err != nil || !k.Already {
			t.Errorf("the artifact is taken for a bad one: %+v, %v", k, err)
		}
	}
}

// noise is a file that can't be compressed.
func noise(t testing.TB, path string, size int) {
	t.Helper()
	data := make([]byte, size)
	x := uint32(1)
	for i := range data {
		x = x*1664525 + 1013904223
		data[i] = byte(x >> 24)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAStoreThatTakesNothingLeavesNothingHere(t *testing.T) {
	t.Parallel()
	dir, tree := t.TempDir(), built(t)
	l := &ledger{entries: map[string]artifact.Entry{}}
	for _, end := range []string{".tar.zst", ".json"} {
		c := instance(t, dir, l)
		c.store.put = func(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
			if strings.HasSuffix(name, end) {
				return fmt.Errorf("no space left for %s", name)
			}
			return c.store.Directory.Put(ctx, name, body, size)
		}
		if _, err := c.keep(tree); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("the error is %v", err)
		}
		nothingIn(t, c.Scratch)
		if err := c.boot(t.TempDir()); !errors.Is(err, artifact.ErrMiss) {
			t.Errorf("half an artifact: %v", err)
		}
	}
	instance(t, dir, l).mustKeep(tree)
}

func TestADirectoryNeverWritesOverAnObject(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := artifact.OpenDirectory(path)
	ctx := t.Context()
	if err := d.Put(ctx, "a/b/0.json", strings.NewReader("one"), 3); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(ctx, "a/b/0.json", strings.NewReader("two"), 3); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second: %v", err)
	}
	if err := d.Put(ctx, "a/c", strings.NewReader("short"), 9); err == nil {
		t.Error("a body of another size was taken")
	}
	if err := d.Put(ctx, "../c", strings.NewReader("x"), 1); err == nil {
		t.Error("a step out was taken")
	}
	p := make([]byte, 9)
	if n, err := d.Read(ctx, "a/b/0.json", 1, p); err != nil || string(p[:n]) != "ne" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	if _, err := d.Read(ctx, "a/nothing", 0, p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	got, err := d.List(ctx, "a/b")
	if err != nil || len(got) != 1 || got[0].Name != "a/b/0.json" || got[0].Size != 3 {
		t.Errorf("listed %v, %v", got, err)
	}
	if got, err := d.List(ctx, "other/x"); err != nil || len(got) != 0 {
		t.Errorf("listed %v, %v", got, err)
	}
	if err := errors.Join(d.Remove(ctx, "a/b/0.json"), d.Remove(ctx, "a/b/0.json")); err != nil {
		t.Error(err)
	}
	nothingIn(t, path)
	if _, err := artifact.OpenDirectory(filepath.Join(path, "none")).Read(ctx, "a", 0, p); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestAMachineIsKnownByItsSystemAndItsTools(t *testing.T) {
	t.Parallel()
	etc, bin := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	machine := func() artifact.Inputs {
		in, err := artifact.Machine(etc, bin)
		if err != nil {
			t.Fatal(err)
		}
		return maps.Clone(in)
	}
	if _, err := artifact.Machine(etc, bin); err == nil {
		t.Error("a machine without os-release has inputs")
	}
	write(filepath.Join(etc, "os-release"), "NAME=Debian\nID=debian\nVERSION_ID=\"12\"\n")
	write(filepath.Join(bin, "gcc"), "gcc 12")
	one := machine()
	if one["system"] != "debian 12" {
		t.Errorf("the system is %q", one["system"])
	}
	key := one.Key(revision)
	if again := machine(); again.Key(revision) != key {
		t.Error("the same machine has another key")
	}
	write(filepath.Join(bin, "gcc"), "gcc 13")
	if machine().Key(revision) == key {
		t.Error("another compiler has the same key")
	}
	write(filepath.Join(bin, "gcc"), "gcc 12")
	write(filepath.Join(bin, "node"), "v22")
	if machine().Key(revision) == key {
		t.Error("another tool has the same key")
	}
	if err := os.Remove(filepath.Join(bin, "node")); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(etc, "os-release"), "ID=debian\nVERSION_ID=13\n")
	if machine().Key(revision) == key {
		t.Error("another system has the same key")
	}
}
