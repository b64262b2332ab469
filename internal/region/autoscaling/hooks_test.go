package autoscaling

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// A launch hook of an hour, the API's default, whose default result is the API's: ABANDON.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
func hooked(desired int) GroupConfig {
	return GroupConfig{Name: "g", Max: 5, Desired: desired, Hooks: []Hook{{Name: "boot", Transition: Launching}}}
}

func TestLaunchHookTimesOutAfterAnHourAndTheInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	f := &farm{}
	inBubble(t, Options{Launcher: f}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(hooked(1)))
		first := only(t, s)
		if first.Lifecycle != model.LifecyclePendingWait {
			t.Fatalf("state is %s", first.Lifecycle)
		}
		time.Sleep(time.Hour - time.Second)
		if now := only(t, s); now.ID != first.ID {
			t.Fatal("given up before its time")
		}
		time.Sleep(time.Second)
		second := only(t, s)
		if second.ID == first.ID || second.Lifecycle != model.LifecyclePendingWait {
			t.Fatalf("not replaced: %+v", second)
		}
		if f.running() != 1 {
			t.Errorf("%d machines run", f.running())
		}
		cancelled := s.groups["g"].activities[0]
		if cancelled.status != statusCancelled || !strings.HasSuffix(cancelled.message, "was abandoned: Heartbeat Timeout") {
			t.Errorf("launch activity: %s, %q", cancelled.status, cancelled.message)
		}
	})
}

// A hook whose default result is CONTINUE lets the instance go on when its time is over.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
func TestDefaultResultContinuePutsTheInstanceInService(t *testing.T) {
	t.Parallel()
	inBubble(t, Options{Launcher: &farm{}}, func(t *testing.T, s *Service) {
		c := hooked(1)
		c.Hooks[0].Default, c.Hooks[0].Heartbeat = model.HookContinue, 30*time.Second
		must(t, s.CreateGroup(c))
		want(t, s, model.LifecyclePendingWait)
		time.Sleep(30 * time.Second)
		want(t, s, model.LifecycleInService)
	})
}

// "If the timeout value is one hour, and you call this command after 30 minutes, the instance remains in a wait state
// for an additional hour, or for a total of 90 minutes."
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/completing-lifecycle-hooks.html
func TestHeartbeatAfterHalfAnHourMakesNinetyMinutes(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]func(InstanceStatus) []string{
		"by instance": func(i InstanceStatus) []string { return []string{"InstanceId", i.ID} },
		"by token":    func(i InstanceStatus) []string { return []string{"LifecycleActionToken", i.Waiting["boot"].Token} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, Options{Launcher: &farm{}}, func(t *testing.T, s *Service) {
				must(t, s.CreateGroup(hooked(1)))
				first := only(t, s)
				time.Sleep(30 * time.Minute)
				must(t, call(s, "RecordLifecycleActionHeartbeat", append([]string{"AutoScalingGroupName", "g", "LifecycleHookName", "boot"}, by(first)...)...))
				time.Sleep(59 * time.Minute)
				if now := only(t, s); now.ID != first.ID {
					t.Fatal("given up before its time")
				}
				time.Sleep(time.Minute)
				if now := only(t, s); now.ID == first.ID {
					t.Fatal("still there after 90 minutes")
				}
			})
		})
	}
}

// "The maximum is 172800 seconds (48 hours) or 100 times HeartbeatTimeout, whichever is smaller."
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
func TestHeartbeatsDoNotCarryBeyondTheGlobalTimeout(t *testing.T) {
	t.Parallel()
	for heartbeat, limit := range map[time.Duration]time.Duration{30 * time.Second: 50 * time.Minute, time.Hour: 48 * time.Hour} {
		t.Run(heartbeat.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, Options{Launcher: &farm{}}, func(t *testing.T, s *Service) {
				c := hooked(1)
				c.Hooks[0].Heartbeat = heartbeat
				must(t, s.CreateGroup(c))
				first, began := only(t, s), time.Now()
				for {
					err := call(s, "RecordLifecycleActionHeartbeat", "AutoScalingGroupName", "g", "LifecycleHookName", "boot", "InstanceId", first.ID)
					if err != nil {
						break
					}
					time.Sleep(heartbeat / 2)
					synctest.Wait()
				}
				if got := time.Since(began); got != limit {
					t.Errorf("held for %v, want %v", got, limit)
				}
			})
		})
	}
}

// All the hooks of a transition are open at once. CONTINUE lets the others go on, ABANDON stops them.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
func TestTwoLaunchHooks(t *testing.T) {
	t.Parallel()
	inBubble(t, Options{Launcher: &farm{}}, func(t *testing.T, s *Service) {
		c := hooked(1)
		c.Hooks = append(c.Hooks, Hook{Name: "second", Transition: Launching})
		must(t, s.CreateGroup(c))
		first := only(t, s)
		complete := func(hook, result string) error {
			return call(s, "CompleteLifecycleAction", "AutoScalingGroupName", "g", "LifecycleHookName", hook,
				"InstanceId", first.ID, "LifecycleActionResult", result)
		}
		must(t, complete("boot", "CONTINUE"))
		want(t, s, model.LifecyclePendingWait)
		must(t, complete("second", "ABANDON"))
		if now := only(t, s); now.ID == first.ID {
			t.Fatal("an abandoned instance is still there")
		}
		var e *wire.Error
		if err := complete("boot", "CONTINUE"); !errors.As(err, &e) || e.Code != "ValidationError" ||
			e.Message != "No active Lifecycle Action found with instance ID "+first.ID {
			t.Errorf("completing it again: %v", err)
		}
	})
}

// At termination CONTINUE and ABANDON alike let the instance end; ABANDON stops the other hooks.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/completing-lifecycle-hooks.html
func TestTerminationHookHoldsTheMachine(t *testing.T) {
	t.Parallel()
	for _, result := range []string{"CONTINUE", "ABANDON", "time-out"} {
		t.Run(result, func(t *testing.T) {
			t.Parallel()
			f, traffic := &farm{}, &fakeTraffic{groups: map[string]bool{"tg": true}, delay: 5 * time.Minute}
			inBubble(t, Options{Launcher: f, Traffic: traffic}, func(t *testing.T, s *Service) {
				must(t, s.CreateGroup(GroupConfig{Name: "g", Max: 5, Desired: 1, TargetGroups: []string{"tg"},
					Hooks: []Hook{{Name: "bye", Transition: Terminating, Heartbeat: 10 * time.Minute}, {Name: "other", Transition: Terminating, Heartbeat: 10 * time.Minute}}}))
				i := only(t, s)
				must(t, call(s, "SetDesiredCapacity", "AutoScalingGroupName", "g", "DesiredCapacity", "0"))
				want(t, s, model.LifecycleTerminating) // deregistered, and draining
				if _, target, _ := s.Lifecycle(i.ID); target != model.LifecycleTerminated {
					t.Errorf("its target state is %q", target)
				}
				time.Sleep(5 * time.Minute)
				want(t, s, model.LifecycleTerminatingWait)
				if f.running() != 1 {
					t.Fatal("the machine did not wait for the hook")
				}
				if result == "time-out" {
					time.Sleep(10 * time.Minute)
				} else {
					must(t, call(s, "CompleteLifecycleAction", "AutoScalingGroupName", "g", "LifecycleHookName", "bye",
						"InstanceId", i.ID, "LifecycleActionResult", result))
				}
				if result == "CONTINUE" {
					want(t, s, model.LifecycleTerminatingWait) // for the other hook
					must(t, call(s, "CompleteLifecycleAction", "AutoScalingGroupName", "g", "LifecycleHookName", "other",
						"InstanceId", i.ID, "LifecycleActionResult", result))
				}
				want(t, s)
				if f.running() != 0 {
					t.Error("the machine still runs")
				}
				if diff := cmp.Diff([]string{"register " + i.ID, "deregister " + i.ID}, traffic.log); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// "If there are any outstanding lifecycle actions, they are completed first
// (ABANDON for launching instances, CONTINUE for terminating instances)."
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteLifecycleHook.html
func TestDeletingAHookCompletesWhatWaitsForIt(t *testing.T) {
	t.Parallel()
	inBubble(t, Options{Launcher: &farm{}}, func(t *testing.T, s *Service) {
		must(t, s.CreateGroup(hooked(1)))
		first := only(t, s)
		must(t, call(s, "DeleteLifecycleHook", "AutoScalingGroupName", "g", "LifecycleHookName", "boot"))
		// ABANDON for launching instances; the replacement finds no hook any more.
		if now := only(t, s); now.ID == first.ID || now.Lifecycle != model.LifecycleInService {
			t.Errorf("%+v", now)
		}
	})
}
