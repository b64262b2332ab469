package laptop_test

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// edge is a boundary of a phase, as the agent's log tells it.
type edge struct {
	name  string
	words []string
	// later is how long after the line.
	later time.Duration
}

// boundary is the start or the end ("start", "done") of a phase.
func boundary(phase, what string) edge {
	e := edge{name: what + " of " + phase}
	switch {
	case phase != "fetch" && phase != "build" && phase != "store": // the parts of prepare have lines of their own
		e.words = []string{"\t" + what + "\t", `"phase": "` + phase + `"`}
	case what == "start":
		e.words = []string{"\t" + phase + " started\t"}
	default:
		e.words = []string{"\t" + phase + " " + what + "\t"}
	}
	return e
}

// String is the edge's name.
func (e edge) String() string { return e.name }

func (e edge) is(line string) bool { return all(line, e.words) }

// once calls f the first time that an agent prints this line, right after it and before its output is read on.
func once(l *lab, e edge, f func(instance string)) {
	var first sync.Once
	l.log.listen(func(instance, line string) {
		if e.is(line) {
			first.Do(func() { f(instance) })
		}
	})
}

// kill kills a process as the kernel does when memory runs out.
func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// newClient makes a client that keeps no connections.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
}
