package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// modulesTexts are ways to write a .gitmodules; git is asked what they mean.
var modulesTexts = []string{
	"[submodule \"a\"]\n\tpath = a\n\turl = ../a.git\n",
	"[submodule \"a b/c\"]\npath=a b/c\nurl=\"https://h/x y\" ; why\nbranch = main # really\n",
	"[SubModule \"Ä\"]\r\n\tPATH = p\r\n\tUrl = u\r\n",
	"# nothing\n; at all\n",
	"[submodule \"a\"]\n\tpath = \"with \\\"quotes\\\" and \\\\\"\n\turl = a\\\n  b\n",
	"[submodule \"q\\\"uote\\\\\"]\n\tpath = q\n\turl = x#y\n",
	"[core]\n\tbare = true\n[submodule \"a\"]\n\tpath = a\n\turl = u\n[other]\nx\n",
	"[submodule \"a\"] path = a\n url = u\n",
	"[submodule \"a\"]\n\tpath = a\n[submodule \"b\"]\n\tpath = b\n\turl = b\n[submodule \"a\"]\n\turl = a\n",
	"[submodule \"a\"]\n\tpath = a\n\turl =   spaces   inside   \n",
	"[submodule \"a\"]\n\tpath = a\n\turl = \"  kept  \"\n",
	"[submodule.a]\n\tpath = a\n\turl = u\n",
	"[submodule \"a\"]\n\tpath = a\n\turl = a\\tb\n",
	"[submodule \"a\"]\n\tpath = \xff\xfe\n\turl = u\n",
}

func TestModulesAreReadAsGitReadsThem(t *testing.T) {
	t.Parallel()
	for _, text := range modulesTexts {
		file := filepath.Join(t.TempDir(), "modules")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("git", "config", "-z", "-f", file, "--get-regexp", `^submodule\..*\.path$`).Output()
		ours, ourErr := parseModules([]byte(text))
		if ourErr != nil {
			t.Logf("refused: %q: %v", text, ourErr)
			continue // to refuse is safe
		}
		n := 0
		for _, entry := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
			key, path, _ := strings.Cut(entry, "\n")
			if err != nil || key == "" {
				continue
			}
			url, err := exec.Command("git", "config", "-z", "-f", file, "--get", strings.TrimSuffix(key, ".path")+".url").Output()
			if err != nil {
				t.Fatal(err)
			}
			n++
			if got := ours[path].url; got != strings.TrimSuffix(string(url), "\x00") {
				t.Errorf("%q: %q has the url %q to us, %q to git", text, path, got, url)
			}
		}
		if n != len(ours) {
			t.Errorf("%q: git sees %d submodules, we %v", text, n, ours)
		}
	}
}

func FuzzModules(f *testing.F) {
	for _, text := range modulesTexts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		known, err := parseModules(content) // must not panic
		for path, m := range known {
			if err != nil || path == "" || path != m.path {
				t.Errorf("%q: %+v, %v", path, m, err)
			}
		}
	})
}
