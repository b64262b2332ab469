package laptop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/trial"
)

// TestNothingShowsASecret gives an app a token and a key, lets it tell them in every way that an app and a build have, and
// looks everywhere but at what the app printed itself, which is its own.
func TestNothingShowsASecret(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) {
		o.UnhealthyGrace = time.Second
		o.Check = elbv2.HealthCheck{Path: "/"} // what is seen is the agent's doing
	})
	parts := []string{"hunter2", "MIIBOgIBAAJBAKj34GkxFhD90vcNLYLI"} // what must not be seen
	l.variable("TOKEN", `hunter2/"+hunter2&<hunter2>`)
	l.variable("KEY", "-----BEGIN KEY-----\n"+parts[1]+"\n-----END KEY-----\n")
	argv := watchArguments(t, parts)

	l.put(l.branch("good", appWith("path: /up, interval: 200ms", "-tells", "TOKEN")))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })

	// The one in service crashes, having told.
	before := l.theProcess(i)
	kill(t, before.pid)
	l.until("in service with another process", func() error {
		if running, err := l.processes(i); err != nil || len(running) != 1 || running[0].pid == before.pid {
			return fmt.Errorf("%v, %v", running, err)
		}
		return l.settled(i, 1)
	})

	for _, c := range []struct {
		name  string
		files map[string]string
		says  []string
	}{
		{"crash", recipe("version: 1\nprocesses: {web: 'echo \"$KEY\"; echo \"no database at $TOKEN\"; exit 4'}\n"), []string{"exited with code 4", "| [KEY]", "| no database at [TOKEN]"}},
		{"body", appWith("path: /up, interval: 200ms, deadline: 3s", "-status", "500", "-tells", "TOKEN"), []string{`answered 500 Internal Server Error: "[TOKEN]"`}},
		{"lines", appWith("path: /up, interval: 200ms, deadline: 3s", "-status", "500", "-tells", "KEY"), []string{`answered 500 Internal Server Error: "[KEY]"`}},
		{"command", appWith(`command: "echo $TOKEN; exit 1", deadline: 3s`), []string{`the health command exited with code 1: "[TOKEN]"`}},
		{"build", recipe("version: 1\nprocesses: {web: x}\nbuild: {secrets: [TOKEN, KEY], run: 'echo \"$KEY\"; env; echo login with $TOKEN failed; exit 1'}\n"), []string{"exited with code 1", "| login with [TOKEN] failed"}},
		{"artifact", recipe("version: 1\nprocesses: {web: x}\nbuild: {secrets: [KEY], run: 'echo \"$KEY\" > key.pem'}\n"), []string{"the build left the secret KEY in key.pem"}},
	} {
		number := l.put(l.branch(c.name, c.files))
		l.wait(c.name+" reverted", inService(1), state("reverted"), failure(number, c.says...))
		l.showsNo(i, parts)
	}
	// The one in service gets ill, and tells.
	l.up(l.theProcess(i).port, 500)
	l.wait("said so", problem("fails its checks", `"[TOKEN]"`))
	l.showsNo(i, parts)
	l.until("in service again", func() error { return l.settled(i, 1) })
	l.showsNo(i, parts)
	for line := range argv() {
		t.Errorf("an argument list shows a secret: %q", line)
	}
}

// showsNo looks for the parts of secrets in all that an instance tells and keeps.
func (l *lab) showsNo(i *trial.Instance, parts []string) {
	l.t.Helper()
	status, err := json.Marshal(l.status(i))
	if err != nil {
		l.t.Fatal(err)
	}
	seen := map[string][]byte{"the status": status}
	for _, dir := range []string{stateOf(i), filepath.Dir(i.Socket)} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) { // gone since
				return nil
			}
			if err != nil || !d.Type().IsRegular() || filepath.Dir(path) == filepath.Join(stateOf(i), "logs") {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil {
				seen[path] = data
			}
			if os.IsNotExist(err) {
				return nil
			}
			return err
		})
		if err != nil {
			l.t.Error(err)
		}
	}
	if len(seen) < 4 {
		l.t.Errorf("too little was looked at: %d files", len(seen))
	}
	for _, part := range parts {
		for where, data := range seen {
			if at := bytes.Index(data, []byte(part)); at >= 0 {
				l.t.Errorf("%s shows a secret: %q", where, data[max(0, at-80):at+len(part)])
			}
		}
		if l.log.contains(part) {
			l.t.Errorf("the agent's log shows a secret (%s)", part)
		}
	}
}

// watchArguments looks at the arguments of all processes until the function that it gives is called, which gives those that
// showed a secret.
func watchArguments(t *testing.T, parts []string) func() map[string]bool {
	found, stop, done := map[string]bool{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			paths, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is a good one
			for _, path := range paths {
				data, _ := os.ReadFile(path) // a process may be gone
				for _, part := range parts {
					if strings.Contains(string(data), part) {
						found[strings.ReplaceAll(string(data), "\x00", " ")] = true
					}
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	ended := false
	end := func() map[string]bool {
		if !ended {
			ended = true
			close(stop)
		}
		<-done
		return found
	}
	t.Cleanup(func() { end() })
	return end
}
