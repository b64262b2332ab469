package elbv2

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// "After your target is registered, it must pass one health check to be
// considered healthy." HealthyThresholdCount is "the number of consecutive
// health checks successes required before considering an unhealthy target
// healthy", UnhealthyThresholdCount "the number of consecutive health check
// failures required before considering a target unhealthy".
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
func TestChecksDecideTheState(t *testing.T) {
	t.Parallel()
	const start = "initial Elb.InitialHealthChecking"
	results := map[rune]outcome{
		'+': {},
		'4': {reasonMismatch, "Health checks failed with these codes: [404]"},
		't': {reasonTimeout, "Request timed out"},
		'x': {reasonFailed, "Health checks failed"},
	}
	// With a healthy threshold of 3 and an unhealthy threshold of 2.
	for checks, want := range map[string]string{
		"":          start,
		"+":         "healthy",
		"x":         start,
		"x+":        "healthy",
		"xx":        "unhealthy Target.FailedHealthChecks",
		"x4":        "unhealthy Target.ResponseCodeMismatch",
		"44t":       "unhealthy Target.Timeout",
		"+x":        "healthy",
		"+x+x+x":    "healthy",
		"+xt":       "unhealthy Target.Timeout",
		"xx+":       "unhealthy Target.FailedHealthChecks",
		"xx++":      "unhealthy Target.FailedHealthChecks",
		"xx+++":     "healthy",
		"xx++4++":   "unhealthy Target.ResponseCodeMismatch",
		"xx++4+++":  "healthy",
		"xx+++x":    "healthy",
		"+xx+++xx":  "unhealthy Target.FailedHealthChecks",
		"++++++++x": "healthy",
	} {
		var tr tracker
		tr.begin(checking())
		last := tr.state
		for _, c := range checks {
			changed := tr.observe(results[c], 3, 2)
			if changed != (tr.state != last) {
				t.Errorf("%q: said changed=%v on the way from %s to %s", checks, changed, last, tr.state)
			}
			last = tr.state
		}
		got := string(tr.state)
		if tr.reason != "" {
			got += " " + tr.reason
		}
		if got != want {
			t.Errorf("%q: %s, want %s", checks, got, want)
		}
		if (tr.state == model.TargetHealthy) != (tr.description == "") {
			t.Errorf("%q: description %q", checks, tr.description)
		}
	}
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Matcher.html
func TestMatcher(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"200":         "200",
		"200,202":     "200 202",
		"200-202":     "200 201 202",
		"200-201,302": "200 201 302",
		"":            "error", "99": "error", "500": "error", "299-200": "error", "200,": "error", "2xx": "error", "200-500": "error",
	} {
		m, err := parseMatcher(text)
		got := ""
		for status := 199; status < 600; status++ {
			if m.matches(status) {
				got += " " + strconv.Itoa(status)
			}
		}
		if err != nil {
			got = " error"
		}
		if got != " "+want {
			t.Errorf("%q matches%s, want %s", text, got, want)
		}
	}
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
func TestProbesAskForReal(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.UserAgent() != "ELB-HealthChecker/2.0" || r.Method != http.MethodGet {
				t.Errorf("%s by %s", r.Method, r.UserAgent())
			}
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		case "/hangup":
			panic(http.ErrAbortHandler)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	open, _ := strconv.Atoi(port)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	for _, tc := range []struct {
		check HealthCheck
		port  int
		want  string
	}{
		{HealthCheck{Path: "/ok"}, open, ""},
		{HealthCheck{Path: "/ok", Port: port}, closed, ""},
		{HealthCheck{Path: "/moved"}, open, reasonMismatch},
		{HealthCheck{Path: "/moved", Matcher: "200,302"}, open, ""},
		{HealthCheck{Path: "/none"}, open, reasonMismatch},
		{HealthCheck{Path: "/slow", Timeout: 100 * time.Millisecond}, open, reasonTimeout},
		{HealthCheck{Path: "/hangup"}, open, reasonFailed},
		{HealthCheck{Path: "/ok"}, closed, reasonFailed},
		{HealthCheck{Protocol: "TCP"}, open, ""},
		{HealthCheck{Protocol: "TCP"}, closed, reasonFailed},
	} {
		check := tc.check.withDefaults()
		if err := check.validate(); err != nil {
			t.Error(err)
		}
		if got := probe(context.Background(), check, "127.0.0.1", tc.port); got.reason != tc.want {
			t.Errorf("%+v: %s, want %s", tc.check, fmt.Sprint(got), tc.want)
		}
	}
}
