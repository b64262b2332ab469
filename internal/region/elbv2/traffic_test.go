package elbv2

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/balancer"
)

// app is a real HTTP server that says who it is.
func app(t *testing.T, name string) (port int) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, name)
	}))
	t.Cleanup(srv.Close)
	_, text, _ := net.SplitHostPort(srv.Listener.Addr().String())
	port, _ = strconv.Atoi(text)
	return port
}

// A release is handed over under load as the agent does it: the new target is
// registered, becomes healthy, the old one is deregistered, and keeps serving.
func TestAHandoverUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	var failures atomic.Int64
	ms := func(low, high int) balancer.Range {
		return balancer.Range{Min: time.Duration(low) * time.Millisecond, Max: time.Duration(high) * time.Millisecond}
	}
	s := New(Options{
		Instances:   instances("i-1"),
		Propagation: Propagation{Registration: ms(10, 50), Healthy: ms(0, 50), Deregistration: ms(50, 400)},
		Balancer:    balancer.Options{OnFailure: func(f balancer.Failure) { failures.Add(1); t.Logf("failed: %+v", f) }},
	})
	defer closeService(t, s)
	group := must[string](t)(s.CreateTargetGroup(GroupSpec{
		Name: "web", Port: 80, Delay: time.Second,
		Check: HealthCheck{Interval: 50 * time.Millisecond, UnhealthyThreshold: 10},
	}))
	lb := must[string](t)(s.CreateLoadBalancer(BalancerSpec{Name: "front"}))
	listener := must[Listener](t)(s.CreateListener(lb, 0, group))

	ports := []int{app(t, "v1"), app(t, "v2"), app(t, "v3")}
	register := func(port int) {
		t.Helper()
		if err := s.register(group, []targetKey{{"i-1", port}}); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(soon); state(t, s, group, "i-1", port) != stHealthy; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("port %d is %s after %s", port, state(t, s, group, "i-1", port), soon)
			}
		}
	}
	register(ports[0])

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var bad, total atomic.Int64
	var mu sync.Mutex
	after := map[string]int{} // answers by version since the last deregistration
	for range 4 {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: soon}
			for n := 0; ctx.Err() == nil; n++ {
				if n%20 == 19 {
					transport.CloseIdleConnections() // the next goes to another node
				}
				resp, err := client.Get("http://" + listener.Balancer.Addr().String())
				total.Add(1)
				if err != nil {
					bad.Add(1)
					t.Log(err)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					bad.Add(1)
				}
				mu.Lock()
				after[string(body)]++
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	for i := range 2 {
		register(ports[i+1])
		mu.Lock()
		clear(after)
		mu.Unlock()
		if err := s.deregister(group, []targetKey{{"i-1", ports[i]}}); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(soon); state(t, s, group, "i-1", ports[i]) != stGone; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the delay does not end")
			}
		}
		mu.Lock()
		if after[fmt.Sprint("v", i+1)] == 0 {
			t.Errorf("no request reached v%d after its deregistration: the nodes know at once", i+1)
		}
		clear(after) // each of the four may still hold one answer that was on its way
		mu.Unlock()
		for deadline := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			gone, here := after[fmt.Sprint("v", i+1)], after[fmt.Sprint("v", i+2)]
			mu.Unlock()
			if gone > 4 || time.Now().After(deadline) {
				t.Errorf("after the delay v%d answered %d requests, v%d %d", i+1, gone, i+2, here)
				break
			}
			if here >= 20 {
				break
			}
		}
	}
	stop()
	wg.Wait()
	if bad.Load() != 0 || failures.Load() != 0 {
		t.Errorf("of %d requests %d failed, the balancer failed %d", total.Load(), bad.Load(), failures.Load())
	}
	t.Logf("%d requests", total.Load())
}

// A draining target gets no new request; those in flight may finish within the delay.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay
func TestADeregisteredTargetIsLeftInPeaceDuringItsDelay(t *testing.T) {
	t.Parallel()
	s := New(Options{Instances: instances("i-1")}) // with nodes that know at once
	defer closeService(t, s)
	group := must[string](t)(s.CreateTargetGroup(GroupSpec{Name: "web", Port: 80}))
	lb := must[string](t)(s.CreateLoadBalancer(BalancerSpec{Name: "front"}))
	listener := must[Listener](t)(s.CreateListener(lb, 0, group))
	keys := []targetKey{{"i-1", app(t, "old")}, {"i-1", app(t, "new")}}
	if err := s.register(group, keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		for deadline := time.Now().Add(soon); state(t, s, group, key.instance, key.port) != stHealthy; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(state(t, s, group, key.instance, key.port))
			}
		}
	}
	if err := s.deregister(group, keys[:1]); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: soon}
	for range 10 {
		resp, err := client.Get("http://" + listener.Balancer.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "new" {
			t.Fatalf("a new request went to the %s target", body)
		}
	}
	if got := state(t, s, group, "i-1", keys[0].port); got != stDraining {
		t.Error(got)
	}
}

// HTTP 502, the target closed the connection while a request was in flight:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-502-issues
func TestRequestsToATerminatedInstanceAreCut(t *testing.T) {
	t.Parallel()
	s := New(Options{Instances: instances("i-1")})
	defer closeService(t, s)
	group := must[string](t)(s.CreateTargetGroup(GroupSpec{Name: "web", Port: 80}))
	lb := must[string](t)(s.CreateLoadBalancer(BalancerSpec{Name: "front"}))
	listener := must[Listener](t)(s.CreateListener(lb, 0, group))
	arrived := make(chan struct{}, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			arrived <- struct{}{}
			<-r.Context().Done()
		}
	}))
	t.Cleanup(srv.Close)
	if err := s.register(group, []targetKey{{"i-1", srv.Listener.Addr().(*net.TCPAddr).Port}}); err != nil {
		t.Fatal(err)
	}
	status := make(chan int, 1)
	go func() {
		<-arrived
		s.InstanceGone("i-1")
	}()
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: soon}
		for {
			resp, err := client.Get("http://" + listener.Balancer.Addr().String() + "/hang")
			if err != nil {
				status <- 0
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable { // until it is registered
				status <- resp.StatusCode
				return
			}
		}
	}()
	if got := <-status; got != http.StatusBadGateway {
		t.Errorf("status %d", got)
	}
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-502-issues
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
func TestAKilledTargetIsFoundOutAndItsRequestsFail(t *testing.T) {
	t.Parallel()
	s := New(Options{Instances: instances("i-1")})
	defer closeService(t, s)
	group := must[string](t)(s.CreateTargetGroup(GroupSpec{
		Name: "web", Port: 80, Check: HealthCheck{Interval: 50 * time.Millisecond},
	}))
	lb := must[string](t)(s.CreateLoadBalancer(BalancerSpec{Name: "front"}))
	listener := must[Listener](t)(s.CreateListener(lb, 0, group))
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	port := srv.Listener.Addr().(*net.TCPAddr).Port
	if err := s.register(group, []targetKey{{"i-1", port}}); err != nil {
		t.Fatal(err)
	}
	wait := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(soon); state(t, s, group, "i-1", port) != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s after %s, want %s", state(t, s, group, "i-1", port), soon, want)
			}
		}
	}
	wait(stHealthy)
	srv.CloseClientConnections()
	srv.Close()
	resp, err := http.Get("http://" + listener.Balancer.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d", resp.StatusCode)
	}
	wait(stUnhealthy)
	http.DefaultClient.CloseIdleConnections()
}
