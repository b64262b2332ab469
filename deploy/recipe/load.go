package recipe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

// ErrMissing is in the error of Load when there is nothing that says how to run the app.
var ErrMissing = errors.New("nothing says how to run this app")

// Load reads the recipe of a revision from its directory. Processes come from bootagent.yaml, else from the Procfile.
// inline, from the configuration, takes the place of a bootagent.yaml that is not there; nil is no such recipe.
// Pass an os.Root's FS for a directory that others wrote: an os.DirFS follows links out of it.
// Load's errors name the file, but not the revision or the directory: the caller does.
func Load(fsys fs.FS, inline *Recipe) (Recipe, error) {
	r, named := defaults(), ""
	switch data, found, err := read(fsys, FileName); {
	case err != nil:
		return Recipe{}, err
	case found:
		if r, err = Parse(FileName, data); err != nil {
			return Recipe{}, err
		}
		named = FileName
	case inline != nil:
		r, named = *inline, "the configuration's recipe"
	}
	if len(r.Processes) == 0 {
		switch data, found, err := read(fsys, ProcfileName); {
		case err != nil:
			return Recipe{}, err
		case found:
			var release *Task
			if r.Processes, release, err = procfile(data); err != nil {
				return Recipe{}, err
			}
			if r.Task == nil { // a release_task in the recipe stands for the Procfile's
				r.Task = release
			}
		case named != "":
			return Recipe{}, fmt.Errorf("%w: %s has no processes, and there is no %s; add \"processes: {web: <command>}\"", ErrMissing, named, ProcfileName)
		default:
			return Recipe{}, fmt.Errorf("%w: there is neither a %s nor a %s; commit one (a Procfile with the line \"web: <command>\" is enough), "+
				"or set source.subdirectory if the app is not at the top of its repository", ErrMissing, FileName, ProcfileName)
		}
	}
	if _, ok := r.Serving(); !ok && (r.Health.Path != "" || len(r.Health.Command) > 0) {
		key := "health.path"
		if r.Health.Path == "" {
			key = "health.command"
		}
		return Recipe{}, fmt.Errorf("%s: %s is given, but no process has a port to be asked at; name one web, or give it port: true", named, key)
	}
	return r, nil
}

// read gives a regular file's content, bounded. It looks before it opens: to open a pipe is to wait for who writes to it.
func read(fsys fs.FS, name string) (data []byte, found bool, err error) {
	before, err := fs.Stat(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", name, err)
	}
	if !before.Mode().IsRegular() {
		return nil, false, &strictyaml.Error{File: name, Message: "is not a regular file"}
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, false, &strictyaml.Error{File: name, Message: "is not a regular file"}
	}
	data, err = io.ReadAll(io.LimitReader(f, strictyaml.MaxSize+1))
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	return data, true, nil
}

// Heroku's form: https://devcenter.heroku.com/articles/procfile
var procLine = regexp.MustCompile(`^([A-Za-z0-9_-]+)[ \t]*:[ \t]*(.*)$`)

// procfile reads a Procfile: one "name: command" a line, blank lines and lines that begin with # left out.
// The one named release is no process, but the release task.
func procfile(data []byte) ([]Process, *Task, error) {
	var out []Process
	var release *Task
	fail := func(line, column int, format string, args ...any) ([]Process, *Task, error) {
		return nil, nil, &strictyaml.Error{File: ProcfileName, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
	}
	if len(data) > strictyaml.MaxSize {
		return fail(0, 0, "is larger than the %d KiB that are read", strictyaml.MaxSize>>10)
	}
	seen := map[string]int{}
	for i, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		line, n := strings.TrimRight(line, " \t\r"), i+1
		if line == "" || strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
			continue
		}
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			return fail(n, 1, "is not text: it must be UTF-8 without control characters")
		}
		m := procLine.FindStringSubmatch(line)
		if m == nil {
			return fail(n, 1, "%q is not \"name: command\"", shorten(line))
		}
		name, run := m[1], m[2]
		if err := checkName(name); err != nil {
			return fail(n, 1, "%s", err)
		}
		if run == "" {
			return fail(n, 1, "%s has no command", name)
		}
		if before, twice := seen[name]; twice {
			return fail(n, 1, "%s is given twice, first in line %d", name, before)
		}
		seen[name] = n
		if name == "release" {
			release = &Task{Run: Shell(run), Timeout: DefaultTaskTimeout}
			continue
		}
		web := name == "web"
		out = append(out, Process{Name: name, Run: Shell(run), Port: web, Overlap: web, StopTimeout: DefaultStopTimeout})
	}
	if len(out) == 0 {
		return fail(0, 0, "names no process; write \"web: <command>\"")
	}
	if len(out) > maxProcesses {
		return fail(0, 0, "has %d processes; %d are supported", len(out), maxProcesses)
	}
	order(out)
	return out, release, nil
}
