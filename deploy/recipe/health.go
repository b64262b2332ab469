package recipe

import (
	"regexp"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

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
