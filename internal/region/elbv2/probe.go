package elbv2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// HealthCheck is how a target group checks its targets. Zero fields have AWS's defaults.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
type HealthCheck struct {
	// Protocol is HTTP (default) or TCP. AWS has TCP only for network load
	// balancers, and the API refuses it here too: it is for in-process use.
	Protocol string
	// Port is "traffic-port" (default) or a number.
	Port string
	// Path of the request; "/" by default.
	Path string
	// Matcher is the set of HTTP statuses that pass, between 200 and 499:
	// "200" (default), "200,302", "200-299".
	Matcher string
	// Interval between the starts of two checks, 30 s by default. The API
	// takes 5 to 300 s.
	Interval time.Duration
	// Timeout of one check, 5 s by default. The API takes 2 to 120 s, less than Interval.
	Timeout time.Duration
	// HealthyThreshold is how many checks in a row an unhealthy target must
	// pass, 5 by default; UnhealthyThreshold how many one must fail, 2 by
	// default. Both 2 to 10.
	HealthyThreshold, UnhealthyThreshold int
}

const trafficPort = "traffic-port"

// withDefaults fills in what is zero.
func (c HealthCheck) withDefaults() HealthCheck {
	text := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	text(&c.Protocol, "HTTP")
	text(&c.Port, trafficPort)
	if c.Protocol == "HTTP" {
		text(&c.Path, "/")
		text(&c.Matcher, "200")
	}
	if c.Interval == 0 {
		c.Interval = 30 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.HealthyThreshold == 0 {
		c.HealthyThreshold = 5
	}
	if c.UnhealthyThreshold == 0 {
		c.UnhealthyThreshold = 2
	}
	return c
}

// validate checks what holds for the API and in-process alike.
func (c HealthCheck) validate() error {
	switch c.Protocol {
	case "HTTP":
		if !strings.HasPrefix(c.Path, "/") || len(c.Path) > 1024 {
			return invalid("Health check path '%s' must begin with a '/' character, and can have a length from 1 to 1024 characters", c.Path)
		}
		if _, err := parseMatcher(c.Matcher); err != nil {
			return err
		}
	case "TCP":
	default:
		return unsupported("health checks over %s, only HTTP", c.Protocol)
	}
	if c.Port != trafficPort {
		if n, err := strconv.Atoi(c.Port); err != nil || n < 1 || n > 65535 {
			return invalid("Health check port '%s' must be 'traffic-port' or a port number between '1' and '65535'", c.Port)
		}
	}
	if c.Interval < 0 || c.Timeout < 0 {
		return invalid("Health check interval %s and timeout %s must not be negative", c.Interval, c.Timeout)
	}
	for name, n := range map[string]int{"Healthy": c.HealthyThreshold, "Unhealthy": c.UnhealthyThreshold} {
		if n < 2 || n > 10 {
			return invalid("%s threshold count '%d' must be between '2' and '10' inclusive", name, n)
		}
	}
	return nil
}

// portOf is the port that a target's checks go to.
func (c HealthCheck) portOf(target int) int {
	if n, err := strconv.Atoi(c.Port); err == nil {
		return n
	}
	return target
}

// matcher is a set of HTTP statuses, as pairs of bounds.
type matcher [][2]int

func (m matcher) matches(status int) bool {
	for _, r := range m {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}

// parseMatcher reads "200,202", "200-299", or both mixed.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Matcher.html
func parseMatcher(s string) (matcher, error) {
	var m matcher
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || low < 200 || high > 499 || low > high {
			return nil, invalid("Health check matcher HTTP code '%s' must be a single code, a comma-separated list or a range, between '200' and '499'", s)
		}
		m = append(m, [2]int{low, high})
	}
	return m, nil
}

// probe makes one health check, for at most the check's Timeout.
func probe(ctx context.Context, check HealthCheck, host string, port int) outcome {
	ctx, cancel := context.WithTimeout(ctx, check.Timeout)
	defer cancel()
	address := net.JoinHostPort(host, strconv.Itoa(check.portOf(port)))
	if check.Protocol == "TCP" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return failed(err)
		}
		_ = conn.Close() // the connection was the check
		return outcome{}
	}
	status, err := get(ctx, "http://"+address+check.Path)
	if err != nil {
		return failed(err)
	}
	m, err := parseMatcher(check.Matcher)
	if err != nil {
		return failed(err)
	}
	if !m.matches(status) {
		return outcome{reasonMismatch, fmt.Sprintf("Health checks failed with these codes: [%d]", status)}
	}
	return outcome{}
}

func failed(err error) outcome {
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return outcome{reasonTimeout, "Request timed out"}
	}
	return outcome{reasonFailed, "Health checks failed"}
}

// get asks as a load balancer's node does: over a connection of its own, which
// it closes afterwards, without following redirects.
func get(ctx context.Context, url string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 32 << 10,
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	// The status is what counts; reading a little lets the target finish in peace.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}
