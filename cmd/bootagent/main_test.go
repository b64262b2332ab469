package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// ran is how a command ended.
type ran struct {
	code           int
	stdout, stderr string
}

// command runs the program in-process.
func command(t *testing.T, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, &stdout, &stderr)
	return ran{code, stdout.String(), stderr.String()}
}

// expect holds a command to its exit code and to words that it must say.
func (r ran) expect(t *testing.T, code int, stdout, stderr []string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, not %d", r.code, code)
	}
	for _, out := range []struct {
		name, text string
		words      []string
	}{{"standard output", r.stdout, stdout}, {"standard error", r.stderr, stderr}} {
		if len(out.words) == 0 && out.text != "" {
			t.Errorf("%s should be empty: %s", out.name, out.text)
		}
		for _, w := range out.words {
			if !strings.Contains(out.text, w) {
				t.Errorf("%s does not say %q:\n%s", out.name, w, out.text)
			}
		}
	}
}

// file writes a file into a directory of the test's own and gives its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gitInit(t *testing.T, dir string) {
	t.Helper()
	git := exec.CommandContext(t.Context(), "git", "init", "--quiet", dir)
	git.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
}

func TestWrongUsageIsExitCodeTwo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"a command that is none":         {[]string{"statsu"}, []string{`unknown command "statsu"`, "status"}},
		"a flag that is none":            {[]string{"status", "--jsno"}, []string{"unknown flag: --jsno"}},
		"a flag without its value":       {[]string{"status", "--socket"}, []string{"--socket"}},
		"an argument too many":           {[]string{"version", "please"}, []string{`"please"`}},
		"two directories":                {[]string{"validate", "a", "b"}, []string{"at most 1"}},
		"a directory and --config":       {[]string{"validate", "--config", "c.yaml", "d"}, []string{"not both"}},
		"a number that is none":          {[]string{"try", "--instances", "many"}, []string{`"many"`, "--instances"}},
		"a fleet that is none":           {[]string{"try", "--instances", "0"}, []string{"--instances is 0", "1 to 20"}},
		"a fleet too large for a laptop": {[]string{"try", "--instances", "21"}, []string{"--instances is 21", "1 to 20"}},
		"an address that is none":        {[]string{"try", "--listen", "nonsense", "."}, []string{`"nonsense"`, "127.0.0.1:8000"}},
		"an address for everybody":       {[]string{"try", "--listen", "0.0.0.0:8000", "."}, []string{"0.0.0.0", "127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command(t, c.args...).expect(t, exitUsage, nil, append(c.says, "bootagent: "))
		})
	}
}

func TestTryRefusesADirectoryThatHoldsNoCommit(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	command(t, "try", none).expect(t, exitUsage, nil, []string{none, "no such directory"})
	plain := t.TempDir()
	command(t, "try", plain).expect(t, exitUsage, nil, []string{plain, "no git repository", "git init"})
	empty := t.TempDir()
	gitInit(t, empty)
	command(t, "try", empty).expect(t, exitUsage, nil, []string{empty, "has no commit", "commit the app first"})
	inside := filepath.Join(empty, "services", "shop")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "try", inside).expect(t, exitUsage, nil, []string{inside, "a directory of the repository in " + empty})
}

func TestVersionSpeaksToPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	command(t, "version").expect(t, exitDone, []string{"bootagent " + version, runtime.GOARCH}, nil)
	r := command(t, "version", "--json")
	r.expect(t, exitDone, []string{"{"}, nil)
	var got map[string]string
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if got["version"] != version || got["go"] != runtime.Version() || got["os"] != runtime.GOOS || got["arch"] != runtime.GOARCH {
		t.Errorf("the version is %v", got)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	t.Parallel()
	command(t, "help").expect(t, exitDone, []string{"run", "try", "status", "timeline", "validate", "version"}, nil)
}
