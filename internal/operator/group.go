package operator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Health is the group as an operator sees it.
type Health struct {
	// Known says that the group was found; where nothing is registered in the balancer only its name finds it.
	Known bool   `json:"known"`
	Name  string `json:"name,omitempty"`
	// Least, Desired and Most are its numbers of instances, as it is set.
	Least   int `json:"least"`
	Desired int `json:"desired"`
	Most    int `json:"most"`
	// Members are the instances that are not on their way out.
	Members []Member `json:"members"`
}

// Member is one instance of the group.
type Member struct {
	ID        string          `json:"id"`
	Lifecycle model.Lifecycle `json:"lifecycle"`
	InService bool            `json:"in_service"`
	// Healthy says that it is in service and that every target group sends it requests.
	Healthy bool `json:"healthy"`
	// Why is what the balancer says of it where it is not healthy.
	Why string `json:"why,omitempty"`
}

// inService and healthy count.
func (h Health) inService() (n int) {
	for _, m := range h.Members {
		if m.InService {
			n++
		}
	}
	return n
}

func (h Health) healthy() (n int) {
	for _, m := range h.Members {
		if m.Healthy {
			n++
		}
	}
	return n
}

// empty says that the group is known to have no instance at all.
func (h Health) empty() bool { return h.Known && len(h.Members) == 0 }

// of is the member with that id.
func (h Health) of(id string) (Member, bool) {
	for _, m := range h.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// asGroup is what the pure functions of rollout want to know.
func (h Health) asGroup(at time.Duration) rollout.Group {
	g := rollout.Group{Known: h.Known, At: at, Desired: h.Desired}
	for _, m := range h.Members {
		g.Members = append(g.Members, rollout.Member{ID: m.ID, InService: m.InService, Healthy: m.Healthy})
	}
	return g
}

// groupCache is the group as it was seen last.
type groupCache struct {
	name    string
	seen    bool
	at      time.Duration
	is      Health
	targets []model.TargetHealth // in all target groups
}

// health looks at the group. What was seen within so long is taken as it was.
func (o *Operator) health(ctx context.Context, within time.Duration) (Health, error) {
	if o.group.seen && o.Clock.Now()-o.group.at < within {
		return o.group.is, nil
	}
	is, targets, err := o.lookAtGroup(ctx)
	if err == nil {
		o.group.seen, o.group.at, o.group.is, o.group.targets = true, o.Clock.Now(), is, targets
	}
	return is, err
}

func (o *Operator) lookAtGroup(ctx context.Context) (Health, []model.TargetHealth, error) {
	var targets []model.TargetHealth
	if o.Balancer != nil {
		var err error
		if targets, err = o.Balancer.Targets(ctx); err != nil {
			return Health{}, nil, err
		}
	}
	name, err := o.groupName(ctx, targets)
	if err != nil || name == "" {
		return Health{}, targets, err
	}
	group, err := o.Groups.Describe(ctx, name)
	if err != nil {
		return Health{}, nil, err
	}
	return health(group, targets, o.TargetGroups), targets, nil
}

// groupName is the group's name: as it was given, or that of an instance that is registered in the balancer. An
// instance that is not in a group, or no longer, tells nothing.
func (o *Operator) groupName(ctx context.Context, targets []model.TargetHealth) (string, error) {
	if o.Group != "" {
		return o.Group, nil
	}
	if o.group.name != "" {
		return o.group.name, nil
	}
	asked := map[string]bool{}
	for _, t := range targets {
		if asked[t.InstanceID] || len(asked) >= 3 {
			continue
		}
		asked[t.InstanceID] = true
		name, err := o.Groups.GroupOf(ctx, t.InstanceID)
		if err != nil || name != "" {
			o.group.name = name
			return name, err
		}
	}
	return "", nil
}

// health puts what Auto Scaling and the balancer say of the same instances together, as a leader does, and why one is not healthy.
func health(group model.ScalingGroup, targets []model.TargetHealth, groups int) Health {
	h := Health{Known: true, Name: group.Name, Least: group.Least, Desired: group.Desired, Most: group.Most}
	for _, seen := range rollout.Look(group, targets, groups, 0).Members {
		i := group.Instances[slices.IndexFunc(group.Instances, func(i model.ScalingInstance) bool { return i.ID == seen.ID })]
		m := Member{ID: i.ID, Lifecycle: i.Lifecycle, InService: seen.InService, Healthy: seen.InService && seen.Healthy}
		switch {
		case m.Healthy:
		case groups > 0:
			m.Why = unhealthy(i.ID, targets)
		case !i.Healthy:
			m.Why = "Auto Scaling has been told that it is unhealthy"
		}
		h.Members = append(h.Members, m)
	}
	return h
}

// unhealthy is what the balancer says of an instance that is not healthy.
func unhealthy(id string, targets []model.TargetHealth) string {
	why := "it is not registered in every target group"
	for _, t := range targets {
		if t.InstanceID == id && t.State.Registered() && t.State != model.TargetHealthy {
			why = fmt.Sprintf("port %d is %s", t.Port, t.State)
			if t.Description != "" {
				why += ": " + t.Description
			}
		}
	}
	return why
}
