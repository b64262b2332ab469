package elbv2

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/balancer"
)

// lab is a service whose targets answer as up says; times are fake.
type lab struct {
	*Service
	up     atomic.Bool
	probes atomic.Int64
	hosts  *running
	group  string
	lb     string
}

// inLab runs a test with a group that checks every 10 s, a registration that
// takes 3 s, and a delay of 60 s.
func inLab(t *testing.T, test func(t *testing.T, l *lab)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{hosts: instances("i-1", "i-2")}
		three := balancer.Range{Min: 3 * time.Second, Max: 3 * time.Second}
		l.Service = New(Options{Instances: l.hosts, Propagation: Propagation{Registration: three, Deregistration: three}})
		l.probe = func(context.Context, HealthCheck, string, int) outcome {
			l.probes.Add(1)
			if l.up.Load() {
				return outcome{}
			}
			return outcome{reasonFailed, "Health checks failed"}
		}
		l.listen = func(context.Context, string) (net.Listener, error) { return make(silence), nil }
		defer closeService(t, l.Service)
		l.up.Store(true)
		l.group = must[string](t)(l.CreateTargetGroup(GroupSpec{
			Name: "web", Port: 80, Delay: time.Minute,
			Check: HealthCheck{Interval: 10 * time.Second, HealthyThreshold: 2, UnhealthyThreshold: 2},
		}))
		l.lb = must[string](t)(l.CreateLoadBalancer(BalancerSpec{Name: "front"}))
		test(t, l)
	})
}

func (l *lab) listener(t *testing.T) Listener {
	return must[Listener](t)(l.CreateListener(l.lb, 8000, l.group))
}

func (l *lab) register(t *testing.T, instance string, port int) {
	t.Helper()
	if err := l.Service.register(l.group, []targetKey{{instance, port}}); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) deregister(t *testing.T, instance string, port int) {
	t.Helper()
	if err := l.Service.deregister(l.group, []targetKey{{instance, port}}); err != nil {
		t.Fatal(err)
	}
}

// after lets time pass, then compares a target's state.
func (l *lab) after(t *testing.T, d time.Duration, instance string, port int, want string) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if got := state(t, l.Service, l.group, instance, port); got != want {
		t.Errorf("after %s %s:%d is %s, want %s", d, instance, port, got, want)
	}
}

const (
	stRegistering = "initial Elb.RegistrationInProgress"
	stChecking    = "initial Elb.InitialHealthChecking"
	stHealthy     = "healthy"
	stUnhealthy   = "unhealthy Target.FailedHealthChecks"
	stDraining    = "draining Target.DeregistrationInProgress"
	stGone        = "unused Target.NotRegistered"
	stNotInUse    = "unused Target.NotInUse"
)

// The states and their reasons:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html#target-health-states
func TestATargetsLife(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.listener(t)
		l.after(t, 0, "i-1", 0, stGone)
		l.up.Store(false)
		l.register(t, "i-1", 0)
		l.after(t, 2*time.Second, "i-1", 80, stRegistering)
		l.after(t, 2*time.Second, "i-1", 80, stChecking) // one check has failed
		l.up.Store(true)
		l.after(t, 10*time.Second, "i-1", 80, stHealthy) // one passed
		l.up.Store(false)
		l.after(t, 10*time.Second, "i-1", 80, stHealthy)
		l.after(t, 10*time.Second, "i-1", 80, stUnhealthy)
		l.up.Store(true)
		l.after(t, 10*time.Second, "i-1", 80, stUnhealthy)
		l.after(t, 10*time.Second, "i-1", 80, stHealthy)
		l.deregister(t, "i-1", 0)
		l.after(t, 59*time.Second, "i-1", 80, stDraining) // the whole delay
		l.after(t, 2*time.Second, "i-1", 80, stGone)
	})
}

// "You can register each EC2 instance … with the same target group multiple
// times using different ports."
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
func TestOneInstanceStandsSeveralTimesWithDifferentPorts(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.listener(t)
		for _, port := range []int{0, 8081, 8082} {
			l.register(t, "i-1", port)
		}
		l.after(t, 4*time.Second, "i-1", 8082, stHealthy)
		l.deregister(t, "i-1", 8081)
		l.after(t, 0, "i-1", 8081, stDraining)
		l.after(t, 0, "i-1", 8082, stHealthy)
		l.after(t, 0, "i-1", 80, stHealthy)
		l.after(t, 0, "i-1", 9999, stGone)
		if got, err := l.describe(l.group, nil); len(got) != 3 || got[0].key.port != 80 || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// "When the target is ready to receive requests, you can register it with the target group again"; only ip
// targets must wait for the end of the delay.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-register-targets.html
func TestADrainingTargetComesBack(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.listener(t)
		l.register(t, "i-1", 0)
		l.after(t, 4*time.Second, "i-1", 0, stHealthy)
		l.deregister(t, "i-1", 0)
		l.after(t, 30*time.Second, "i-1", 0, stDraining)
		l.register(t, "i-1", 0)
		l.after(t, time.Second, "i-1", 0, stRegistering)
		l.after(t, 4*time.Second, "i-1", 0, stHealthy)
		l.after(t, 2*time.Minute, "i-1", 0, stHealthy) // the old delay ends nothing any more
		probes := l.probes.Load()
		l.register(t, "i-1", 0) // nor does registering again what is registered
		l.after(t, 0, "i-1", 0, stHealthy)
		l.deregister(t, "i-1", 0)
		time.Sleep(30 * time.Second)
		l.deregister(t, "i-1", 0) // and deregistering again does not begin anew
		l.after(t, 31*time.Second, "i-1", 0, stGone)
		if l.probes.Load() != probes {
			t.Error("a draining target was checked")
		}
	})
}

// Target.NotInUse, ResourceInUse:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteTargetGroup.html
func TestAGroupIsInUseWhileItHasAListener(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.register(t, "i-1", 0)
		l.register(t, "i-2", 0)
		l.after(t, time.Minute, "i-1", 0, stNotInUse)
		if l.probes.Load() != 0 {
			t.Error("a group that is not in use was checked")
		}
		ln := l.listener(t)
		l.after(t, time.Second, "i-1", 0, stRegistering)
		l.after(t, 3*time.Second, "i-1", 0, stHealthy)
		l.deregister(t, "i-2", 0)
		if err := l.DeleteTargetGroup(l.group); code(err) != "ResourceInUse" {
			t.Errorf("deleting a group in use: %v", err)
		}
		if err := l.DeleteListener(ln.ARN); err != nil {
			t.Fatal(err)
		}
		l.after(t, 0, "i-1", 0, stNotInUse)
		l.after(t, 0, "i-2", 0, stGone)
		l.deregister(t, "i-1", 0)
		l.after(t, 0, "i-1", 0, stGone) // nothing can be in flight
		if err := l.DeleteTargetGroup(l.group); err != nil {
			t.Error(err)
		}
	})
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-register-targets.html
func TestATerminatedInstancesTargetsGo(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.listener(t)
		l.register(t, "i-1", 8081)
		l.register(t, "i-1", 8082)
		l.register(t, "i-2", 0)
		l.after(t, 4*time.Second, "i-1", 8081, stHealthy)
		l.hosts.stop("i-1")
		l.InstanceGone("i-1")
		l.after(t, 0, "i-1", 8081, stGone)
		l.after(t, 0, "i-1", 8082, stGone)
		l.after(t, 0, "i-2", 0, stHealthy)
		if err := l.RegisterInstance(l.group, "i-1"); code(err) != "InvalidTarget" {
			t.Errorf("registering a terminated instance: %v", err)
		}
	})
}

// https://docs.aws.amazon.com/autoscaling/ec2/userguide/attach-load-balancer-asg.html
func TestWhatAutoScalingSees(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.listener(t)
		check := func(want model.TargetState) {
			t.Helper()
			synctest.Wait()
			if got, err := l.Health(l.group, "i-1"); got != want || err != nil {
				t.Errorf("%s, %v; want %s", got, err, want)
			}
		}
		check(model.TargetUnused)
		if err := l.RegisterInstance(l.group, "i-1"); err != nil {
			t.Fatal(err)
		}
		check(model.TargetInitial)
		time.Sleep(4 * time.Second)
		check(model.TargetHealthy)
		l.register(t, "i-1", 8081)
		check(model.TargetHealthy) // the best of the two
		if known, healthy := l.Healthy(l.group, "i-1"); !known || !healthy {
			t.Errorf("known %v, healthy %v", known, healthy)
		}
		l.deregister(t, "i-1", 8081)
		if delay, err := l.DeregisterInstance(l.group, "i-1"); delay != time.Minute || err != nil {
			t.Errorf("%s, %v", delay, err)
		}
		check(model.TargetDraining)
		if known, _ := l.Healthy(l.group, "i-1"); known {
			t.Error("a draining target's health is told")
		}
		l.after(t, 0, "i-1", 8081, stDraining)
		time.Sleep(61 * time.Second)
		check(model.TargetUnused)
		if _, err := l.Health("arn:none", "i-1"); code(err) != "TargetGroupNotFound" {
			t.Error(err)
		}
	})
}

func TestNewCheckSettingsCountAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.listener(t)
		l.register(t, "i-1", 0)
		l.after(t, 4*time.Second, "i-1", 0, stHealthy)
		l.up.Store(false)
		check := HealthCheck{Interval: time.Second, HealthyThreshold: 2, UnhealthyThreshold: 2}
		if err := l.SetHealthCheck(l.group, check); err != nil {
			t.Fatal(err)
		}
		l.after(t, 2*time.Second, "i-1", 0, stUnhealthy)
	})
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
func TestATargetGroupHoldsAThousandTargets(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var keys []targetKey
		for port := 1; port <= 1000; port++ {
			keys = append(keys, targetKey{"i-1", port})
		}
		if err := l.Service.register(l.group, keys); err != nil {
			t.Fatal(err)
		}
		if err := l.Service.register(l.group, keys[:5]); err != nil {
			t.Errorf("what is registered counts once: %v", err)
		}
		if err := l.Service.register(l.group, []targetKey{{"i-2", 1}}); code(err) != "TooManyTargets" {
			t.Errorf("one more: %v", err)
		}
		l.SetLimits(Limits{PerGroup: 1001, PerBalancer: 1000})
		if err := l.Service.register(l.group, []targetKey{{"i-2", 1}}); err != nil {
			t.Errorf("after the quota was raised: %v", err)
		}
	})
}

// Whatever behind it they belong to, and whichever came first: the targets, or the listener.
func TestTheGroupsOfALoadBalancerShareItsQuota(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.listener(t)
		l.SetLimits(Limits{PerBalancer: 3})
		other, err := l.CreateTargetGroup(GroupSpec{Name: "other", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		register := func(group string, ports ...int) string {
			var keys []targetKey
			for _, port := range ports {
				keys = append(keys, targetKey{"i-1", port})
			}
			return code(l.Service.register(group, keys))
		}
		if got := register(l.group, 1, 2) + register(other, 1, 2); got != "" {
			t.Errorf("a group that no load balancer uses counts for itself: %s", got)
		}
		for lb := range l.balancers {
			if _, err := l.CreateListener(lb, 81, other); code(err) != "TooManyTargets" {
				t.Errorf("a listener for two more: %v", err)
			}
			if err := l.Service.deregister(other, []targetKey{{"i-1", 2}}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.CreateListener(lb, 81, other); err != nil {
				t.Errorf("a listener for one more: %v", err)
			}
		}
		for _, group := range []string{l.group, other} {
			if got := register(group, 3); got != "TooManyTargets" {
				t.Errorf("a fourth: %q", got)
			}
		}
		if err := l.Service.deregister(l.group, []targetKey{{"i-1", 1}}); err != nil {
			t.Fatal(err)
		}
		if got := register(other, 3); got != "TooManyTargets" {
			t.Errorf("while one drains: %q", got)
		}
		time.Sleep(61 * time.Second)
		if got := register(other, 3); got != "" {
			t.Errorf("after it is gone: %q", got)
		}
	})
}
