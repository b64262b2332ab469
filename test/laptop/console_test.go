package laptop_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// console keeps what the agents print, and tells those who listen.
type console struct {
	mu        sync.Mutex
	lines     []printed
	listeners []func(instance, line string)
}

type printed struct{ instance, line string }

// listen calls f with each line from now on, in the goroutine that reads the
// agent's output and before it reads on: what f does comes right after the
// line. f may be called for several instances at a time.
func (c *console) listen(f func(instance, line string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, f)
}

// of is the writer of one instance.
func (c *console) of(instance string) io.Writer { return &writer{console: c, instance: instance} }

// tail gives the last lines of all instances.
func (c *console) tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, p := range c.lines[max(0, len(c.lines)-n):] {
		fmt.Fprintf(&b, "%s %s\n", p.instance[max(0, len(p.instance)-4):], p.line)
	}
	return b.String()
}

// count counts an instance's lines ("" for all instances') that have all these words.
func (c *console) count(instance string, words ...string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.lines {
		if (instance == "" || p.instance == instance) && all(p.line, words) {
			n++
		}
	}
	return n
}

// contains says whether some line has all these words.
func (c *console) contains(words ...string) bool { return c.count("", words...) > 0 }

func (c *console) add(instance, line string) {
	c.mu.Lock()
	c.lines = append(c.lines, printed{instance, line})
	listeners := c.listeners
	c.mu.Unlock()
	for _, f := range listeners {
		f(instance, line)
	}
}

type writer struct {
	console  *console
	instance string
	rest     string
}

func (w *writer) Write(data []byte) (int, error) {
	w.rest += string(data)
	for {
		line, rest, whole := strings.Cut(w.rest, "\n")
		if !whole {
			return len(data), nil
		}
		w.rest = rest
		w.console.add(w.instance, line)
	}
}
