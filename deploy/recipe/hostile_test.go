package recipe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"
)

// shown says whether an error can be shown: within bounds, one problem a line, nothing that a terminal obeys.
func shown(err error) bool {
	text := err.Error()
	return len(text) <= 20_000 && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
	})
}

func TestARecipeThatIsNoOrdinaryFileIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for _, name := range []string{FileName, ProcfileName} {
		for kind, lay := range map[string]func(path string) error{
			"a pipe that nobody writes to": func(p string) error { return syscall.Mkfifo(p, 0o644) },
			"a link to such a pipe": func(p string) error {
				if err := syscall.Mkfifo(p+".pipe", 0o644); err != nil {
					return err
				}
				return os.Symlink(filepath.Base(p)+".pipe", p)
			},
			"a directory":               func(p string) error { return os.Mkdir(p, 0o755) },
			"a link to a file outside":  func(p string) error { return os.Symlink("/etc/passwd", p) },
			"a link to what never ends": func(p string) error { return os.Symlink("/dev/zero", p) },
			"a link up":                 func(p string) error { return os.Symlink("../../etc/passwd", p) },
			"a link to itself":          func(p string) error { return os.Symlink(filepath.Base(p), p) },
			"a link through a link outside": func(p string) error {
				if err := os.Symlink(outside, p+".d"); err != nil {
					return err
				}
				return os.Symlink(filepath.Base(p)+".d/secret", p)
			},
			"a link to a directory inside": func(p string) error { return os.Symlink(".", p) },
		} {
			t.Run(name+" is "+kind, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := lay(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				root, err := os.OpenRoot(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer root.Close()
				r, err := Load(root.FS(), nil)
				if err == nil || !strings.Contains(err.Error(), name) || !shown(err) {
					t.Errorf("got %+v, %v", r, err)
				}
			})
		}
	}
}

func TestARecipeThatLinksToAFileBesideItIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Procfile.production"), []byte("web: w\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("Procfile.production", filepath.Join(dir, ProcfileName)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if r, err := Load(root.FS(), nil); err != nil || len(r.Processes) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestARecipeOfAnAttackerIsToldInWords(t *testing.T) {
	t.Parallel()
	noise := strings.Repeat("\u009b2J\u202e", 50)
	escaped := strings.Repeat(`\u009b2J\u202e`, 50) // as YAML writes it
	many := func(format string) string {
		var b strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, yaml := range map[string]string{
		"anchors that multiply":   "version: 1\na: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
		"merge keys":              "version: 1\n<<: {build: x}\n",
		"tags":                    "version: !!python/object:os.system 1\n",
		"many documents":          strings.Repeat("---\nversion: 1\n", 1000),
		"empty documents":         strings.Repeat("---\n", 20_000),
		"brackets":                "version: " + strings.Repeat("[", 50_000),
		"braces":                  "version: " + strings.Repeat("{a: ", 15_000),
		"dashes":                  strings.Repeat("- ", 30_000),
		"question marks":          strings.Repeat("? ", 30_000),
		"one scalar":              "version: " + strings.Repeat("9", 60_000),
		"one key":                 strings.Repeat("k", 60_000) + ": 1\n",
		"one text":                "version: 1\nbuild: {run: x, timeout: " + strings.Repeat("t", 60_000) + "}\n",
		"many keys":               "version: 1\n" + many("k%d: 1\n"),
		"many variables":          "version: 1\nenvironment:\n" + many("  K-%d: x\n"),
		"many processes":          "version: 1\nprocesses:\n" + many("  p%d: x\n"),
		"a key of noise":          "version: 1\n\"" + escaped + "\": 1\n",
		"a process of noise":      "version: 1\nprocesses: {\"" + escaped + "\": x}\n",
		"a variable of noise":     "version: 1\nenvironment: {\"" + escaped + "\": x}\n",
		"a variable's value":      "version: 1\nenvironment: {A" + strings.Repeat("B", 100) + ": [" + escaped + "]}\n",
		"a path of noise":         "version: 1\nprocesses: {web: x}\nhealth: {path: \"/ " + escaped + "\"}\n",
		"a path that splits":      "version: 1\nprocesses: {web: x}\nhealth: {path: \"/x\\r\\nHost: evil\"}\n",
		"a host that splits":      "version: 1\nprocesses: {web: x}\nhealth: {path: /, host: \"a\\r\\nX: y\"}\n",
		"a path to elsewhere":     "version: 1\nprocesses: {web: x}\nhealth: {path: \"http://169.254.169.254/\"}\n",
		"… by two slashes":        "version: 1\nprocesses: {web: x}\nhealth: {path: \"//169.254.169.254/\"}\n",
		"a host with a user":      "version: 1\nprocesses: {web: x}\nhealth: {path: /, host: \"a@169.254.169.254\"}\n",
		"a NUL in a command":      "version: 1\nprocesses: {web: \"a\\0b\"}\n",
		"a NUL in an argument":    "version: 1\nprocesses: {web: [a, \"b\\0c\"]}\n",
		"a NUL in the build":      "version: 1\nbuild: {run: \"a\\0b\"}\nprocesses: {web: x}\n",
		"a NUL in a variable":     "version: 1\nprocesses: {web: x}\nenvironment: {A: \"a\\0b\"}\n",
		"a NUL in the build's":    "version: 1\nprocesses: {web: x}\nbuild: {run: x, environment: {A: \"a\\0b\"}}\n",
		"a syntax error of noise": "version: 1\n" + noise + ": : " + escaped + "\n",
		"a process up a path":     "version: 1\nprocesses: {../../x: y}\n",
		"an octal":                "version: 0o1\n",
		"not a number":            "version: .nan\n",
	} {
		r, err := Load(files(map[string]string{FileName: yaml}), nil)
		if err == nil || !shown(err) {
			t.Errorf("%s: got %+v, %.300q", name, r, fmt.Sprint(err))
		}
	}
	for name, procfile := range map[string]string{
		"a NUL":                           "web: a\x00b\n",
		"an escape":                       "web: a\x1b[2Jb\n",
		"an 8-bit escape":                 "web: a\u009bb\n",
		"no UTF-8":                        "web: a\xffb\n",
		"a carriage return in the middle": "web: good\rweb: evil\n",
		"a name of noise":                 noise + ": x\n",
		"a line of noise":                 noise + "\n",
		"no end of a line":                strings.Repeat("x", 60_000),
	} {
		r, err := Load(files(map[string]string{ProcfileName: procfile}), nil)
		if err == nil || !shown(err) {
			t.Errorf("Procfile with %s: got %+v, %.300q", name, r, fmt.Sprint(err))
		}
	}
}
