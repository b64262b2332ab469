package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

func markedAside() is { return func(_ *Observed, d *Desired, _ *Memory) { d.Marked = true } }

// inStandby is an attached instance there, with nothing that runs.
func inStandby(more ...is) []is {
	return append([]is{attached(), lifecycle(model.LifecycleStandby), prepared(one, two)}, more...)
}

func TestAnInstanceWithNothingLeftToServeLeavesStandbyToo(t *testing.T) {
	t.Parallel()
	o, d, m := scenery(inStandby(newest(two), bad(two, noon), served(one), aside())...)
	if steps := Plan(o, d, m, noon); len(steps) != 1 || steps[0] != (ExitStandby{}) {
		t.Errorf("it is to %v", steps)
	}
	crashed := func(_ *Observed, _ *Desired, m *Memory) {
		m.Serving, m.Crashes[web] = true, Retry{Count: beyondHelp, At: noon, NotBefore: noon.Add(longest)}
	}
	ro, rd, rm := scenery(inStandby(newest(two), bad(two, noon), served(one), aside(), crashed)...)
	if steps := Plan(ro, rd, rm, noon); len(steps) != 1 || steps[0] != (ExitStandby{}) {
		t.Errorf("where the old release does not come up any more it is to %v", steps)
	}
	o.Membership.Lifecycle = model.LifecycleInService
	if m.Seen(d, o, noon).Aside {
		t.Error("it is back, and takes itself for aside")
	}
}

// Its agent was struck down as it was about to stop the old process, and was away for so long that another one brought the instance back.
func TestAProcessThatIsBackInServiceIsNotStoppedThere(t *testing.T) {
	t.Parallel()
	stops := func(_ *Observed, _ *Desired, m *Memory) {
		*m = m.Before(Stop{Release: one, Unit: UnitName("shop", 1, "web"), Port: 8080})
	}
	scene := settled(attached(), grouped(), newest(two), prepared(two), aside(), stops)
	o, d, m := scenery(scene...)
	if steps := Plan(o, d, m.Seen(d, o, noon), noon); len(steps) != 1 || steps[0] != (EnterStandby{one}) {
		t.Errorf("it is to %v", steps)
	}
	o.Membership.Lifecycle, o.Targets = model.LifecycleStandby, nil
	if steps := Plan(o, d, m.Seen(d, o, noon), noon); len(steps) != 1 || steps[0] != (Stop{one, UnitName("shop", 1, "web"), 8080}) {
		t.Errorf("where it is still in standby it is to %v", steps)
	}
}

// It was brought back, and its group ended it before its agent had seen that.
func TestAnInstanceThatEndsOnItsWayBackFromStandbyIsDrained(t *testing.T) {
	t.Parallel()
	o, d, m := scenery(attached(), newest(one), prepared(one), served(one), runs(one, 8080), passed(one, 8080), aside(), lifecycle(model.LifecycleTerminating))
	if unasked := (Memory{InService: one, Serving: true, Port: 8080}).Seen(d, o, noon); unasked.Ports[8080].Release != one {
		t.Error("a person put it in standby and brought it back, and it is taken for one that never had requests")
	}
	struck := m.Before(Stop{Release: one, Unit: UnitName("shop", 1, "web"), Port: 8080})
	for name, m := range map[string]Memory{"it was seen to be back": m, "its agent was struck down as it was about to stop it": struck} {
		m = m.Seen(d, o, noon)
		if steps := Plan(o, d, m, noon); len(steps) != 1 || steps[0].Phase() != "deregister" {
			t.Errorf("%s: it is to %v", name, steps)
		}
		if again := m.Before(Stop{Release: one, Unit: UnitName("shop", 1, "web"), Port: 8080}); again.Seen(d, o, noon).Ports[8080] != again.Ports[8080] {
			t.Errorf("%s: it does not remember that it stops it", name)
		}
	}
}

func TestStandbyIsRememberedWhateverElseIsForgotten(t *testing.T) {
	t.Parallel()
	m := Memory{InstanceID: "i-1", BootID: "1", Parameter: "/shop", Aside: true}
	for name, got := range map[string]Memory{
		"another boot":      m.On(model.Identity{InstanceID: "i-1", BootID: "2"}, "/shop"),
		"another parameter": m.On(model.Identity{InstanceID: "i-1", BootID: "2"}, "/other"),
	} {
		if !got.Aside {
			t.Errorf("%s: it was forgotten", name)
		}
	}
	if m.On(model.Identity{InstanceID: "i-2", BootID: "1"}, "/shop").Aside {
		t.Error("it is remembered on a machine that was made of its disk")
	}
	o, d, m := scenery(inStandby(newest(one), served(one), runs(one, 8080), passed(one, 8080), markedAside())...)
	m = m.Seen(d, o, noon)
	if steps := Plan(o, d, m, noon); len(steps) != 1 || steps[0] != (ExitStandby{one}) {
		t.Errorf("the memory is lost, the record tells of it, and it is to %v", steps)
	}
}

func TestStandbyThatSomebodyElseAskedForIsSaid(t *testing.T) {
	t.Parallel()
	id := model.Identity{InstanceID: "i-1"}
	o, d, m := scenery(inStandby(newest(one), served(one))...)
	if err := stranger(id, o, d, m); err == nil || !strings.Contains(err.Error(), "exit-standby") || !strings.Contains(err.Error(), "i-1") {
		t.Errorf("a person's: %v", err)
	}
	for name, more := range map[string]is{"its own": aside(), "its own by the record": markedAside(), "in service": grouped()} {
		o, d, m := scenery(inStandby(newest(one), served(one), more)...)
		if err := stranger(id, o, d, m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// slowStandby is Auto Scaling where the answers get lost.
type slowStandby struct{ err error }

func (s slowStandby) EnterStandby(context.Context, string, string) error { return s.err }
func (s slowStandby) ExitStandby(context.Context, string, string) error  { return s.err }

// A request whose answer was lost may have been carried out: an instance that took itself for in service would forget that it is not.
func TestAfterALostAnswerTheInstanceDoesNotTakeItselfForInService(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		known bool
	}{
		"a lost answer": {errors.New("connection reset"), false},
		"a refusal":     {model.ErrConfiguration, true},
	} {
		a := New(Options{Identity: model.Identity{InstanceID: "i-1"}, Store: &box{}, Standby: slowStandby{c.err}, Log: zap.NewNop()})
		o, d, m := scenery(settled(attached(), grouped(), newest(two), prepared(two))...)
		w := &world{observed: o, desired: d, memory: m, problems: map[string]string{}, doing: map[Step]*activity{}}
		a.remember(w, w.memory.Before(EnterStandby{one}))
		a.begin(t.Context(), w, EnterStandby{one})
		for len(w.doing) > 0 {
			(<-a.updates)(w)
		}
		w.desired.Goal = one // the rollout was called off
		steps := Plan(w.observed, w.desired, w.memory, noon)
		if known := w.observed.Membership.Lifecycle == model.LifecycleInService; known != c.known || !w.memory.Aside || !known && len(steps) != 0 {
			t.Errorf("%s: it takes itself for %q, aside is %t, and it is to %v", name, w.observed.Membership.Lifecycle, w.memory.Aside, steps)
		}
	}
}

// An answer of Auto Scaling's that was on its way when the instance was sent elsewhere says where it was.
func TestAnOldAnswerDoesNotSayWhereTheInstanceIs(t *testing.T) {
	t.Parallel()
	group := &groupOf{membership: model.Membership{Group: "shop", Lifecycle: model.LifecycleInService}}
	a := New(Options{Group: group, Log: zap.NewNop()})
	w := &world{problems: map[string]string{}}
	done := make(chan error, 1)
	go func() {
		_, err := a.watchMembership(t.Context(), model.Identity{InstanceID: "i-1"}, make(chan model.Membership, 1), func(error) {})
		done <- err
	}()
	update := <-a.updates // the answer has come, and nobody has looked at it yet
	a.movedTo(model.LifecycleEnteringStandby)(w)
	update(w)
	if err := <-done; err != nil || w.observed.Membership.Lifecycle != model.LifecycleEnteringStandby {
		t.Errorf("it is taken for %q (%v)", w.observed.Membership.Lifecycle, err)
	}
}

// It rebooted in a fleet without a stable release, started the next one, and that was aborted: the balancer has taken what runs, which
// must not be stopped under its requests, and the fleet has to know to send it to standby.
func TestWhatRunsSinceARebootIsServedOnceTheBalancerTakesIt(t *testing.T) {
	t.Parallel()
	o, d, m := scenery(attached(), grouped(), prepared(one, two), served(one), runs(two, 8080), target(8080, initialTarget))
	m.Serving = false
	if got := m.Serves(o, d.Rules); !got.IsZero() {
		t.Errorf("before the balancer finds it healthy it serves %s", got)
	}
	o.Targets[8080] = Target{Registered: true, Everywhere: true, Healthy: true}
	if got := m.Serves(o, d.Rules); got != two {
		t.Errorf("it serves %s", got)
	}
	d.Rules.Attached = false
	if got := m.Serves(o, d.Rules); !got.IsZero() {
		t.Errorf("where it registers itself it serves %s", got)
	}
}

// It was brought back with the new release, and rebooted before that was taken into service: what has requests is not the old one.
func TestWhatTheBalancerSendsRequestsToServesAlsoAfterAReboot(t *testing.T) {
	t.Parallel()
	o, d, m := scenery(attached(), grouped(), newest(two), prepared(one, two), served(one), aside(), runs(two, 8080), target(8080, initialTarget))
	if got := m.Serves(o, d.Rules); !got.IsZero() {
		t.Errorf("before the balancer finds it healthy it serves %s", got)
	}
	o.Targets[8080] = Target{Registered: true, Everywhere: true, Healthy: true}
	if got := m.Serves(o, d.Rules); got != two {
		t.Errorf("it serves %s", got)
	}
}
