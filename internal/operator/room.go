package operator

import (
	"context"
	"fmt"
	"slices"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Room is what a rollout needs of a quota on targets: an instance that switches has a second one beside its old one.
type Room struct {
	model.TargetLimit
	// Registered is how many targets there are now. What drains is not counted: it goes by itself, and agents try again until then.
	Registered int `json:"registered"`
	// Needed is how many there are at most while the release goes over the group, and AtMaxSize how many that is once the group has
	// grown to its MaxSize.
	Needed    int `json:"needed"`
	AtMaxSize int `json:"at_max_size"`
}

// targetsFit refuses a rollout for whose second targets there is no room, unless it is forced or goes back: what finds no room waits, and
// is let in once others have switched. Quotas that can't be looked at are said, and hold nothing up. Where instances switch one
// after the other nothing more is registered, and nothing is asked.
func (o *Operator) targetsFit(ctx context.Context, w *wish) error {
	if o.Balancer == nil || w.policy.Restart || o.Standby {
		return nil
	}
	h, err := o.health(ctx, lookAtGroup)
	if err != nil || !h.Known {
		return err
	}
	limits, err := o.Balancer.Limits(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		o.Screen.Say(fmt.Sprintf("warning: whether the targets of this rollout fit into the account's quotas is not known: %v", err))
		return nil
	}
	w.rooms = rooms(limits, o.group.targets, h, w.policy)
	for _, r := range w.rooms {
		switch {
		case r.Needed > r.Most && !w.Force && w.rollbackOf == 0:
			return refuse(Wrong, "%s: %s", r.lacks(), r.remedy(w.policy))
		case r.Needed > r.Most:
			o.Screen.Say(fmt.Sprintf("warning: %s: an instance that finds no room waits until there is some", r.lacks()))
		case r.AtMaxSize > r.Most:
			o.Screen.Say(fmt.Sprintf("warning: the Auto Scaling group %s may grow to %d instances, and a rollout would then need %d targets in %s, of which the quota %s allows %d: have it raised before",
				h.Name, h.Most, r.AtMaxSize, r.On, r.Quota, r.Most))
		}
	}
	return nil
}

// rooms counts the targets that each of the quotas is on.
func rooms(limits []model.TargetLimit, targets []model.TargetHealth, h Health, p rollout.Policy) []Room {
	var out []Room
	for _, l := range limits {
		r, others := Room{TargetLimit: l}, 0
		for _, t := range targets {
			if !slices.Contains(l.Groups, t.Group) || t.State == model.TargetDraining {
				continue
			}
			r.Registered++
			if _, member := h.of(t.InstanceID); !member {
				others++
			}
		}
		r.Needed = r.Registered + len(l.Groups)*p.AtOnce(h.inService())
		r.AtMaxSize = others + len(l.Groups)*(h.Most+p.AtOnce(h.Most))
		out = append(out, r)
	}
	return out
}

// lacks says that the quota is too low.
func (r Room) lacks() string {
	return fmt.Sprintf("the rollout needs up to %d targets in %s, %d now and %d more while instances switch, and the quota %s allows %d",
		r.Needed, r.On, r.Registered, r.Needed-r.Registered, r.Quota, r.Most)
}

// remedy says what would help.
func (r Room) remedy(p rollout.Policy) string {
	fits := (r.Most - r.Registered) / len(r.Groups)
	switch {
	case fits < 1:
		return "have it raised, or set switch: restart"
	case p.Canary > fits:
		return fmt.Sprintf("have it raised, let fewer switch at a time (--canary %d --batch %d), or set switch: restart", fits, fits)
	}
	return fmt.Sprintf("have it raised, let fewer switch at a time (--batch %d), or set switch: restart", fits)
}
