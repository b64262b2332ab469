package source_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/deploy/tree"
)

// bombFetch makes the test binary a process that fetches ("URL SHA DIR") and says in JSON how it ended and how much memory it held.
const bombFetch = "BOOTAGENT_BOMB_FETCH"

const (
	// bombMost is what a fetch may hold, live objects and stacks, in bytes. A machine of 512 MiB must survive it beside its app.
	bombMost = 192 << 20
	// bombOver is where a child that went wrong ends itself, so that a red test does not take the machine along.
	bombOver = 3 * bombMost
)

// outcome is what such a process says.
type outcome struct {
	Err      string
	Revision bool
	Limit    bool
	Peak     uint64 // bytes
	Left     bool   // something is left in DIR
}

// fetchMeasured is the child's side. What counts is what is live after a collection, and the stacks: they are the same under the
// race detector.
func fetchMeasured(arguments string) error {
	f := strings.Fields(arguments)
	s, err := source.New(source.Config{URL: f[0], Idle: 5 * time.Second, FetchTimeout: 2 * time.Minute})
	if err != nil {
		return err
	}
	debug.SetGCPercent(25)
	var o outcome
	say := func() { _ = json.NewEncoder(os.Stdout).Encode(o) } // to a pipe
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		for {
			metrics.Read(samples)
			o.Peak = max(o.Peak, samples[0].Value.Uint64()+samples[1].Value.Uint64())
			if o.Peak > bombOver {
				o.Err = "the memory grows without bounds"
				say()
				os.Exit(0)
			}
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	err = s.Fetch(context.Background(), f[1], f[2])
	close(done)
	<-watched
	var limit *tree.LimitError
	if err != nil {
		o.Err, o.Revision, o.Limit = err.Error(), isRevision(err), errors.As(err, &limit)
	}
	_, statErr := os.Lstat(f[2])
	o.Left = statErr == nil
	say()
	return nil
}

// bomb fetches in a process of its own. What such a fetch gives is an error that says want, within bounds, and nothing on the disk.
func bomb(t *testing.T, url, sha, want string, revision bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	dir := filepath.Join(t.TempDir(), "release")
	cmd.Env = append(os.Environ(), bombFetch+"="+url+" "+sha+" "+dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var o outcome
	if err == nil {
		err = json.Unmarshal(out, &o)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	t.Logf("peak %d MiB: %.300s", o.Peak>>20, o.Err)
	if !strings.Contains(o.Err, want) || o.Revision != revision {
		t.Errorf("got %.500q (of the revision: %t), want %q", o.Err, o.Revision, want)
	}
	if o.Peak > bombMost {
		t.Errorf("it held %d MiB, want at most %d", o.Peak>>20, bombMost>>20)
	}
	if o.Left {
		t.Error("something is left")
	}
}

func TestATreeTooDeepIsLeftBeforeItsNamesFillTheMemory(t *testing.T) {
	t.Parallel()
	var c craft
	name := strings.Repeat("n", 200)
	sha := c.tree(item{"100644", "f", c.blob("x")})
	for range 2500 { // all names from the root down: 600 MB
		sha = c.tree(item{"40000", name, sha})
	}
	sha = c.commit(sha)
	bomb(t, offering(t, sha, c.pack()), sha, "bytes in a path", true)

	var short craft
	sha = short.tree()
	for range 6000 {
		sha = short.tree(item{"40000", "d", sha})
	}
	sha = short.commit(sha)
	bomb(t, offering(t, sha, short.pack()), sha, "directories above a file", true)
}

func TestADirectoryTooLongIsNotReadWhole(t *testing.T) {
	t.Parallel()
	var c craft
	body := c.blob("x")
	items := make([]item, 130_000)
	for i := range items {
		items[i] = item{"100644", fmt.Sprintf("%06x", i), body}
	}
	sha := c.tree(items...)
	sha = c.tree(append([]item{{"40000", "d", sha}}, items...)...) // still being read when the one below begins
	sha = c.commit(sha)
	bomb(t, offering(t, sha, c.pack()), sha, "files, links and directories", true)
}

func TestDeltasThatMakeGigabytesOfDirectoriesAreLeft(t *testing.T) {
	t.Parallel()
	var c craft
	base := make([]byte, 64<<10)
	for i := range base {
		base[i] = byte(i)
	}
	name := c.object(packTree, base)
	copies := bytes.Repeat([]byte{0x80}, 255) // each all 64 KiB of the base
	for i := range 64 {
		c.refDelta(name, append(deltaOf(64<<10, 255<<16+2, copies...), 2, byte(i), 'x'))
	}
	sha := c.commit(name)
	bomb(t, offering(t, sha, c.pack()), sha, "bytes of commits and directories", true)
}

func TestAMillionOfObjectsIsRefusedBeforeTheFirstIsTaken(t *testing.T) {
	t.Parallel()
	for name, count := range map[string]uint32{"a million": 1_000_000, "all there can be": 1<<32 - 1} {
		var c craft
		sha := c.commit(c.tree(item{"100644", "f", c.blob("x")}))
		_, err := fetch(t, newSource(t, source.Config{URL: offering(t, sha, sealed(count, c.body.Bytes()))}), sha)
		var limit *tree.LimitError
		if !isRevision(err) || !errors.As(err, &limit) || !strings.Contains(err.Error(), "objects") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttributesThatMultiplyAreLeft(t *testing.T) {
	t.Parallel()
	t.Run("macros of macros", func(t *testing.T) {
		t.Parallel()
		var macros strings.Builder
		for i := range 8 {
			fmt.Fprintf(&macros, "[attr]m%d%s\n", i, strings.Repeat(fmt.Sprintf(" m%d", i+1), 500))
		}
		macros.WriteString("[attr]m8 text\n* m0\n")
		var c craft
		sha := c.commit(c.tree(item{"100644", ".gitattributes", c.blob(macros.String())}, item{"100644", "f", c.blob("x")}))
		bomb(t, offering(t, sha, c.pack()), sha, "macros", true)
	})
	t.Run("the same rules in every directory", func(t *testing.T) {
		t.Parallel()
		var c craft
		rules := c.blob(strings.Repeat("* text\n", 100_000))
		sha := c.tree(item{"100644", ".gitattributes", rules})
		for range 50 {
			sha = c.tree(item{"100644", ".gitattributes", rules}, item{"40000", "d", sha})
		}
		sha = c.commit(sha)
		bomb(t, offering(t, sha, c.pack()), sha, "rules that hold at once", true)
	})
	t.Run("patterns that are costly", func(t *testing.T) {
		t.Parallel()
		var c craft
		line := strings.Repeat("*?[a-z]", 280) + " text\n"
		rules := c.blob(strings.Repeat(line, (1<<20)/len(line)))
		sha := c.commit(c.tree(item{"100644", ".gitattributes", rules}, item{"100644", "f", c.blob("x")}))
		bomb(t, offering(t, sha, c.pack()), sha, ".gitattributes", true)
	})
	t.Run("read again and again", func(t *testing.T) {
		t.Parallel()
		var c craft
		rules := c.blob(strings.Repeat("# nothing\n", 100_000))
		sha := c.tree(item{"100644", ".gitattributes", rules})
		for range 12 { // 4,096 directories
			sha = c.tree(item{"100644", ".gitattributes", rules}, item{"40000", "a", sha}, item{"40000", "b", sha})
		}
		sha = c.commit(sha)
		bomb(t, offering(t, sha, c.pack()), sha, "bytes of .gitattributes in all", true)
	})
}

func TestLinksThatShareOneLongTargetAreLeft(t *testing.T) {
	t.Parallel()
	var c craft
	target := c.blob(strings.Repeat("x/", 2000))
	items := make([]item, 60_000)
	for i := range items {
		items[i] = item{"120000", fmt.Sprintf("%05x", i), target} // 240 MB
	}
	sha := c.commit(c.tree(items...))
	bomb(t, offering(t, sha, c.pack()), sha, "bytes of targets of links", true)
}

// flood writes a line until the client is gone.
func flood(line string) func(http.ResponseWriter) {
	many := []byte(strings.Repeat(line, 1000))
	return func(w http.ResponseWriter) {
		for {
			if _, err := w.Write(many); err != nil {
				return
			}
		}
	}
}

func TestAServerThatNeverComesToThePointIsLeft(t *testing.T) {
	t.Parallel()
	sha := strings.Repeat("ab", 20)
	list := func(w http.ResponseWriter) {
		_, _ = w.Write([]byte(advertised(ordinaryCapabilities, sha+" refs/heads/main")))
	}
	for name, line := range map[string]string{
		"shallow":   pktLine("shallow " + sha),
		"unshallow": pktLine("unshallow " + sha),
		"nonsense":  pktLine("whatever"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bomb(t, liarWith(t, list, flood(line)), sha, "longer than any that is taken", false)
		})
	}
	t.Run("acknowledgements", func(t *testing.T) {
		t.Parallel()
		bomb(t, liarWith(t, list, func(w http.ResponseWriter) {
			_, _ = w.Write([]byte("0000"))
			flood(pktLine("ACK " + sha + " common"))(w)
		}), sha, "longer than any that is taken", false)
	})
	t.Run("refs", func(t *testing.T) {
		t.Parallel()
		n := 100_000_000
		bomb(t, liarWith(t, func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(strings.TrimSuffix(advertised(ordinaryCapabilities, sha+" HEAD"), "0000")))
			for {
				var lines strings.Builder
				for range 1000 {
					n++
					lines.WriteString("0038" + sha + " r/" + strconv.Itoa(n))
				}
				if _, err := w.Write([]byte(lines.String())); err != nil {
					return
				}
			}
		}, nil), sha, "longer than any that is taken", false)
	})
}
