package autoscaling

import (
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// hold opens the hooks of the transition that an instance is in.
func (s *Service) hold(g *group, i *instance, now time.Time) {
	transition, state := Launching, model.LifecyclePendingWait
	if i.leaving() {
		transition, state = Terminating, model.LifecycleTerminatingWait
	}
	i.hooked = true
	for _, h := range g.hooksAt(transition) {
		i.actions = append(i.actions, action{token: uuid(), hook: h, deadline: now.Add(h.Heartbeat), limit: now.Add(h.global())})
	}
	i.activity.note(statusHook)
	s.move(i, state)
}

// heartbeat starts an action's time-out anew: called half an hour into an hour, it makes 90 minutes in all, but
// never more than the global time-out.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/completing-lifecycle-hooks.html
func (a *action) heartbeat(now time.Time) {
	a.deadline = now.Add(a.hook.Heartbeat)
	if a.deadline.After(a.limit) {
		a.deadline = a.limit
	}
}

// expire gives the default result to an action whose time is over.
func (i *instance) expire(token string) {
	n := slices.IndexFunc(i.actions, func(a action) bool { return a.token == token })
	i.complete(n, i.actions[n].hook.Default, "Heartbeat Timeout")
}

// complete ends the instance's action of that index. CONTINUE leaves other actions of the instance open; ABANDON ends
// them all, and at launch the instance with them. At termination both let it go on.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/completing-lifecycle-hooks.html
func (i *instance) complete(n int, result model.HookResult, why string) {
	token := i.actions[n].token
	i.actions = slices.Delete(i.actions, n, n+1)
	if result != model.HookAbandon {
		return
	}
	i.actions = nil
	if !i.leaving() {
		i.abandoned = "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token " + token +
			" was abandoned: " + why
	}
}

// open finds the open action of a hook, by its token or by the instance's id.
func (g *group) open(hook, token, instanceID string) (*instance, int) {
	for _, i := range g.instances {
		for n, a := range i.actions {
			if a.hook.Name == hook && (token != "" && a.token == token || token == "" && i.ID == instanceID) {
				return i, n
			}
		}
	}
	return nil, 0
}

// deleteHook removes a hook from a group; actions that wait for it are completed first: ABANDON for launching
// instances, CONTINUE for terminating ones.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteLifecycleHook.html
func (s *Service) deleteHook(g *group, name string) bool {
	n := slices.IndexFunc(g.Hooks, func(h Hook) bool { return h.Name == name })
	if n < 0 {
		return false
	}
	g.Hooks = slices.Delete(g.Hooks, n, n+1)
	for _, i := range g.instances {
		result := model.HookAbandon
		if i.leaving() {
			result = model.HookContinue
		}
		if n := slices.IndexFunc(i.actions, func(a action) bool { return a.hook.Name == name }); n >= 0 {
			i.complete(n, result, "The Lifecycle Hook was deleted")
		}
	}
	return true
}
