package autoscaling_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/aws/autoscaling"
	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	server "github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/fault"
)

// machine is an instance that does nothing but last.
type machine struct {
	once sync.Once
	gone chan struct{}
}

func (m *machine) Done() <-chan struct{} { return m.gone }
func (m *machine) Terminate(context.Context) error {
	m.once.Do(func() { close(m.gone) })
	return nil
}

type launcher struct{}

func (launcher) Launch(context.Context, server.Instance) (server.Machine, error) {
	return &machine{gone: make(chan struct{})}, nil
}

// traffic takes any target group.
type traffic struct{}

func (traffic) Exists(string) bool                                       { return true }
func (traffic) RegisterInstance(string, string) error                    { return nil }
func (traffic) DeregisterInstance(string, string) (time.Duration, error) { return 0, nil }
func (traffic) Healthy(string, string) (known, healthy bool)             { return false, false }

// world is a region with one group.
type world struct {
	*region.Region
	*autoscaling.Group
	service *server.Service
	session *session.Session
}

func newWorld(t *testing.T, c server.GroupConfig) world {
	t.Helper()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	service := server.New(server.Options{Launcher: launcher{}, Traffic: traffic{}})
	r.Handle(server.Name, server.Namespace, service)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(r.Close(), service.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	c.Name, c.Max = "shop", 4
	c.LaunchTemplate = &server.LaunchTemplate{Name: "shop", Version: "1"}
	if err := service.CreateGroup(c); err != nil {
		t.Fatal(err)
	}
	s := awstest.Session(t, r.Endpoint())
	return world{Region: r, Group: autoscaling.New(s), service: service, session: s}
}

// hook is a launch hook as the documentation asks for it.
func hook(heartbeat time.Duration) server.Hook {
	return server.Hook{Name: "bootagent-launch", Transition: server.Launching, Heartbeat: heartbeat, Default: model.HookAbandon}
}

// wait waits until one instance of the group is in that state, and gives its id.
func (w world) wait(t *testing.T, state model.Lifecycle) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, i := range w.service.Instances("shop") {
			if i.Lifecycle == state {
				return i.ID
			}
		}
	}
	t.Fatalf("no instance is %s: %+v", state, w.service.Instances("shop"))
	return ""
}

func (w world) membership(t *testing.T, id string) model.Membership {
	t.Helper()
	m, err := w.Membership(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func TestAnInstanceInNoGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{})
	if m := w.membership(t, "i-0aaaaaaaaaaaaaaaa"); m.Group != "" || m.Lifecycle != model.LifecycleNone {
		t.Errorf("%+v", m)
	}
	if n := w.Counts()["autoscaling:DescribeAutoScalingGroups"]; n != 0 {
		t.Errorf("asked for a group %d times", n)
	}
}

func TestThroughTheLaunchHookIntoService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1, Hooks: []server.Hook{hook(300 * time.Second),
		{Name: "bootagent-farewell", Transition: server.Terminating, Heartbeat: time.Minute}}})
	id := w.wait(t, model.LifecyclePendingWait)
	m := w.membership(t, id)
	want := model.Membership{Group: "shop", Lifecycle: model.LifecyclePendingWait, LaunchHook: "bootagent-launch", HookTimeout: 300, Desired: 1, Most: 4,
		TerminateHook: "bootagent-farewell", TerminateTimeout: 60}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if err := w.Heartbeat(t.Context(), m, id); err != nil {
		t.Error(err)
	}
	if err := w.Complete(t.Context(), m, id, model.HookContinue); err != nil {
		t.Fatal(err)
	}
	w.wait(t, model.LifecycleInService)

	if err := w.Complete(t.Context(), m, id, model.HookContinue); err != nil {
		t.Errorf("completed again: %v", err)
	}
	err := w.Heartbeat(t.Context(), m, id)
	if !errors.Is(err, model.ErrHookClosed) {
		t.Errorf("a heartbeat for a closed hook: %v", err)
	}
	says(t, err, "bootagent-launch", "shop")
	if m := w.membership(t, id); m.Lifecycle != model.LifecycleInService {
		t.Errorf("%+v", m)
	}
}

func TestThroughTheTerminationHookOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1, Hooks: []server.Hook{{Name: "farewell", Transition: server.Terminating, Heartbeat: time.Minute}}})
	id := w.wait(t, model.LifecycleInService)
	if err := w.SetUnhealthy(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.wait(t, model.LifecycleTerminatingWait)
	m := w.membership(t, id)
	if m.TerminateHook != "farewell" || m.TerminateTimeout != 60 || m.LaunchHook != "" {
		t.Errorf("%+v", m)
	}
	if err := errors.Join(w.Heartbeat(t.Context(), m, id), w.Complete(t.Context(), m, id, model.HookContinue)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, _, there := w.service.Lifecycle(id); !there {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is there still")
		}
	}
	if err := w.Complete(t.Context(), m, id, model.HookContinue); err != nil {
		t.Errorf("completed again: %v", err)
	}
}

func TestAbandonReplacesTheInstance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1, Hooks: []server.Hook{hook(300 * time.Second)}})
	id := w.wait(t, model.LifecyclePendingWait)
	if err := w.Complete(t.Context(), w.membership(t, id), id, model.HookAbandon); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); w.wait(t, model.LifecyclePendingWait) == id; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it waits still")
		}
	}
}

func TestAGroupWithoutAHookNeedsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1})
	id := w.wait(t, model.LifecycleInService)
	m := w.membership(t, id)
	if m.LaunchHook != "" {
		t.Errorf("%+v", m)
	}
	if err := errors.Join(w.Heartbeat(t.Context(), m, id), w.Complete(t.Context(), m, id, model.HookContinue)); err != nil {
		t.Error(err)
	}
}

func TestAttachedTargetGroupsAreFound(t *testing.T) {
	t.Parallel()
	arn := "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"
	w := newWorld(t, server.GroupConfig{Desired: 1, TargetGroups: []string{arn}})
	m := w.membership(t, w.wait(t, model.LifecycleInService))
	if diff := cmp.Diff([]string{arn}, m.TargetGroups); diff != "" {
		t.Error(diff)
	}
}

func TestOfSeveralLaunchHooksOneMustBeOurs(t *testing.T) {
	t.Parallel()
	backup := server.Hook{Name: "backup", Transition: server.Launching, Heartbeat: time.Minute}
	monitor := server.Hook{Name: "monitor", Transition: server.Launching, Heartbeat: time.Minute}
	w := newWorld(t, server.GroupConfig{Desired: 1, Hooks: []server.Hook{backup, hook(time.Minute), monitor}})
	if m := w.membership(t, w.wait(t, model.LifecyclePendingWait)); m.LaunchHook != "bootagent-launch" {
		t.Errorf("%+v", m)
	}
	w = newWorld(t, server.GroupConfig{Desired: 1, Hooks: []server.Hook{backup, monitor}})
	_, err := w.Membership(t.Context(), w.wait(t, model.LifecyclePendingWait))
	if !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("no model.ErrConfiguration: %v", err)
	}
	says(t, err, "group shop has 2 launch hooks (backup, monitor)", `"bootagent"`)
}

func TestSetUnhealthyReplacesWithinTheGracePeriod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.GroupConfig{Desired: 1, GracePeriod: time.Hour})
	id := w.wait(t, model.LifecycleInService)
	if err := w.SetUnhealthy(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if w.wait(t, model.LifecycleInService) != id {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it is in service still")
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	waiting := server.GroupConfig{Desired: 1, Hooks: []server.Hook{hook(time.Minute)}}
	t.Run("the answer to CONTINUE is lost", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, waiting)
		id := w.wait(t, model.LifecyclePendingWait)
		m := w.membership(t, id)
		w.Faults.Add(fault.Rule{Operation: "CompleteLifecycleAction", Count: 1, Effect: fault.CutAfter()})
		if err := w.Complete(t.Context(), m, id, model.HookContinue); err != nil {
			t.Error(err)
		}
		w.wait(t, model.LifecycleInService)
	})
	t.Run("throttled, then fine", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, waiting)
		id := w.wait(t, model.LifecyclePendingWait)
		w.Faults.Add(fault.Rule{Operation: "DescribeAutoScalingInstances", Count: 1, Effect: fault.Throttle()})
		w.membership(t, id)
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, waiting)
		id := w.wait(t, model.LifecyclePendingWait)
		m := w.membership(t, id)
		w.Faults.Add(fault.Rule{Service: server.Name, Effect: fault.Deny()})
		_, membership := w.Membership(t.Context(), id)
		for action, err := range map[string]error{
			"DescribeAutoScalingInstances on instance " + id:                                  membership,
			"RecordLifecycleActionHeartbeat on hook bootagent-launch of group shop for " + id: w.Heartbeat(t.Context(), m, id),
			"CompleteLifecycleAction on hook bootagent-launch of group shop for " + id:        w.Complete(t.Context(), m, id, model.HookContinue),
			"SetInstanceHealth on instance " + id:                                             w.SetUnhealthy(t.Context(), id),
		} {
			if !errors.Is(err, model.ErrConfiguration) {
				t.Errorf("no model.ErrConfiguration: %v", err)
			}
			says(t, err, "may not autoscaling:"+action)
		}
	})
	t.Run("no answer", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, waiting)
		id := w.wait(t, model.LifecyclePendingWait)
		w.session.Timeout = 300 * time.Millisecond
		w.Faults.Add(fault.Rule{Operation: "DescribeAutoScalingInstances", Effect: fault.Hang()})
		_, err := w.Membership(t.Context(), id)
		says(t, err, "autoscaling:DescribeAutoScalingInstances on instance "+id, "got no answer within")
	})
	t.Run("an unknown group", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, waiting)
		err := w.Complete(t.Context(), model.Membership{Group: "shpo", LaunchHook: "bootagent-launch"}, "i-0aaaaaaaaaaaaaaaa", model.HookContinue)
		var e *session.Error
		if !errors.As(err, &e) || e.Kind == session.Reach {
			t.Errorf("%v", err)
		}
		says(t, err, "autoscaling:CompleteLifecycleAction on hook bootagent-launch of group shpo")
	})
}
