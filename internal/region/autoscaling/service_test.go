package autoscaling

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// inBubble runs a test on a service in virtual time: what takes AWS hours takes no time, and synctest.Wait waits
// until everything that can happen by now has happened.
func inBubble(t *testing.T, opts Options, test func(t *testing.T, s *Service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(opts)
		test(t, s)
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// call calls an operation with parameters given as key, value, key, value …
func call(s *Service, operation string, parameters ...string) error {
	form := url.Values{}
	for n := 0; n < len(parameters); n += 2 {
		form.Set(parameters[n], parameters[n+1])
	}
	_, err := s.Serve(context.Background(), wire.Call{Service: Name, Operation: operation, Form: form})
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// states gives the group's instances' states in order of launch, once everything has come to rest.
func states(s *Service) []model.Lifecycle {
	synctest.Wait()
	var out []model.Lifecycle
	for _, i := range s.Instances("g") {
		out = append(out, i.Lifecycle)
	}
	return out
}

func want(t *testing.T, s *Service, want ...model.Lifecycle) {
	t.Helper()
	if diff := cmp.Diff(want, states(s)); diff != "" {
		t.Fatalf("instances (-want +got):\n%s", diff)
	}
}

func only(t *testing.T, s *Service) InstanceStatus {
	t.Helper()
	synctest.Wait()
	list := s.Instances("g")
	if len(list) != 1 {
		t.Fatalf("there are %d instances, not one: %+v", len(list), list)
	}
	return list[0]
}

// The grace period does not hold for an instance that is not running any more.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/health-check-grace-period.html
func TestADeadMachineIsReplacedEvenInPendingWait(t *testing.T) {
	t.Parallel()
	f := &farm{}
	inBubble(t, Options{Launcher: f}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(hooked(1)))
		first := only(t, s)
		f.kill(first.ID)
		if second := only(t, s); second.ID == first.ID {
			t.Fatal("not replaced")
		}
		causes := s.groups["g"].activities
		if c := causes[1].cause; !strings.HasSuffix(c, "taken out of service in response to an EC2 health check indicating it has been terminated or stopped.") {
			t.Error(c)
		}
		if c := causes[2].cause; !strings.HasSuffix(c, "an instance was launched in response to an unhealthy instance needing to be replaced.") {
			t.Error(c)
		}
	})
}

// A launch that comes to nothing again and again is tried at once, and then after 1, 2, 4 … 60 s, not in a busy loop.
func TestLaunchesThatFailBackOff(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*farm{
		"no machine":                    {fail: func(int) error { return errors.New("no room") }},
		"a machine that dies like that": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, Options{Launcher: f}, func(t *testing.T, s *Service) {
				must(t, s.CreateGroup(GroupConfig{Name: "g", Max: 1, Desired: 1}))
				began := time.Now()
				for time.Since(began) < 10*time.Minute {
					synctest.Wait()
					for _, i := range s.Instances("g") {
						f.kill(i.ID)
					}
					time.Sleep(time.Second / 2)
				}
				var gaps []time.Duration
				launches := f.launched()
				for n := 1; n < len(launches); n++ {
					gaps = append(gaps, launches[n].Sub(launches[n-1]).Round(time.Second))
				}
				if len(gaps) < 9 || len(gaps) > 20 || gaps[len(gaps)-1] != time.Minute {
					t.Errorf("launched %d times in ten minutes, with these gaps: %v", len(launches), gaps)
				}
				// A user who changes the capacity wants it tried now.
				before := len(launches)
				must(t, call(s, "UpdateAutoScalingGroup", "AutoScalingGroupName", "g", "MaxSize", "2", "DesiredCapacity", "2"))
				synctest.Wait()
				if len(f.launched()) == before {
					t.Error("a new desired capacity waits for the back-off")
				}
			})
		})
	}
}

func TestSetInstanceHealthRespectsTheGracePeriodUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceHealth.html
	inBubble(t, Options{Launcher: &farm{}}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(GroupConfig{Name: "g", Max: 1, Desired: 1, GracePeriod: 5 * time.Minute}))
		first := only(t, s)
		must(t, call(s, "SetInstanceHealth", "InstanceId", first.ID, "HealthStatus", "Unhealthy"))
		if now := only(t, s); now.ID != first.ID || !now.Healthy {
			t.Fatal("replaced within the grace period")
		}
		must(t, call(s, "SetInstanceHealth", "InstanceId", first.ID, "HealthStatus", "Unhealthy", "ShouldRespectGracePeriod", "false"))
		second := only(t, s)
		if second.ID == first.ID {
			t.Fatal("not replaced although told not to mind the grace period")
		}
		time.Sleep(6 * time.Minute)
		must(t, call(s, "SetInstanceHealth", "InstanceId", second.ID, "HealthStatus", "Unhealthy"))
		if now := only(t, s); now.ID == second.ID {
			t.Fatal("not replaced after the grace period")
		}
	})
}

// https://docs.aws.amazon.com/autoscaling/ec2/userguide/health-check-grace-period.html
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeLoadBalancerTargetGroups.html
func TestELBHealthReplacesAfterTheGracePeriodOnlyOnceATargetGroupHadAHealthyInstance(t *testing.T) {
	t.Parallel()
	traffic := &fakeTraffic{groups: map[string]bool{"tg": true}, sick: map[string]bool{}}
	inBubble(t, Options{Launcher: &farm{}, Traffic: traffic}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(GroupConfig{Name: "g", Max: 1, Desired: 1, HealthCheckType: "ELB", GracePeriod: time.Minute, TargetGroups: []string{"tg"}}))
		first := only(t, s)
		traffic.set(func() { traffic.sick[first.ID] = true })
		time.Sleep(time.Hour)
		if now := only(t, s); now.ID != first.ID {
			t.Fatal("replaced although no instance ever passed in the target group")
		}
		traffic.set(func() { traffic.sick[first.ID] = false })
		time.Sleep(time.Minute)
		traffic.set(func() { traffic.sick[first.ID] = true })
		time.Sleep(2 * time.Second)
		second := only(t, s)
		if second.ID == first.ID {
			t.Fatal("not replaced")
		}
		traffic.set(func() { traffic.sick[second.ID] = true })
		time.Sleep(50 * time.Second)
		if now := only(t, s); now.ID != second.ID {
			t.Fatal("replaced within the grace period")
		}
		time.Sleep(15 * time.Second)
		if now := only(t, s); now.ID == second.ID {
			t.Fatal("not replaced after the grace period")
		}
	})
}

// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
// Out of standby an instance goes by way of Pending, but not through the hooks: they are for launches and terminations, says
// the footnote of the first table in
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
func TestStandbyLeavesTheTargetGroupAndComesBackWithoutAHook(t *testing.T) {
	t.Parallel()
	traffic := &fakeTraffic{groups: map[string]bool{"tg": true}, delay: time.Minute}
	type seen struct {
		Current, Target model.Lifecycle
	}
	var told []seen
	inBubble(t, Options{Launcher: &farm{}, Traffic: traffic, OnTransition: func(_ string, current, target model.Lifecycle) {
		told = append(told, seen{current, target}) // by one goroutine, which Close has waited for when it is read
	}}, func(t *testing.T, s *Service) {
		c := hooked(1)
		c.TargetGroups = []string{"tg"}
		must(t, s.CreateGroup(c))
		i := only(t, s)
		must(t, call(s, "CompleteLifecycleAction", "AutoScalingGroupName", "g", "LifecycleHookName", "boot", "InstanceId", i.ID,
			"LifecycleActionResult", "CONTINUE"))
		want(t, s, model.LifecycleInService)
		must(t, call(s, "EnterStandby", "AutoScalingGroupName", "g", "InstanceIds.member.1", i.ID, "ShouldDecrementDesiredCapacity", "true"))
		want(t, s, model.LifecycleEnteringStandby)
		time.Sleep(time.Minute)
		want(t, s, model.LifecycleStandby)
		must(t, call(s, "ExitStandby", "AutoScalingGroupName", "g", "InstanceIds.member.1", i.ID))
		want(t, s, model.LifecycleInService)
		synctest.Wait()
		if !traffic.members["tg "+i.ID] {
			t.Error("not registered again")
		}
	})
	// https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
	wantTold := []seen{{"Pending", "InService"}, {"Pending:Wait", "InService"}, {"Pending:Proceed", "InService"}, {"InService", "InService"},
		{"EnteringStandby", "Standby"}, {"Standby", "Standby"}, {"Pending", "InService"}, {"InService", "InService"}}
	if diff := cmp.Diff(wantTold, told); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
}

// Where the desired capacity is not decremented, another instance is launched in the place of the one on standby.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
func TestStandbyWithoutDecrementIsReplaced(t *testing.T) {
	t.Parallel()
	inBubble(t, Options{Launcher: &farm{}}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(GroupConfig{Name: "g", Min: 1, Max: 2, Desired: 1}))
		i := only(t, s)
		enter := func(decrement string) error {
			return call(s, "EnterStandby", "AutoScalingGroupName", "g", "InstanceIds.member.1", i.ID, "ShouldDecrementDesiredCapacity", decrement)
		}
		if err := enter("true"); err == nil || !strings.Contains(err.Error(), "has min-size=1, max-size=2, and desired-size=1. To place into standby 1 instance") {
			t.Errorf("with decrement at minimum size: %v", err)
		}
		must(t, enter("false"))
		want(t, s, model.LifecycleStandby, model.LifecycleInService)
		must(t, call(s, "ExitStandby", "AutoScalingGroupName", "g", "InstanceIds.member.1", i.ID)) // desired is 2 now
		want(t, s, model.LifecycleInService, model.LifecycleInService)
	})
}

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html
func TestForceDeleteEndsEverything(t *testing.T) {
	t.Parallel()
	f := &farm{}
	inBubble(t, Options{Launcher: f}, func(t *testing.T, s *Service) {
		c := hooked(3)
		c.Hooks = append(c.Hooks, Hook{Name: "bye", Transition: Terminating})
		must(t, s.CreateGroup(c))
		synctest.Wait()
		must(t, call(s, "SetDesiredCapacity", "AutoScalingGroupName", "g", "DesiredCapacity", "2"))
		want(t, s, model.LifecycleTerminatingWait, model.LifecyclePendingWait, model.LifecyclePendingWait)
		if err := call(s, "DeleteAutoScalingGroup", "AutoScalingGroupName", "g"); err == nil || !strings.HasPrefix(err.Error(), "ResourceInUse") {
			t.Errorf("deleting a group with instances: %v", err)
		}
		must(t, call(s, "DeleteAutoScalingGroup", "AutoScalingGroupName", "g", "ForceDelete", "true"))
		want(t, s)
		if f.running() != 0 || s.Instances("g") != nil {
			t.Errorf("%d machines run, group is %v", f.running(), s.Instances("g"))
		}
		must(t, s.CreateGroup(hooked(0))) // the name is free again
	})
}

func TestABrokenBalancerDelaysAnInstanceButLosesNothing(t *testing.T) {
	t.Parallel()
	traffic := &fakeTraffic{groups: map[string]bool{"tg": true}, broken: true}
	inBubble(t, Options{Launcher: &farm{}, Traffic: traffic}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(GroupConfig{Name: "g", Max: 1, Desired: 1, TargetGroups: []string{"tg"}}))
		time.Sleep(time.Minute)
		want(t, s, model.LifecyclePending)
		traffic.set(func() { traffic.broken = false })
		time.Sleep(2 * time.Second)
		want(t, s, model.LifecycleInService)
	})
}

func TestCloseEndsEveryMachine(t *testing.T) {
	t.Parallel()
	f := &farm{}
	inBubble(t, Options{Launcher: f}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(hooked(3)))
		synctest.Wait()
		must(t, s.Close(t.Context()))
		if f.running() != 0 {
			t.Errorf("%d machines are left", f.running())
		}
		if err := call(s, "DescribeAutoScalingGroups"); err == nil {
			t.Error("a closed service serves")
		}
	})
}
