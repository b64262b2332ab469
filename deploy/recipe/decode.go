package recipe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

// Bounds of what a recipe may ask for. They catch slips (500s for 500ms), not ambitions.
const (
	maxBuildTimeout = 6 * time.Hour
	maxTaskTimeout  = 6 * time.Hour
	maxStopTimeout  = 10 * time.Minute
	maxDeadline     = time.Hour
	maxProcesses    = 16
	maxShared       = 32
	maxSharedPath   = 200
	maxCached       = 8
	// Under systemd each check by command is a unit of its own, which systemd makes and removes.
	minCommandInterval = time.Second
)

func decode(m *strictyaml.Map) Recipe {
	r := defaults()
	r.Shared = shared(m.Get("shared"))
	if v := m.Get("build"); v.Given() {
		r.Build = build(v.Map(), r.Build, r.Shared)
	}
	r.Processes = processes(m.Get("processes"))
	r.Health = health(m.Get("health"), r.Health)
	r.Environment = environment(m.Get("environment"))
	if v := m.Get("release_task"); v.Given() {
		r.Task = task(v)
	}
	m.Reserved("packages", "before_stop")
	m.Done()
	return r
}

func build(m *strictyaml.Map, b Build, shared []string) Build {
	b.Run = command(m.Require("run", "it is the command that builds the app; leave build out if there is nothing to build"))
	m.Get("timeout").Duration(&b.Timeout, time.Second, maxBuildTimeout)
	b.Environment = environment(m.Get("environment"))
	b.Secrets = secrets(m.Get("secrets"), b.Environment)
	b.Cache = cached(m.Get("cache"), shared)
	m.Done()
	return b
}

// task reads a command, or a command with what else is to be said of it.
func task(v strictyaml.Value) *Task {
	t := &Task{Timeout: DefaultTaskTimeout}
	if v.Kind() != strictyaml.Mapping {
		t.Run = command(v)
		return t
	}
	m := v.Map()
	t.Run = command(m.Require("run", "it is the command that is run once a rollout; leave release_task out if there is none"))
	m.Get("timeout").Duration(&t.Timeout, time.Second, maxTaskTimeout)
	m.Get("reversible").Bool(&t.Reversible)
	m.Done()
	return t
}

// secrets reads the names of variables in Parameter Store.
func secrets(v strictyaml.Value, plain map[string]string) []string {
	var out []string
	for _, item := range v.List() {
		var name string
		if !item.String(&name) {
			continue
		}
		if err := CheckVariable(name); err != nil {
			item.Fail("%s: %s", item.Name(), err)
			continue
		}
		if _, both := plain[name]; both {
			item.Fail("%s is in build.environment too; keep one of them", name)
		}
		if slices.Contains(out, name) {
			item.Fail("%s names %s twice", v.Name(), name)
			continue
		}
		out = append(out, name)
	}
	return out
}

func processes(v strictyaml.Value) []Process {
	var out []Process
	serving, entries := "", v.Map().Entries()
	for _, e := range entries {
		if err := checkName(e.Key); err != nil {
			e.Place.Fail("%s: %s", v.Name(), err)
			continue
		}
		p := process(e.Key, e.Value)
		if p.Port && serving != "" {
			e.Place.Fail("%s and %s both have a port; one process takes the traffic, so set port: false for one of them", serving, p.Name)
		}
		if p.Port {
			serving = p.Name
		}
		out = append(out, p)
	}
	if v.Kind() == strictyaml.Mapping && len(entries) == 0 {
		v.Fail("processes names no process; write \"web: <command>\" below it, or leave it out for the Procfile")
	}
	if len(out) > maxProcesses {
		v.Fail("processes has %d processes; %d are supported", len(out), maxProcesses)
	}
	order(out)
	return out
}

func process(name string, v strictyaml.Value) Process {
	p := Process{Name: name, Port: name == "web", StopTimeout: DefaultStopTimeout}
	if v.Kind() != strictyaml.Mapping {
		p.Run = command(v)
	} else {
		m := v.Map()
		p.Run = command(m.Require("run", "it is the command that starts the process"))
		m.Get("port").Bool(&p.Port)
		overlap := m.Get("overlap")
		if overlap.Bool(&p.Overlap) && !p.Overlap && p.Port {
			overlap.Fail("%s can't be false for a process with a port: the new release proves itself while the old one serves; "+
				"an app that can't run twice needs \"switch: restart\" in the instance's configuration", overlap.Name())
		}
		m.Get("stop_timeout").Duration(&p.StopTimeout, 0, maxStopTimeout)
		m.Done()
	}
	p.Overlap = p.Overlap || p.Port
	return p
}

// order puts web first, then goes by name.
func order(list []Process) {
	slices.SortFunc(list, func(a, b Process) int {
		switch {
		case a.Name == b.Name:
			return 0
		case a.Name == "web":
			return -1
		case b.Name == "web":
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
}

// command reads a string for the shell, or a list to be executed as it is.
func command(v strictyaml.Value) Command {
	switch v.Kind() {
	case strictyaml.Absent:
		return nil
	case strictyaml.List:
		var out Command
		items := v.List()
		for _, item := range items {
			var s string
			if item.String(&s) {
				out = append(out, s)
			}
		}
		if len(items) == 0 || (len(out) > 0 && out[0] == "") {
			v.Fail("%s names no program to run", v.Name())
		}
		return out
	case strictyaml.Text:
		var s string
		if v.String(&s); strings.TrimSpace(s) == "" {
			v.Fail("%s is an empty command", v.Name())
		}
		return Shell(strings.TrimSpace(s))
	}
	v.Fail("%s must be a command: text for the shell, or a list such as [\"bin/server\", \"--verbose\"]; it is %s", v.Name(), v.Kind())
	return nil
}

func environment(v strictyaml.Value) map[string]string {
	var out map[string]string
	for _, e := range v.Map().Entries() {
		if err := CheckVariable(e.Key); err != nil {
			e.Place.Fail("%s: %s", v.Name(), err)
			continue
		}
		var s string
		if e.Value.String(&s) {
			if out == nil {
				out = map[string]string{}
			}
			out[e.Key] = s
		}
	}
	return out
}

// shared reads the directories that outlive a release.
func shared(v strictyaml.Value) []string { return directories(v, maxShared, checkShared) }

// cached reads the directories that a build finds as an earlier one left them.
func cached(v strictyaml.Value, shared []string) []string {
	return directories(v, maxCached, func(path string) error {
		if err := checkCached(path); err != nil {
			return err
		}
		for _, other := range shared {
			if overlap(path, other) {
				return fmt.Errorf("%q and the shared directory %q are the same, or one is inside of the other; a build can't reach what is shared", shorten(path), shorten(other))
			}
		}
		return nil
	})
}

// directories reads a list of directories below the app's, none of which is inside of another.
func directories(v strictyaml.Value, most int, check func(string) error) []string {
	var out []string
	for _, item := range v.List() {
		var path string
		if !item.String(&path) {
			continue
		}
		path = strings.TrimSuffix(path, "/")
		if err := check(path); err != nil {
			item.Fail("%s: %s", item.Name(), err)
			continue
		}
		for _, other := range out {
			if overlap(path, other) {
				item.Fail("%s: %q and %q are the same directory, or one is inside of the other; name the outer one alone", item.Name(), shorten(other), shorten(path))
				break
			}
		}
		out = append(out, path)
	}
	if len(out) > most {
		v.Fail("%s has %d directories; %d are supported", v.Name(), len(out), most)
	}
	return out
}

// overlap says whether two paths are the same, or one is inside of the other.
func overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a+"/", b+"/") || strings.HasPrefix(b+"/", a+"/")
}
