package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

// Bounds of what a recipe may ask for. They catch slips (500s for 500ms), not ambitions.
const (
	maxBuildTimeout = 6 * time.Hour
	maxStopTimeout  = 10 * time.Minute
	maxDeadline     = time.Hour
	maxProcesses    = 16
	maxShared       = 32
	maxSharedPath   = 200
	// Under systemd each check by command is a unit of its own, which systemd makes and removes.
	minCommandInterval = time.Second
)

func decode(m *strictyaml.Map) Recipe {
	r := defaults()
	if v := m.Get("build"); v.Given() {
		r.Build = build(v.Map(), r.Build)
	}
	r.Processes = processes(m.Get("processes"))
	r.Health = health(m.Get("health"), r.Health)
	r.Environment = environment(m.Get("environment"))
	r.Shared = shared(m.Get("shared"))
	m.Reserved("packages", "release_task", "before_stop")
	m.Done()
	return r
}

func build(m *strictyaml.Map, b Build) Build {
	b.Run = command(m.Require("run", "it is the command that builds the app; leave build out if there is nothing to build"))
	m.Get("timeout").Duration(&b.Timeout, time.Second, maxBuildTimeout)
	b.Environment = environment(m.Get("environment"))
	m.Reserved("cache", "secrets")
	m.Done()
	return b
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
				"an app that can't run twice needs switch: restart, which is not supported by this version of bootagent", overlap.Name())
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

func health(v strictyaml.Value, h Health) Health {
	m := v.Map()
	path, tcp, host, status, run := m.Get("path"), m.Get("tcp"), m.Get("host"), m.Get("status"), m.Get("command")
	path.Check(&h.Path, checkPath)
	h.Command = command(run)
	byTCP := false
	if tcp.Bool(&byTCP) && !byTCP {
		tcp.Fail("health.tcp can only be true; give health.path for a check by HTTP")
	}
	if byTCP && path.Given() {
		tcp.Fail("health.tcp and health.path exclude each other: keep the path for a check by HTTP, tcp for one that only connects")
	}
	if run.Given() && (path.Given() || byTCP) {
		run.Fail("health.command excludes health.path and health.tcp: keep one of them; a command can ask the app itself, on PORT")
	}
	host.Check(&h.Host, checkHost)
	if host.Given() && !path.Given() {
		host.Fail("health.host needs health.path: only a check by HTTP sends it")
	}
	statuses(status, &h.Statuses)
	if status.Given() && !path.Given() {
		status.Fail("health.status needs health.path: only a check by HTTP gets one")
	}
	interval := m.Get("interval")
	interval.Duration(&h.Interval, 10*time.Millisecond, 5*time.Minute)
	if run.Given() && h.Interval < minCommandInterval {
		interval.Fail("health.interval (%s) is too short for a command: each check starts a process, so %s is the least",
			strictyaml.Short(h.Interval), strictyaml.Short(minCommandInterval))
	}
	timeout := m.Get("timeout")
	timeout.Duration(&h.Timeout, 10*time.Millisecond, 5*time.Minute)
	m.Get("successes").Int(&h.Successes, 1, 100)
	deadline := m.Get("deadline")
	deadline.Duration(&h.Deadline, 100*time.Millisecond, maxDeadline)
	if least := time.Duration(h.Successes-1) * h.Interval; h.Deadline < least {
		deadline.Fail("health.deadline (%s) leaves no time for %d successes in a row, %s apart", strictyaml.Short(h.Deadline), h.Successes, strictyaml.Short(h.Interval))
	}
	if h.Timeout > h.Deadline && timeout.Given() {
		timeout.Fail("health.timeout (%s) is longer than health.deadline (%s)", strictyaml.Short(h.Timeout), strictyaml.Short(h.Deadline))
	}
	// A default time-out never outlasts a deadline that was made short.
	h.Timeout = min(h.Timeout, h.Deadline)
	m.Done()
	return h
}

var statusForm = regexp.MustCompile(`^([0-9]{3})(?: ?- ?([0-9]{3}))?$`)

// statuses reads 204, "204" or 200-399.
func statuses(v strictyaml.Value, dst *StatusRange) {
	if v.Kind() == strictyaml.Number {
		var one int
		if v.Int(&one, 200, 599) {
			*dst = StatusRange{one, one}
		}
		return
	}
	var s string
	if !v.String(&s) {
		return
	}
	m := statusForm.FindStringSubmatch(s)
	if m == nil {
		v.Fail("%s must be a status or a range, such as 204 or 200-399, not %q", v.Name(), s)
		return
	}
	lo, _ := strconv.Atoi(m[1]) // three digits
	hi := lo
	if m[2] != "" {
		hi, _ = strconv.Atoi(m[2])
	}
	if lo < 200 || hi > 599 || lo > hi {
		v.Fail("%s must go upwards between 200 and 599, not %q", v.Name(), s)
		return
	}
	*dst = StatusRange{lo, hi}
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
func shared(v strictyaml.Value) []string {
	var out []string
	for _, item := range v.List() {
		var path string
		if !item.String(&path) {
			continue
		}
		path = strings.TrimSuffix(path, "/")
		if err := checkShared(path); err != nil {
			item.Fail("%s: %s", item.Name(), err)
			continue
		}
		for _, other := range out {
			if path == other || strings.HasPrefix(path+"/", other+"/") || strings.HasPrefix(other+"/", path+"/") {
				item.Fail("%s: %q and %q are the same directory, or one is inside of the other; name the outer one alone", item.Name(), shorten(other), shorten(path))
				break
			}
		}
		out = append(out, path)
	}
	if len(out) > maxShared {
		v.Fail("%s has %d directories; %d are supported", v.Name(), len(out), maxShared)
	}
	return out
}

var (
	nameForm     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})(:[0-9]{1,5})?$`)
)

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q can't be a process's name; use lower-case letters, digits and dashes, a letter first, at most 31", shorten(name))
	}
	return nil
}

// checkShared says whether a path may be a shared directory's.
func checkShared(path string) error {
	parts := strings.Split(path, "/")
	switch {
	case path == "" || path == ".":
		return errors.New("it is the app's own directory; name one below it, such as uploads")
	case strings.HasPrefix(path, "/"):
		return fmt.Errorf("%q must be relative to the app's directory, such as uploads", shorten(path))
	case slices.Contains(parts, ".."):
		return fmt.Errorf("%q leads out of the app's directory", shorten(path))
	case len(path) > maxSharedPath || strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		return fmt.Errorf("%q can't be a directory's name; it has at most %d bytes, no backslash and no control characters", shorten(path), maxSharedPath)
	case slices.Contains(parts, "") || slices.Contains(parts, "."):
		return fmt.Errorf("%q has an empty part, or a dot for one; write it as a/b", shorten(path))
	case slices.ContainsFunc(parts, func(part string) bool { return strings.EqualFold(part, ".git") }):
		return fmt.Errorf("%q is git's own", shorten(path))
	}
	return nil
}

// CheckVariable says whether an app may be given an environment variable of that name.
func CheckVariable(name string) error {
	switch {
	case name == "PORT":
		return errors.New("PORT is chosen by bootagent for each start; the app reads it")
	case strings.HasPrefix(name, "BOOTAGENT_"):
		return fmt.Errorf("%q: names that begin with BOOTAGENT_ are set by bootagent itself", shorten(name))
	case !variableForm.MatchString(name):
		return fmt.Errorf("%q can't be a variable's name; use letters, digits and underscores, no digit first", shorten(name))
	}
	return nil
}

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || len(path) > 1024 || strings.ContainsAny(path, " #\r\n\t") {
		return fmt.Errorf("%q is not a path; it begins with one slash and has no spaces, for example /up", shorten(path))
	}
	if _, err := url.ParseRequestURI(path); err != nil {
		return fmt.Errorf("%q is not a path; its escapes are wrong", shorten(path))
	}
	return nil
}

func checkHost(host string) error {
	if !hostForm.MatchString(host) {
		return fmt.Errorf("%q is not a host name, for example shop.example.com", shorten(host))
	}
	return nil
}

// shorten keeps a message readable whatever a file holds.
func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}
