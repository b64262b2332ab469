package artifact_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/artifact"
)

// claims are the fleet's records, in memory.
type claims struct {
	mu  sync.Mutex
	of  map[string]artifact.Claim
	err error
}

func (c *claims) Claim(_ context.Context, key string) (artifact.Claim, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[key], c.err
}

func (c *claims) Swap(_ context.Context, key string, was, is artifact.Claim) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.of[key] != was:
		return fs.ErrExist
	case is == artifact.Claim{}:
		delete(c.of, key)
	default:
		c.of[key] = is
	}
	return nil
}

// only is the one claim there is.
func (c *claims) only() artifact.Claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, claim := range c.of {
		return claim
	}
	return artifact.Claim{}
}

// quick is a patience for tests: nobody is dead, and nobody waits in vain, unless a test says so.
func quick() artifact.Patience {
	return artifact.Patience{Renew: 5 * time.Millisecond, Dead: time.Hour, Look: 2 * time.Millisecond, Most: time.Hour}
}

// builder is an instance of a fleet that shares claims.
func builder(t *testing.T, name, dir string, c *claims, p artifact.Patience) caching {
	t.Helper()
	i := instance(t, dir, nil)
	i.Claims, i.Instance, i.Patience = c, name, p
	return i
}

func oneFile(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "server"), []byte("server"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func ignore(string) {}

func TestOneInstanceBuildsAndAllOthersTakeWhatItMade(t *testing.T) {
	t.Parallel()
	dir, c, tree := t.TempDir(), &claims{of: map[string]artifact.Claim{}}, oneFile(t)
	var builds, fetched atomic.Int64
	var fleet sync.WaitGroup
	for n := range 8 {
		i := builder(t, "i-"+strconv.Itoa(n), dir, c, quick())
		fleet.Go(func() {
			_, err := i.Turn(t.Context(), i.wanted(), ignore)
			switch {
			case err == nil:
				fetched.Add(1)
			case errors.Is(err, artifact.ErrMiss):
				builds.Add(1)
				err = i.Claimed(t.Context(), i.wanted(), func() error {
					_, err := i.keep(tree)
					return err
				})
				if err := errors.Join(err, i.Release(t.Context(), i.wanted(), nil)); err != nil {
					t.Error(err)
				}
			default:
				t.Error(err)
			}
		})
	}
	fleet.Wait()
	if builds.Load() != 1 || fetched.Load() != 7 || len(c.of) != 0 {
		t.Errorf("%d instances built and %d fetched, and these claims are left: %v", builds.Load(), fetched.Load(), c.of)
	}
}

func TestWhoWaitsIsToldForWhomOnceAndMayStop(t *testing.T) {
	t.Parallel()
	c := &claims{of: map[string]artifact.Claim{}}
	first, second := builder(t, "i-1", t.TempDir(), c, quick()), builder(t, "i-2", t.TempDir(), c, quick())
	if _, err := first.Turn(t.Context(), first.wanted(), ignore); !errors.Is(err, artifact.ErrMiss) {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var told []string
	_, err := second.Turn(ctx, second.wanted(), func(instance string) {
		told = append(told, instance)
		time.AfterFunc(20*time.Millisecond, func() { stop(enough) })
	})
	if !errors.Is(err, enough) || len(told) != 1 || told[0] != "i-1" {
		t.Errorf("told %v, and ended with %v", told, err)
	}
}

func TestAnInstanceThatDiesWhileItBuildsIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	c := &claims{of: map[string]artifact.Claim{}}
	p := quick()
	p.Dead = 10 * time.Millisecond
	dead, second := builder(t, "i-1", t.TempDir(), c, p), builder(t, "i-2", t.TempDir(), c, p)
	for _, i := range []caching{dead, second} {
		if _, err := i.Turn(t.Context(), i.wanted(), ignore); !errors.Is(err, artifact.ErrMiss) {
			t.Fatal(err)
		}
	}
	if got := c.only(); got.Instance != "i-2" {
		t.Errorf("the claim is %+v", got)
	}
}

func TestAnInstanceThatSaysThatItBuildsIsNotTakenForDead(t *testing.T) {
	t.Parallel()
	c := &claims{of: map[string]artifact.Claim{}}
	p := quick()
	p.Dead = 2 * time.Second
	first, second := builder(t, "i-1", t.TempDir(), c, p), builder(t, "i-2", t.TempDir(), c, p)
	if _, err := first.Turn(t.Context(), first.wanted(), ignore); !errors.Is(err, artifact.ErrMiss) {
		t.Fatal(err)
	}
	err := first.Claimed(t.Context(), first.wanted(), func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := second.Turn(ctx, second.wanted(), ignore); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits ended with %v", err)
		}
		return nil
	})
	if got := c.only(); err != nil || got.Instance != "i-1" || got.Serial < 3 {
		t.Errorf("the claim is %+v, %v", got, err)
	}
}

func TestABuildThatTakesTooLongIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	c := &claims{of: map[string]artifact.Claim{}}
	p := quick()
	p.Most = 10 * time.Millisecond
	first, second := builder(t, "i-1", t.TempDir(), c, p), builder(t, "i-2", t.TempDir(), c, p)
	if _, err := first.Turn(t.Context(), first.wanted(), ignore); !errors.Is(err, artifact.ErrMiss) {
		t.Fatal(err)
	}
	_, err := second.Turn(t.Context(), second.wanted(), ignore)
	if !errors.Is(err, artifact.ErrMiss) || !strings.Contains(err.Error(), "i-1 has been at it for longer than 10ms") {
		t.Error(err)
	}
	if got := c.only(); got.Instance != "i-1" {
		t.Errorf("the claim is %+v", got)
	}
}

func TestNobodyWaitsForWhatCantBeKept(t *testing.T) {
	t.Parallel()
	c := &claims{of: map[string]artifact.Claim{}}
	first, second := builder(t, "i-1", t.TempDir(), c, quick()), builder(t, "i-2", t.TempDir(), c, quick())
	_, _ = first.Turn(t.Context(), first.wanted(), ignore)
	if err := first.Release(t.Context(), first.wanted(), errors.New("its id is in it")); err != nil {
		t.Fatal(err)
	}
	_, err := second.Turn(t.Context(), second.wanted(), func(string) { t.Error("it waits") })
	if !errors.Is(err, artifact.ErrMiss) || !strings.Contains(err.Error(), "there will be none: its id is in it") {
		t.Error(err)
	}
	if err := second.Release(t.Context(), second.wanted(), nil); err != nil || c.only().Useless == "" {
		t.Errorf("another instance's word is gone: %v, %v", c.of, err)
	}
}

func TestABuildThatFailedLetsTheNextTry(t *testing.T) {
	t.Parallel()
	c := &claims{of: map[string]artifact.Claim{}}
	first, second := builder(t, "i-1", t.TempDir(), c, quick()), builder(t, "i-2", t.TempDir(), c, quick())
	_, _ = first.Turn(t.Context(), first.wanted(), ignore)
	_, err := second.Turn(t.Context(), second.wanted(), func(string) {
		if err := first.Release(t.Context(), first.wanted(), nil); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, artifact.ErrMiss) || c.only().Instance != "i-2" {
		t.Errorf("%v, and the claim is %+v", err, c.only())
	}
}

func TestAnAgentThatWasStartedAnewGoesOnWithItsOwnClaim(t *testing.T) {
	t.Parallel()
	c := &claims{of: map[string]artifact.Claim{}}
	for range 2 {
		i := builder(t, "i-1", t.TempDir(), c, quick())
		if _, err := i.Turn(t.Context(), i.wanted(), func(string) { t.Error("it waits for itself") }); !errors.Is(err, artifact.ErrMiss) {
			t.Fatal(err)
		}
	}
}

func TestRecordsOutOfReachKeepNobodyFromBuilding(t *testing.T) {
	t.Parallel()
	away := errors.New("the table is away")
	i := builder(t, "i-1", t.TempDir(), &claims{err: away}, quick())
	if _, err := i.Turn(t.Context(), i.wanted(), ignore); !errors.Is(err, artifact.ErrMiss) || !errors.Is(err, away) {
		t.Error(err)
	}
	built := false
	if err := i.Claimed(t.Context(), i.wanted(), func() error { built = true; return nil }); err != nil || !built {
		t.Errorf("built %t, %v", built, err)
	}
	if err := i.Release(t.Context(), i.wanted(), nil); !errors.Is(err, away) {
		t.Error(err)
	}
}

func TestALookThatFailsEndsNoWaitBeforeItsTime(t *testing.T) {
	t.Parallel()
	away := errors.New("the table is short of breath")
	fails := func(c *claims, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = err
	}
	for dead, back := range map[time.Duration]bool{time.Hour: true, 30 * time.Millisecond: false} {
		dir, c := t.TempDir(), &claims{of: map[string]artifact.Claim{}}
		p := quick()
		p.Dead = dead
		first, second := builder(t, "i-1", dir, c, p), builder(t, "i-2", dir, c, p)
		if _, err := first.Turn(t.Context(), first.wanted(), ignore); !errors.Is(err, artifact.ErrMiss) {
			t.Fatal(err)
		}
		var made sync.WaitGroup
		_, err := second.Turn(t.Context(), second.wanted(), func(string) {
			fails(c, away)
			if !back {
				return
			}
			made.Go(func() {
				_, err := first.keep(oneFile(t))
				time.Sleep(20 * time.Millisecond) // some looks
				fails(c, nil)
				if err := errors.Join(err, first.Release(t.Context(), first.wanted(), nil)); err != nil {
					t.Error(err)
				}
			})
		})
		made.Wait()
		if back && err != nil || !back && (!errors.Is(err, artifact.ErrMiss) || !errors.Is(err, away)) {
			t.Errorf("with a table that comes back (%t): %v", back, err)
		}
	}
}
