package laptop_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/trial"
)

func byGroup(o *trial.Options) { o.Mode, o.Attached = "asg", true }

// TestInModeASGTheLaunchHookIsTheGate boots an instance that Auto Scaling registers, and
// lets Auto Scaling replace it. A request that is in flight then gets its answer.
func TestInModeASGTheLaunchHookIsTheGate(t *testing.T) {
	t.Parallel()
	l := newLab(t, byGroup)
	early := make(chan error, 1)
	l.disturb(fault.Rule{Operation: "CompleteLifecycleAction", Count: 1, Effect: func(_ context.Context, _ wire.Call, next func() (any, error)) (any, error) {
		targets, err := l.targets(l.Instances()[0])
		if len(targets) > 0 {
			err = fmt.Errorf("before the hook was completed these were registered: %v", targets)
		}
		early <- err
		return next()
	}})
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	if err := <-early; err != nil {
		t.Error(err)
	}

	if err := i.Tell(t.Context(), "drain"); err == nil || !all(err.Error(), []string{"only Auto Scaling", "enter-standby"}) {
		t.Errorf("a drain: got %v", err)
	}

	answered := make(chan error, 1)
	go func() {
		release, err := get(newClient(), l.URL()+"/?for=3s")
		if err == nil && release != "1" {
			err = fmt.Errorf("release %q answered", release)
		}
		answered <- err
	}()
	time.Sleep(time.Second) // of the three that the request takes: by now it is the app's
	_, err := l.Groups.Serve(t.Context(), wire.Call{Service: autoscaling.Name, Operation: "TerminateInstanceInAutoScalingGroup", Form: url.Values{
		"InstanceId": {i.ID}, "ShouldDecrementDesiredCapacity": {"false"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error("a request in flight when the instance was ended:", err)
	}
	l.until("replaced by one that serves the stable release", func() error {
		instances := l.Instances()
		if len(instances) != 1 || instances[0].ID == i.ID {
			return fmt.Errorf("there are %d instances", len(instances))
		}
		return l.settled(instances[0], 1)
	})
	if !l.log.contains("\tstart\t", "complete the termination hook") {
		t.Error("the termination hook was not completed")
	}
}

// TestInModeASGAReleaseIsSwitchedInStandby takes a release in place, and comes back on the old one where the new one fails. There is one
// instance, so nothing answers meanwhile; what must not be is that the balancer sends it a request while it is in standby.
func TestInModeASGAReleaseIsSwitchedInStandby(t *testing.T) {
	t.Parallel()
	l := newLab(t, byGroup)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })

	l.commit("main")
	l.put("main")
	l.until("on release 2, and stable", func() error { return l.stable(i, 2) })
	if n := l.log.count(i.ID, "\tdone\t", `"phase": "standby"`); n != 2 {
		t.Errorf("it entered and left standby in %d steps", n)
	}

	l.commit("main", "-dies=300ms", "-status=503", "-say=no database")
	l.put("main")
	l.wait("back on release 2", serving(2), failure(3, "no database"))
	l.until("settled", func() error { return l.settled(i, 2) })
	if out, err := l.Groups.Serve(t.Context(), wire.Call{Service: autoscaling.Name, Operation: "DescribeAutoScalingGroups", Form: url.Values{}}); err != nil {
		t.Error(err)
	} else if text := fmt.Sprintf("%+v", out); !strings.Contains(text, "DesiredCapacity:1") {
		t.Errorf("the group does not want one instance as before: %s", text)
	}
}

// TestInModeASGAnAppThatIsKilledIsStartedAgain does not wait for anybody to take it out or to put it back.
func TestInModeASGAnAppThatIsKilledIsStartedAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, byGroup)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)
	kill(t, before.pid)
	l.until("in service again", func() error {
		running, err := l.processes(i)
		if err != nil || len(running) != 1 || running[0].pid == before.pid {
			return fmt.Errorf("these run: %v (%v)", running, err)
		}
		return l.settled(i, 1)
	})
	if err := l.machine(i).Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.until("in service after a reboot", func() error { return l.settled(i, 1) })
}

func TestABalancerModeThatIsNotInForceIsRefused(t *testing.T) {
	t.Parallel()
	mode := func(word string) func(*trial.Options) { return func(o *trial.Options) { o.Mode = word } }
	t.Run("asg, and nothing is attached", func(t *testing.T) {
		t.Parallel()
		newLab(t, mode("asg")).endsItsLaunch(nil, "balancer.mode is asg", "not attached", "or set balancer.mode: self")
	})
	t.Run("none, and a group is attached", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, mode("none"))
		l.endsItsLaunch([]string{l.TargetGroup}, "has target groups attached", "or set balancer.mode: asg")
	})
	t.Run("asg, and there is no launch hook", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, byGroup)
		l.put(l.commit("main"))
		if err := l.Groups.CreateGroup(autoscaling.GroupConfig{Name: trial.GroupName, Max: 1, Desired: 1, TargetGroups: []string{l.TargetGroup}}); err != nil {
			t.Fatal(err)
		}
		l.says("no launch lifecycle hook", "create the group with one")
		l.says("exited with code 5 and is not started again")
	})
}
