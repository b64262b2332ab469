package recipe

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

var update = flag.Bool("update", false, "write what was got as what is wanted; read the diff")

// golden compares with a file beside the case.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

// cases runs f for every recipe in a folder.
func cases(t *testing.T, dir string, f func(t *testing.T, path string, data []byte)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f(t, strings.TrimSuffix(path, ".yaml"), data)
		})
	}
}

func TestGoodRecipesAreReadWithTheirDefaults(t *testing.T) {
	t.Parallel()
	cases(t, "testdata/good", func(t *testing.T, path string, data []byte) {
		r, err := Parse(FileName, data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, path+".json", string(got)+"\n")
		var back Recipe
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, back); d != "" {
			t.Errorf("JSON does not keep a recipe: %s", d)
		}
	})
}

func TestBadRecipesSayWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	cases(t, "testdata/bad", func(t *testing.T, path string, data []byte) {
		_, err := Parse(FileName, data)
		var typed *strictyaml.Error
		if !errors.As(err, &typed) {
			t.Fatalf("%v is no *strictyaml.Error", err)
		}
		golden(t, path+".txt", err.Error()+"\n")
	})
}

func TestWhereARecipeComesFrom(t *testing.T) {
	t.Parallel()
	inline := defaults()
	inline.Build.Run = Shell("make inline")
	inlineWeb := inline
	inlineWeb.Processes = []Process{{Name: "web", Run: Shell("inline"), Port: true, Overlap: true, StopTimeout: DefaultStopTimeout}}
	const yaml, proc = "version: 1\nbuild: {run: make}\n", "worker: w\nweb: proc --port $PORT\n"
	for _, c := range []struct {
		name   string
		files  map[string]string
		inline *Recipe
		build  string
		run    string // of each process
	}{
		{"yaml alone", map[string]string{FileName: yaml + "processes: {web: yaml}\n"}, nil, "make", "web=yaml"},
		{"yaml's processes win", map[string]string{FileName: yaml + "processes: {web: yaml}\n", ProcfileName: proc + "release: x\n"}, nil, "make", "web=yaml"},
		{"Procfile beside a yaml without processes", map[string]string{FileName: yaml, ProcfileName: proc}, nil, "make", "web=proc --port $PORT worker=w"},
		{"Procfile alone", map[string]string{ProcfileName: "# my app\r\n\r\n" + proc}, nil, "", "web=proc --port $PORT worker=w"},
		{"inline alone", nil, &inlineWeb, "make inline", "web=inline"},
		{"inline without processes and Procfile", map[string]string{ProcfileName: proc}, &inline, "make inline", "web=proc --port $PORT worker=w"},
		{"inline's processes win over the Procfile's", map[string]string{ProcfileName: proc}, &inlineWeb, "make inline", "web=inline"},
		{"the commit's yaml wins over inline", map[string]string{FileName: yaml + "processes: {web: yaml}\n"}, &inlineWeb, "make", "web=yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := Load(files(c.files), c.inline)
			if err != nil {
				t.Fatal(err)
			}
			var run []string
			for _, p := range r.Processes {
				run = append(run, p.Name+"="+p.Run[2])
			}
			if got := strings.Join(run, " "); got != c.run {
				t.Errorf("processes are %q, want %q", got, c.run)
			}
			if got := strings.TrimPrefix(strings.Join(r.Build.Run, " "), "sh -c "); got != c.build {
				t.Errorf("build is %q, want %q", got, c.build)
			}
			if p, ok := r.Serving(); !ok || p.Name != "web" || !p.Overlap {
				t.Errorf("serving process is %+v", p)
			}
		})
	}
}

func TestWhatCanNotBeLoaded(t *testing.T) {
	t.Parallel()
	inline := defaults()
	for _, c := range []struct {
		name   string
		files  map[string]string
		inline *Recipe
		want   string
	}{
		{"nothing", nil, nil, "nothing says how to run this app: there is neither a bootagent.yaml nor a Procfile; commit one (a Procfile with the line \"web: <command>\" is enough), or set source.subdirectory if the app is not at the top of its repository"},
		{"no processes", map[string]string{FileName: "version: 1\n"}, nil, "nothing says how to run this app: bootagent.yaml has no processes, and there is no Procfile; add \"processes: {web: <command>}\""},
		{"no processes inline", nil, &inline, "nothing says how to run this app: the configuration's recipe has no processes, and there is no Procfile; add \"processes: {web: <command>}\""},
		{"path without a port", map[string]string{FileName: "version: 1\nprocesses: {worker: w}\nhealth: {path: /up}\n"}, nil, "bootagent.yaml: health.path is given, but no process has a port to be asked at; name one web, or give it port: true"},
		{"command without a port", map[string]string{FileName: "version: 1\nprocesses: {worker: w}\nhealth: {command: check}\n"}, nil, "bootagent.yaml: health.command is given, but no process has a port to be asked at; name one web, or give it port: true"},
		{"a release line alone", map[string]string{ProcfileName: "release: bin/migrate\n"}, nil, `Procfile: names no process; write "web: <command>"`},
		{"two release lines", map[string]string{ProcfileName: "web: w\nrelease: a\nrelease: b\n"}, nil, `Procfile:3:1: release is given twice, first in line 2`},
		{"no Procfile line", map[string]string{ProcfileName: "web: w\njust text\n"}, nil, `Procfile:2:1: "just text" is not "name: command"`},
		{"no command", map[string]string{ProcfileName: "web:\n"}, nil, `Procfile:1:1: web has no command`},
		{"twice", map[string]string{ProcfileName: "web: a\n\nweb: b\n"}, nil, `Procfile:3:1: web is given twice, first in line 1`},
		{"bad name", map[string]string{ProcfileName: "My_Worker: a\n"}, nil, `Procfile:1:1: "My_Worker" can't be a process's name; use lower-case letters, digits and dashes, a letter first, at most 31`},
		{"empty Procfile", map[string]string{ProcfileName: "# later\n"}, nil, `Procfile: names no process; write "web: <command>"`},
		{"huge Procfile", map[string]string{ProcfileName: strings.Repeat("# x\n", 20_000)}, nil, `Procfile: is larger than the 64 KiB that are read`},
		{"too many", map[string]string{ProcfileName: "a: x\nb: x\nc: x\nd: x\ne: x\nf: x\ng: x\nh: x\ni: x\nj: x\nk: x\nl: x\nm: x\nn: x\no: x\np: x\nq: x\n"}, nil, `Procfile: has 17 processes; 16 are supported`},
		{"bad yaml hides no Procfile", map[string]string{FileName: "version: 1\nprocess: {}\n", ProcfileName: "web: w\n"}, nil, `bootagent.yaml:2:1: unknown key "process"; did you mean "processes"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(files(c.files), c.inline)
			if err == nil {
				t.Fatal("no error")
			}
			if d := cmp.Diff(c.want, err.Error()); d != "" {
				t.Error(d)
			}
			if strings.HasPrefix(c.want, ErrMissing.Error()) != errors.Is(err, ErrMissing) {
				t.Errorf("errors.Is(ErrMissing) is wrong for %v", err)
			}
		})
	}
}

func TestARecipeReachesNothingOutsideItsDirectory(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("web: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, ProcfileName)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := Load(root.FS(), nil); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("a link out of the directory gave %v", err)
	}
	if err := os.Remove(filepath.Join(dir, ProcfileName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, ProcfileName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(root.FS(), nil); err == nil || err.Error() != "Procfile: is not a regular file" {
		t.Errorf("a directory gave %v", err)
	}
}

// FuzzLoad: whatever a repository holds, Load gives an error or a recipe that can be run.
func FuzzLoad(f *testing.F) {
	f.Add("version: 1\nprocesses: {web: {run: [a], port: true}}\nhealth: {path: /, status: 200-399, timeout: 1s}\n", "web: x\n")
	f.Add("version: 1\n", "web: x\nrelease: y")
	f.Fuzz(func(t *testing.T, yaml, proc string) {
		r, err := Load(files(map[string]string{FileName: yaml, ProcfileName: proc}), nil)
		if err != nil {
			return
		}
		if len(r.Processes) == 0 || r.Health.Interval <= 0 || r.Health.Timeout <= 0 || r.Health.Deadline < r.Health.Timeout || r.Health.Successes < 1 {
			t.Fatalf("can't be run: %+v", r)
		}
		for _, p := range r.Processes {
			if len(p.Run) == 0 || p.Run[0] == "" || (p.Port && !p.Overlap) || checkName(p.Name) != nil {
				t.Fatalf("can't be run: %+v", p)
			}
		}
	})
}

func files(content map[string]string) fs.FS {
	fsys := fstest.MapFS{}
	for name, data := range content {
		fsys[name] = &fstest.MapFile{Data: []byte(data), Mode: 0o644}
	}
	return fsys
}

func TestAReleaseTaskIsReadFromTheRecipeOrTheProcfile(t *testing.T) {
	t.Parallel()
	const web = "version: 1\nprocesses: {web: serve}\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  *Task
	}{
		"none":             {map[string]string{FileName: web}, nil},
		"a string":         {map[string]string{FileName: web + "release_task: bin/migrate --all\n"}, &Task{Run: Shell("bin/migrate --all"), Timeout: DefaultTaskTimeout}},
		"a list":           {map[string]string{FileName: web + "release_task: [bin/migrate, --all]\n"}, &Task{Run: Command{"bin/migrate", "--all"}, Timeout: DefaultTaskTimeout}},
		"every key":        {map[string]string{FileName: web + "release_task: {run: m, timeout: 90s, reversible: true}\n"}, &Task{Run: Shell("m"), Timeout: 90 * time.Second, Reversible: true}},
		"a Procfile's":     {map[string]string{ProcfileName: "web: serve\nrelease: bin/migrate\n"}, &Task{Run: Shell("bin/migrate"), Timeout: DefaultTaskTimeout}},
		"the recipe's own": {map[string]string{FileName: "version: 1\nrelease_task: m\n", ProcfileName: "web: serve\nrelease: other\n"}, &Task{Run: Shell("m"), Timeout: DefaultTaskTimeout}},
	} {
		tree := fstest.MapFS{}
		for file, text := range c.files {
			tree[file] = &fstest.MapFile{Data: []byte(text)}
		}
		r, err := Load(tree, nil)
		if err != nil || !reflect.DeepEqual(r.Task, c.want) || len(r.Processes) != 1 {
			t.Errorf("%s: got %+v, %+v, %v", name, r.Task, r.Processes, err)
		}
	}
	for text, words := range map[string]string{
		"release_task: {timeout: 9h}\n": "release_task.run", "release_task: {run: m, revertible: true}\n": `did you mean "reversible"`, "release_task: {run: m, timeout: 9h}\n": "6h",
	} {
		if _, err := Parse(FileName, []byte(web+text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
