package elbv2_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/elbv2"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	server "github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
)

const instance = "i-0123456789abcdef0"

// here says that the one instance runs on this machine.
type here struct{}

func (here) Address(id string) (string, bool) { return "127.0.0.1", id == instance }

// world is a region with a load balancer that forwards to the target group web.
type world struct {
	*region.Region
	service *server.Service
	session *session.Session
	web     string // the group's ARN
}

func newWorld(t *testing.T) world {
	t.Helper()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	service := server.New(server.Options{Instances: here{}})
	r.Handle(server.SigningName, server.Namespace, service)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(r.Close(), service.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	w := world{Region: r, service: service, session: awstest.Session(t, r.Endpoint())}
	w.web = w.group(t, "web")
	balancer, err := service.CreateLoadBalancer(server.BalancerSpec{Name: "front", Subnets: "subnet-1,subnet-2"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.CreateListener(balancer, 0, w.web); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) group(t *testing.T, name string) string {
	t.Helper()
	arn, err := w.service.CreateTargetGroup(server.GroupSpec{Name: name, Port: 80, Delay: 7 * time.Second,
		Check: server.HealthCheck{Interval: 100 * time.Millisecond, Timeout: 90 * time.Millisecond, HealthyThreshold: 2, UnhealthyThreshold: 2}})
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

func (w world) adapter(groups ...string) *elbv2.Balancer { return elbv2.New(w.session, groups) }

// app serves on a port of this machine, which is the instance's too.
func app(t *testing.T) int {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// state asks for one target until it is in the wanted state.
func state(t *testing.T, b *elbv2.Balancer, port int, want ...model.TargetState) model.TargetHealth {
	t.Helper()
	var last []model.TargetHealth
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		if last, err = b.Health(t.Context(), instance, []int{port}); err != nil {
			t.Fatal(err)
		}
		for _, s := range want {
			if last[0].State == s {
				return last[0]
			}
		}
	}
	t.Fatalf("%v, want %v", last, want)
	return model.TargetHealth{}
}

func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func isConfiguration(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("no model.ErrConfiguration: %v", err)
	}
}

func TestATargetComesAndGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.adapter("web")
	port := app(t)
	if got := state(t, b, port, model.TargetUnused); got.Reason != "Target.NotRegistered" || got.Group != w.web || got.Port != port {
		t.Errorf("before: %+v", got)
	}
	if err := b.Register(t.Context(), instance, port); err != nil {
		t.Fatal(err)
	}
	if err := b.Register(t.Context(), instance, port); err != nil {
		t.Errorf("again: %v", err)
	}
	state(t, b, port, model.TargetHealthy)

	// Two ports of one instance are two targets.
	all, err := b.Health(t.Context(), instance, []int{port + 1, port})
	if err != nil {
		t.Fatal(err)
	}
	want := []model.TargetHealth{
		{Target: model.Target{Group: w.web, InstanceID: instance, Port: port + 1}, State: model.TargetUnused, Reason: "Target.NotRegistered"},
		{Target: model.Target{Group: w.web, InstanceID: instance, Port: port}, State: model.TargetHealthy},
	}
	if diff := cmp.Diff(want, all, cmpopts.IgnoreFields(model.TargetHealth{}, "Description")); diff != "" {
		t.Error(diff)
	}

	for range 2 {
		if err := b.Deregister(t.Context(), instance, port); err != nil {
			t.Fatal(err)
		}
		state(t, b, port, model.TargetDraining, model.TargetUnused)
	}
	if err := b.Deregister(t.Context(), instance, port+1); err != nil {
		t.Errorf("one that was never there: %v", err)
	}
}

func TestGroupsByNameAndByARN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := w.group(t, "api")
	got, err := w.adapter(api, "web").Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []model.TargetGroup{
		{ARN: api, Name: "api", TargetType: "instance", Protocol: "HTTP", Port: 80, HealthCheckInterval: 1, DeregistrationDelay: 7},
		{ARN: w.web, Name: "web", TargetType: "instance", Protocol: "HTTP", Port: 80, HealthCheckInterval: 1, DeregistrationDelay: 7},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAMissingGroupIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.adapter("web", "wbe").Groups(t.Context())
	isConfiguration(t, err)
	says(t, err, "there is no target group wbe in us-east-1", "balancer.target_groups")
	gone := w.web[:len(w.web)-4] + "0000"
	for name, err := range map[string]error{
		"health":     second(w.adapter(gone).Health(t.Context(), instance, []int{80})),
		"register":   w.adapter(gone).Register(t.Context(), instance, 80),
		"deregister": w.adapter(gone).Deregister(t.Context(), instance, 80),
	} {
		t.Log(name)
		isConfiguration(t, err)
		says(t, err, "there is no target group "+gone)
	}
	_, err = w.adapter("arn:aws:sns:us-east-1:1:topic").Groups(t.Context())
	isConfiguration(t, err)
	says(t, err, "arn:aws:sns:us-east-1:1:topic")
}

func second[T any](_ T, err error) error { return err }

func TestTheOtherGroupsAreServedWhenOneFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	port := app(t)
	says(t, w.adapter("missing", "web", "lost").Register(t.Context(), instance, port), "target group missing", "target group lost")
	b := w.adapter("web")
	state(t, b, port, model.TargetHealthy)
	says(t, w.adapter("missing", "web").Deregister(t.Context(), instance, port), "target group missing")
	state(t, b, port, model.TargetDraining, model.TargetUnused)
}

// A group that is deleted and made anew under its name has another ARN.
func TestAGroupMadeAnewIsFoundAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.group(t, "spare")
	b := w.adapter("spare")
	if err := b.Register(t.Context(), instance, 80); err != nil {
		t.Fatal(err)
	}
	if err := w.service.DeleteTargetGroup(old); err != nil {
		t.Fatal(err)
	}
	if anew := w.group(t, "spare"); anew == old {
		t.Fatal("the region gave the same ARN again, so this shows nothing")
	}
	says(t, b.Register(t.Context(), instance, 80), "there is no target group spare")
	if err := b.Register(t.Context(), instance, 80); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestAnotherTargetTypeIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type member struct {
		TargetGroupArn, TargetGroupName, TargetType, Protocol string
	}
	w.Faults.Add(fault.Rule{Operation: "DescribeTargetGroups", Effect: func(context.Context, wire.Call, func() (any, error)) (any, error) {
		return struct {
			TargetGroups []member `xml:"TargetGroups>member"`
		}{[]member{{w.web, "web", "ip", "HTTP"}}}, nil
	}})
	_, err := w.adapter("web").Groups(t.Context())
	isConfiguration(t, err)
	says(t, err, "target group web has target type ip", "--target-type instance")
}

func TestAnInvalidTargetIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Faults.Add(fault.Rule{Operation: "RegisterTargets",
		Effect: fault.Fail(wire.Errorf("InvalidTarget", "The following targets are not in a running state and cannot be registered: '%s'", instance))})
	err := w.adapter("web").Register(t.Context(), instance, 8080)
	says(t, err, "target group web refuses "+instance+":8080", "not in a running state", "VPC")
	if errors.Is(err, model.ErrConfiguration) {
		t.Error("an instance that does not run yet is no matter of configuration")
	}
	says(t, w.adapter("web").Register(t.Context(), instance, 0), "ports are 1 to 65535")
}

// No ports must not become AWS's "all targets".
func TestNoPortsAskNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := w.adapter("web").Health(t.Context(), instance, nil)
	if err != nil || len(got) != 0 || w.Counts()["elasticloadbalancing:DescribeTargetHealth"] != 0 {
		t.Errorf("%v, %v, %v", got, err, w.Counts())
	}
}

func TestHealthIsOneRequestAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.group(t, "api")
	if _, err := w.adapter("web", "api").Health(t.Context(), instance, []int{8080, 8081, 8082, 8083}); err != nil {
		t.Fatal(err)
	}
	if n := w.Counts()["elasticloadbalancing:DescribeTargetHealth"]; n != 2 {
		t.Errorf("%d requests", n)
	}
}
