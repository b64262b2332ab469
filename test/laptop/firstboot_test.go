package laptop_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/trial"
)

// replaced waits until the fleet's one instance is another one.
func (l *lab) replaced(old string) *trial.Instance {
	l.t.Helper()
	var next *trial.Instance
	l.until("a replacement of "+old, func() error {
		all := l.Instances()
		if len(all) != 1 || all[0].ID == old {
			return fmt.Errorf("%s is still the one", old)
		}
		next = all[0]
		return nil
	})
	return next
}

// completedItsHook: the instance completed its launch hook itself.
func (l *lab) completedItsHook(id string) {
	l.t.Helper()
	if len(l.Region.Calls(wire.Filter{Operation: "CompleteLifecycleAction", Instance: id})) == 0 {
		l.t.Errorf("%s was replaced, but did not complete its launch hook", id)
	}
}

// TestAFirstReleaseThatFailsIsHeldAndThenAbandoned: the instance waits for a
// better release for hold_on_failure, then the group gets another instance;
// a fix that is put during the hold is taken.
func TestAFirstReleaseThatFailsIsHeldAndThenAbandoned(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) { o.HoldOnFailure = 8 * time.Second })
	l.put(l.commit("main", "-dies=1ms", "-say=no database"))
	l.launch()
	first := l.only()
	l.wait("failed, and held", state("failed"), pendingWait, failure(1, "the process web exited with code 3", "| no database"))
	next := l.replaced(first.ID)
	l.completedItsHook(first.ID)

	l.wait("waiting, and not failing again", state("pending"), pendingWait, problem("release 1 ended failed", "deploy one that works", "exited with code 3"))
	l.sound("main")
	fix := l.put("main")
	l.until("in service, the same instance", func() error { return l.settled(next, fix) })
}

func TestAWrongConfigurationEndsTheAgentAndTheLaunch(t *testing.T) {
	t.Parallel()
	typo := func(o *trial.Options) { o.Configuration = "keep_relaeses: 3\n" }
	nearest := `config.yaml:9:1: unknown key "keep_relaeses"; did you mean "keep_releases"?`
	t.Run("a key that is none", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, typo)
		l.endsItsLaunch(nil, nearest)
	})
	t.Run("a target group that Auto Scaling fills", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		l.endsItsLaunch([]string{l.TargetGroup}, "has target groups attached", "detach them from the group")
	})
	t.Run("a launch hook that it may not complete", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, typo)
		l.deny("autoscaling:CompleteLifecycleAction")
		l.launch()
		l.says(nearest)
		l.says("could not be completed with ABANDON and will time out", "may not autoscaling:CompleteLifecycleAction", "add that action to its policy")
		l.says("exited with code 5 and is not started again")
	})
}

// endsItsLaunch launches an instance, which must say why it can't serve and
// abandon its launch, long before the hook's time-out.
func (l *lab) endsItsLaunch(attached []string, says ...string) {
	l.t.Helper()
	l.put(l.sound("main"))
	if err := l.Groups.CreateGroup(autoscaling.GroupConfig{
		Name: trial.GroupName, Max: max(1, l.Most), Desired: 1, TargetGroups: attached,
		Hooks: []autoscaling.Hook{{Name: "boot", Transition: autoscaling.Launching, Heartbeat: time.Hour, Default: model.HookAbandon}},
	}); err != nil {
		l.t.Fatal(err)
	}
	first := l.only()
	l.says(says...)
	l.replaced(first.ID)
	l.completedItsHook(first.ID)
}

// says waits for a line of an agent's with all these words.
func (l *lab) says(words ...string) {
	l.t.Helper()
	l.until("said", func() error {
		if !l.log.contains(words...) {
			return fmt.Errorf("no line has the words %q", words)
		}
		return nil
	})
}
