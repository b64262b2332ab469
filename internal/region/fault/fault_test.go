package fault_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
)

var (
	jsonCall = wire.Call{
		Service: "ssm", Operation: "GetParameters", Region: "us-east-1", Body: []byte(`{"Names":["/shop/a:stable","/shop/b"]}`),
		Principal: wire.Principal{Account: "123456789012", ARN: "arn:aws:sts::123456789012:assumed-role/web/i-1", Instance: "i-1"},
	}
	queryCall = wire.Call{
		Service: "elasticloadbalancing", Operation: "RegisterTargets", Form: url.Values{"TargetGroupArn": {"arn:tg"}},
		Principal: wire.Principal{ARN: "arn:aws:iam::123456789012:user/laptop"},
	}
)

// counted is a service that counts what reaches it.
type counted struct {
	mu sync.Mutex
	n  int
}

func (c *counted) next() (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return "answer", nil
}

func code(err error) string {
	var e *wire.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, wire.ErrCut):
		return "cut"
	case errors.As(err, &e):
		return e.Code
	}
	return err.Error()
}

func TestEffectsSpeakTheProtocolOfTheCall(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name        string
		effect      fault.Effect
		json, query string
		reaches     int // of the two calls, how many reach the service
	}{
		{"throttle", fault.Throttle(), "ThrottlingException", "Throttling", 0},
		{"server error", fault.ServerError(), "InternalServerError", "InternalFailure", 0},
		{"deny", fault.Deny(), "AccessDeniedException", "AccessDenied", 0},
		{"fail", fault.Fail(wire.Errorf("Odd", "x")), "Odd", "Odd", 0},
		{"delay", fault.Delay(time.Millisecond), "ok", "ok", 2},
		{"cut before", fault.CutBefore(), "cut", "cut", 0},
		{"cut after", fault.CutAfter(), "cut", "cut", 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var injector fault.Injector
			var service counted
			rule := injector.Add(fault.Rule{Effect: c.effect})
			_, err := injector.Intercept(t.Context(), jsonCall, service.next)
			if got := code(err); got != c.json {
				t.Errorf("json: %s, want %s", got, c.json)
			}
			_, err = injector.Intercept(t.Context(), queryCall, service.next)
			if got := code(err); got != c.query {
				t.Errorf("query: %s, want %s", got, c.query)
			}
			if service.n != c.reaches || rule.Hits() != 2 {
				t.Errorf("%d calls reached the service, %d hits, want %d and 2", service.n, rule.Hits(), c.reaches)
			}
		})
	}
}

func TestDenyNamesCallerActionAndResource(t *testing.T) {
	t.Parallel()
	cases := []struct {
		call wire.Call
		want string
	}{
		{jsonCall, "User: arn:aws:sts::123456789012:assumed-role/web/i-1 is not authorized to perform: ssm:GetParameters " +
			"on resource: arn:aws:ssm:us-east-1:123456789012:parameter/shop/a because"},
		{queryCall, "User: arn:aws:iam::123456789012:user/laptop is not authorized to perform: elasticloadbalancing:RegisterTargets " +
			"on resource: arn:tg because"},
		{wire.Call{Service: "sts", Operation: "AssumeRole", Principal: queryCall.Principal, Form: url.Values{"RoleArn": {"arn:role"}}},
			"is not authorized to perform: sts:AssumeRole on resource: arn:role because"},
	}
	for _, c := range cases {
		var injector fault.Injector
		injector.Add(fault.Rule{Effect: fault.Deny()})
		_, err := injector.Intercept(t.Context(), c.call, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
}

func TestARuleTakesTheCallsItNames(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		rule fault.Rule
		want string // of six identical calls: x disturbed, . not
	}{
		{"every call", fault.Rule{}, "xxxxxx"},
		{"this operation", fault.Rule{Service: "ssm", Operation: "GetParameters"}, "xxxxxx"},
		{"another operation", fault.Rule{Operation: "PutParameter"}, "......"},
		{"another service", fault.Rule{Service: "sts"}, "......"},
		{"this instance", fault.Rule{Instance: "i-1"}, "xxxxxx"},
		{"another instance", fault.Rule{Instance: "i-2"}, "......"},
		{"a condition", fault.Rule{When: func(c wire.Call) bool { return strings.Contains(string(c.Body), "/shop/b") }}, "xxxxxx"},
		{"the first two", fault.Rule{Count: 2}, "xx...."},
		{"the third alone", fault.Rule{Skip: 2, Count: 1}, "..x..."},
		{"all but the first", fault.Rule{Skip: 1}, ".xxxxx"},
		{"by chance, but always the same", fault.Rule{Probability: 0.5, Seed: 7}, byChance(t, 7)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := pattern(t.Context(), c.rule); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func pattern(ctx context.Context, rule fault.Rule) string {
	rule.Effect = fault.Throttle()
	var injector fault.Injector
	injector.Add(rule)
	var out strings.Builder
	for range 6 {
		if _, err := injector.Intercept(ctx, jsonCall, new(counted).next); err != nil {
			out.WriteByte('x')
		} else {
			out.WriteByte('.')
		}
	}
	return out.String()
}

// byChance is a seed's pattern, which must be neither nothing nor everything.
func byChance(t *testing.T, seed uint64) string {
	p := pattern(t.Context(), fault.Rule{Probability: 0.5, Seed: seed})
	if !strings.Contains(p, "x") || !strings.Contains(p, ".") {
		t.Fatalf("seed %d gives %s: choose another", seed, p)
	}
	return p
}

func TestHangEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	var injector fault.Injector
	var service counted
	injector.Add(fault.Rule{Effect: fault.Hang()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := injector.Intercept(ctx, jsonCall, service.next)
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("the call did not hang: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-ended; !errors.Is(err, wire.ErrCut) || service.n != 0 {
		t.Errorf("ended with %v, %d reached the service", err, service.n)
	}
}

func TestSeveralRulesAreAroundEachOtherInTheirOrder(t *testing.T) {
	t.Parallel()
	var injector fault.Injector
	var order []string
	note := func(name string) fault.Effect {
		return func(_ context.Context, _ wire.Call, next func() (any, error)) (any, error) {
			order = append(order, name)
			return next()
		}
	}
	injector.Add(fault.Rule{Effect: note("first")})
	second := injector.Add(fault.Rule{Effect: note("second")})
	injector.Add(fault.Rule{Effect: fault.Throttle()})
	hidden := injector.Add(fault.Rule{Effect: note("never reached")})
	_, err := injector.Intercept(t.Context(), jsonCall, nil)
	if code(err) != "ThrottlingException" || hidden.Hits() != 0 {
		t.Errorf("%v, %d hits behind the throttle", err, hidden.Hits())
	}
	second.Remove()
	second.Remove() // twice is no harm
	_, _ = injector.Intercept(t.Context(), jsonCall, nil)
	if diff := cmp.Diff([]string{"first", "second", "first"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	injector.Clear()
	if got, err := injector.Intercept(t.Context(), jsonCall, new(counted).next); got != "answer" || err != nil {
		t.Errorf("after Clear: %v %v", got, err)
	}
}

func TestRulesComeAndGoWhileCallsRun(t *testing.T) {
	t.Parallel()
	var injector fault.Injector
	var service counted
	throttled := injector.Add(fault.Rule{Count: 10, Effect: fault.Throttle()})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				rule := injector.Add(fault.Rule{Effect: fault.Delay(0)})
				_, _ = injector.Intercept(t.Context(), jsonCall, service.next)
				rule.Remove()
			}
		})
	}
	wg.Wait()
	if throttled.Hits() != 10 || service.n != 390 {
		t.Errorf("%d throttled, %d served, want 10 and 390", throttled.Hits(), service.n)
	}
}
