//go:build !race

package sim

import (
	"regexp"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/rollout"
)

var counters = regexp.MustCompile(`,"c":\d+`)

// attachedMutations take away what keeps S12.
func attachedMutations() []Mutation {
	return []Mutation{
		{Name: "S12: standby is entered before it is written down", Attached: true, Decision: func(_ rollout.View, d *rollout.Decision) {
			d.Aside = true
		}},
		{Name: "S12: nobody restores", Attached: true, Decision: func(_ rollout.View, d *rollout.Decision) {
			d.Restore = nil
		}},
		{Name: "S12: the mark is never taken out", Attached: true, Decision: func(_ rollout.View, d *rollout.Decision) {
			d.Writes = slices.DeleteFunc(d.Writes, func(w rollout.Write) bool { return strings.Contains(w.Why, "back from standby") })
		}},
		{Name: "S12: each slot begins with the same counter", Attached: true, From: 11474, Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			for name, part := range c.Set {
				if strings.HasPrefix(why, "slots ") && strings.HasPrefix(name, "part/") {
					c.Set[name] = counters.ReplaceAllString(part, "")
				}
			}
		})},
		{Name: "S12: whoever is in standby is brought back", Attached: true, Decision: func(v rollout.View, d *rollout.Decision) {
			for _, m := range v.Group.Members {
				if d.Watch && m.Standby {
					d.Restore = append(d.Restore, m.ID)
				}
			}
		}},
	}
}
