package systemd

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/bootagent/bootagent/internal/unit"
)

// slice holds all units, so that a person can see and bound them together. Runs are in one of their own below it, by
// which they are known: systemd 252 keeps a file for ever of each unit that had fields for the journal, and a health check may
// run every few seconds.
const (
	slice    = "bootagent.slice"
	runSlice = "bootagent-run.slice"
)

// What a background unit is given: systemd.resource-control(5), where 100 is everybody's weight, and
// proc_pid_oom_score_adj(5).
const (
	backgroundWeight   = uint64(10)
	backgroundOOMScore = int32(unit.BackgroundScore)
)

// defaultStopTimeout is Spec.StopTimeout's default.
const defaultStopTimeout = 10 * time.Second

// runLogLevel is syslog's "warning": what systemd itself says of a run, and a health check is one, is not worth a line.
const runLogLevel = int32(4)

// metadataAddresses says where an instance's credentials are to be had:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func metadataAddresses() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("fd00:ec2::254/128")}
}

func property(name string, value any) sd.Property {
	return sd.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// properties are what the unit is in systemd's words. Nothing secret is among them: anybody may read them.
func (r *Runner) properties(s unit.Spec, c command, environment string, run bool) []sd.Property {
	timeout := s.StopTimeout
	if timeout <= 0 {
		timeout = defaultStopTimeout
	}
	p := []sd.Property{
		property("Description", describe(s)),
		property("Slice", sliceOf(run)),
		property("Type", "exec"), // started is what executes its program, not what was forked
		// Kept after its end, so that its exit code can be read.
		property("RemainAfterExit", true),
		property("ExecStart", []execStart{{Path: c.path, Args: literal(s.Command)}}),
		property("WorkingDirectory", s.Dir),
		property("EnvironmentFiles", []environmentPath{{Path: environment}}),
		property("UnsetEnvironment", c.unset),
		property("KillMode", "control-group"),
		property("SendSIGKILL", true),
		property("TimeoutStopUSec", uint64(timeout/time.Microsecond)),
		// A worker that the kernel kills is its main process's affair; see unit.Running.
		property("OOMPolicy", "continue"),
		property("SyslogIdentifier", s.Name),
		property("NoNewPrivileges", true),
	}
	if r.opts.Service != "" {
		p = append(p, property("Before", []string{r.opts.Service}))
	}
	if run {
		p = append(p, property("LogLevelMax", runLogLevel))
	} else {
		p = append(p, property("LogExtraFields", marksOf(s).fields()))
	}
	if s.User != "" {
		p = append(p, property("User", s.User))
		p = append(p, hardening()...)
	}
	if s.Background {
		p = append(p, property("CPUWeight", backgroundWeight), property("IOWeight", backgroundWeight), property("OOMScoreAdjust", backgroundOOMScore))
	}
	if s.Writable != nil {
		p = append(p, property("ProtectSystem", "strict"), property("PrivateTmp", true), property("ReadWritePaths", s.Writable))
	}
	if !s.Metadata {
		p = append(p, property("IPAddressDeny", denied(metadataAddresses())))
	}
	return p
}

func sliceOf(run bool) string {
	if run {
		return runSlice
	}
	return slice
}

// hardening is what takes from an unprivileged user's process nothing that an app or a build has a use for.
func hardening() []sd.Property {
	p := []sd.Property{property("ProtectProc", "invisible")}
	for _, name := range []string{
		"RestrictSUIDSGID", "RestrictRealtime", "LockPersonality",
		"ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock", "ProtectHostname",
	} {
		p = append(p, property(name, true))
	}
	return p
}

// The shapes that D-Bus wants: org.freedesktop.systemd1(5).
type (
	execStart struct {
		Path         string
		Args         []string
		IgnoreFailed bool
	}
	environmentPath struct {
		Path     string
		Optional bool
	}
	prefix struct {
		Family  int32
		Address []byte
		Bits    uint32
	}
)

func denied(all []netip.Prefix) []prefix {
	var out []prefix
	for _, p := range all {
		family := int32(syscall.AF_INET)
		if p.Addr().Is6() {
			family = syscall.AF_INET6
		}
		out = append(out, prefix{Family: family, Address: p.Addr().AsSlice(), Bits: uint32(min(max(p.Bits(), 0), math.MaxUint8))})
	}
	return out
}

// literal keeps systemd from putting variables into a command, which is to be executed as it is. (The property
// ExecStartEx has a flag for that, but systemd 252 writes it into the unit's file in a way that it can't read again: after
// a daemon-reload the unit would be damaged.)
func literal(command []string) []string {
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = strings.ReplaceAll(word, "$", "$$")
	}
	return out
}

// describe is what systemctl shows of the unit.
func describe(s unit.Spec) string {
	text := fmt.Sprintf("%s of %s", s.Process, s.Release)
	if s.Process == "" {
		text = s.Release.String()
	}
	if s.Port != 0 {
		text += fmt.Sprintf(", port %d", s.Port)
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// marks say whose a unit is, in the unit itself.
type marks struct {
	name     string // Spec.Name
	run      bool   // known by its slice; nothing but its name is kept of it
	process  string
	number   int64
	ref      string
	revision string
	port     int
}

func marksOf(s unit.Spec) marks {
	return marks{
		name: s.Name, process: s.Process, number: s.Release.Number, ref: s.Release.Ref,
		revision: s.Release.Revision, port: s.Port,
	}
}

// The journal's fields that the marks are.
const (
	fieldUnit     = "BOOTAGENT_UNIT"
	fieldProcess  = "BOOTAGENT_PROCESS"
	fieldRelease  = "BOOTAGENT_RELEASE"
	fieldRef      = "BOOTAGENT_REF"
	fieldRevision = "BOOTAGENT_REVISION"
	fieldPort     = "BOOTAGENT_PORT"
)

// fields gives them as systemd takes them. What a person may have typed is escaped as in a URL: systemd splits the
// line at blanks when it reads it again.
func (m marks) fields() [][]byte {
	out := [][]byte{[]byte(fieldUnit + "=" + m.name)}
	add := func(name, value string) {
		if value != "" {
			out = append(out, []byte(name+"="+value))
		}
	}
	add(fieldProcess, url.QueryEscape(m.process))
	if m.number != 0 {
		add(fieldRelease, strconv.FormatInt(m.number, 10))
	}
	add(fieldRef, strings.ReplaceAll(url.QueryEscape(m.ref), "%2F", "/"))
	add(fieldRevision, url.QueryEscape(m.revision))
	if m.port != 0 {
		add(fieldPort, strconv.Itoa(m.port))
	}
	return out
}

// marksIn reads the fields back; ok is false for a unit that is not ours.
func marksIn(fields [][]byte) (m marks, ok bool) {
	for _, field := range fields {
		name, value, _ := strings.Cut(string(field), "=")
		text, err := url.QueryUnescape(value)
		if err != nil {
			return marks{}, false
		}
		switch name {
		case fieldUnit:
			m.name = text
		case fieldProcess:
			m.process = text
		case fieldRelease:
			m.number, err = strconv.ParseInt(text, 10, 64)
		case fieldRef:
			m.ref = text
		case fieldRevision:
			m.revision = text
		case fieldPort:
			m.port, err = strconv.Atoi(text)
		}
		if err != nil {
			return marks{}, false
		}
	}
	return m, m.name != ""
}

// checkWritable says what systemd would say less clearly.
func checkWritable(paths []string) error {
	for _, path := range paths {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsAny(path, "\n\"'\\ ") {
			return fmt.Errorf("the directory %q that it may write is not a clean absolute path without blanks and quotes", path)
		}
	}
	return nil
}
