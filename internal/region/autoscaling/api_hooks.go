package autoscaling

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/wire"
)

var hookName = regexp.MustCompile(`^[A-Za-z0-9\-_/]{1,255}$`)

// parseHook puts into h what the form gives, and leaves the rest.
func parseHook(h Hook, form url.Values) (Hook, error) {
	h.Name = cmp.Or(form.Get("LifecycleHookName"), h.Name)
	h.Transition = cmp.Or(Transition(form.Get("LifecycleTransition")), h.Transition)
	h.Default = cmp.Or(model.HookResult(form.Get("DefaultResult")), h.Default)
	h.Metadata = cmp.Or(form.Get("NotificationMetadata"), h.Metadata)
	h.Target = cmp.Or(form.Get("NotificationTargetARN"), h.Target)
	h.Role = cmp.Or(form.Get("RoleARN"), h.Role)
	if n, given, err := wire.Int(form, "HeartbeatTimeout"); err != nil {
		return Hook{}, err
	} else if given {
		h.Heartbeat = time.Duration(n) * time.Second
		if h.Heartbeat < minHeartbeat || h.Heartbeat > maxHeartbeat {
			return Hook{}, invalid("HeartbeatTimeout must be between %d and %d seconds, it is %d", int(minHeartbeat.Seconds()),
				int(maxHeartbeat.Seconds()), n)
		}
	}
	return h, nil
}

// putHook adds a hook to the group, or replaces the one of that name. Actions that are open keep the times they have.
func (g *group) putHook(h Hook) error {
	switch {
	case !hookName.MatchString(h.Name):
		return invalid("Value '%s' at 'lifecycleHookName' failed to satisfy constraint: Member must satisfy regular expression pattern: [A-Za-z0-9\\-_\\/]+", h.Name)
	case h.Transition != Launching && h.Transition != Terminating:
		return invalid("Invalid Lifecycle Transition '%s'. Valid transitions are: %s, %s", h.Transition, Launching, Terminating)
	case h.Default != "" && h.Default != model.HookContinue && h.Default != model.HookAbandon:
		return invalid("Invalid DefaultResult '%s': it must be CONTINUE or ABANDON", h.Default)
	case h.Heartbeat < 0:
		return invalid("HeartbeatTimeout must not be negative")
	}
	h = h.withDefaults()
	// A list that a reader may still hold is never changed in place.
	g.Hooks = slices.Clone(g.Hooks)
	if n := slices.IndexFunc(g.Hooks, func(o Hook) bool { return o.Name == h.Name }); n >= 0 {
		g.Hooks[n] = h
		return nil
	}
	if len(g.Hooks) == maxHooks {
		return wire.Errorf("LimitExceeded", "The group %s has %d lifecycle hooks already, the limit", g.Name, maxHooks)
	}
	g.Hooks = append(g.Hooks, h)
	return nil
}

func (s *Service) putLifecycleHook(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	var old Hook
	if n := slices.IndexFunc(g.Hooks, func(h Hook) bool { return h.Name == form.Get("LifecycleHookName") }); n >= 0 {
		old = g.Hooks[n]
	}
	h, err := parseHook(old, form)
	if err != nil {
		return nil, err
	}
	return nil, g.putHook(h)
}

// hookAnswer is the structure LifecycleHook.
type hookAnswer struct {
	LifecycleHookName     string
	AutoScalingGroupName  string
	LifecycleTransition   Transition
	NotificationTargetARN string `xml:",omitempty"`
	RoleARN               string `xml:",omitempty"`
	NotificationMetadata  string `xml:",omitempty"`
	HeartbeatTimeout      int
	GlobalTimeout         int
	DefaultResult         model.HookResult
}

func (s *Service) describeLifecycleHooks(form url.Values) (any, error) {
	g, err := s.named(form)
	if err != nil {
		return nil, err
	}
	wanted := wire.List(form, "LifecycleHookNames")
	var answer struct{ LifecycleHooks wire.Members[hookAnswer] }
	for _, h := range g.Hooks {
		if len(wanted) > 0 && !slices.Contains(wanted, h.Name) {
			continue
		}
		answer.LifecycleHooks.Member = append(answer.LifecycleHooks.Member, hookAnswer{
			LifecycleHookName: h.Name, AutoScalingGroupName: g.Name, LifecycleTransition: h.Transition,
			NotificationTargetARN: h.Target, RoleARN: h.Role, NotificationMetadata: h.Metadata,
			// Rounded up: a hook of the in-process API may be shorter than a second, and 0 would mean none.
			HeartbeatTimeout: seconds(h.Heartbeat), GlobalTimeout: seconds(h.global()), DefaultResult: h.Default,
		})
	}
	return answer, nil
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func (s *Service) deleteLifecycleHook(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	if !s.deleteHook(g, form.Get("LifecycleHookName")) {
		return nil, invalid("No Lifecycle Hook found with name %s", form.Get("LifecycleHookName"))
	}
	return nil, nil
}

// openAction finds the open lifecycle action that a call names by token or by instance.
func (s *Service) openAction(form url.Values) (*instance, int, error) {
	g, err := s.named(form)
	if err != nil {
		return nil, 0, err
	}
	token, id := form.Get("LifecycleActionToken"), form.Get("InstanceId")
	if token == "" && id == "" {
		return nil, 0, invalid("Either LifecycleActionToken or InstanceId must be given")
	}
	i, n := g.open(form.Get("LifecycleHookName"), token, id)
	switch {
	case i != nil:
		return i, n, nil
	case token != "":
		return nil, 0, invalid("No active Lifecycle Action found with token %s", token)
	default:
		return nil, 0, invalid("No active Lifecycle Action found with instance ID %s", id)
	}
}

func (s *Service) completeLifecycleAction(form url.Values) (any, error) {
	result := model.HookResult(form.Get("LifecycleActionResult"))
	if result != model.HookContinue && result != model.HookAbandon {
		return nil, invalid("LifecycleActionResult must be CONTINUE or ABANDON, it is '%s'", result)
	}
	i, n, err := s.openAction(form)
	if err != nil {
		return nil, err
	}
	i.complete(n, result, "Lifecycle Action Completed with ABANDON Result")
	return nil, nil
}

func (s *Service) recordLifecycleActionHeartbeat(form url.Values) (any, error) {
	i, n, err := s.openAction(form)
	if err != nil {
		return nil, err
	}
	i.actions[n].heartbeat(time.Now())
	return nil, nil
}
