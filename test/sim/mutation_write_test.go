//go:build !race

package sim

import (
	"maps"
	"strings"

	"github.com/bootagent/bootagent/rollout"
)

// writeMutations take away what writes expect and what they carry along.
//
// Some expectations are not in the list, because the others of the same write say as much: a leader's of the release (a new record
// has another lease), a promotion's of the stable record (it is one transaction with the lease), a report's of the release (a new record
// has another text of each open part, and one that is written for the old release is stale, and dropped), a claim's on
// resolving (two that resolve a branch differently write two openings, of which one wins).
//
// That a holder who is silent counts as disrupted has a check (see silent) and no mutation: where the old process serves on it takes a floor
// just above what is healthy, and an agent that is gone for long while its app is well; seeds show it once in some thousands.
func writeMutations() []Mutation {
	return []Mutation{
		{Name: "S1: two failures count as one", Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "the candidate failed here") {
				delete(c.Expect, "failures")
			}
		})},
		{Name: "S5: a grant does not expect the lease", Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "slots for") {
				delete(c.Expect, "lease")
			}
		})},
		{Name: "S5: a lease is taken over whoever has it by then", Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "take the lead") {
				delete(c.Expect, "lease")
			}
		})},
		{Name: "S5: a report does not expect the part as it was", Decision: change(func(v rollout.View, _ string, c *rollout.Change) {
			if _, leads := c.Set["lease"]; !leads {
				delete(c.Expect, "part/"+v.Self.ID)
				c.Absent = nil
			}
		})},
		{Name: "S3 S5: a promotion expects nothing", Decision: func(_ rollout.View, d *rollout.Decision) {
			for _, w := range d.Writes {
				for i := range w.Changes {
					if strings.HasSuffix(w.Why, " is stable") {
						w.Changes[i].Expect, w.Changes[i].Absent, w.Changes[i].New = nil, nil, false
					}
				}
			}
		}},
		{Name: "S5: a deploy that lost the lock opens its release", View: func(v *rollout.View) {
			if lock, ok := v.Records[rollout.LockKey]; ok && v.Published.Intent.Lock != "" {
				v.Records = maps.Clone(v.Records)
				lock.Attributes = maps.Clone(lock.Attributes)
				if lock.Attributes == nil {
					lock.Attributes = map[string]string{}
				}
				lock.Attributes["nonce"] = `"` + v.Published.Intent.Lock + `"`
				v.Records[rollout.LockKey] = lock
			}
		}, Decision: keepLock},
		{Name: "S5: the lock is not consumed", Decision: keepLock},
		{Name: "S5: every deploy is forced", View: func(v *rollout.View) { v.Published.Intent.Force = true }},
		{Name: "S10: nobody notes that a revision failed", Decision: func(_ rollout.View, d *rollout.Decision) {
			for i, w := range d.Writes {
				var kept []rollout.Change
				for _, c := range w.Changes {
					if !strings.HasPrefix(c.Key, "failed/") || !c.Writes() {
						kept = append(kept, c)
					}
				}
				d.Writes[i].Changes = kept
			}
		}},
		{Name: "S9: an agent that was restarted runs the task again", Decision: func(v rollout.View, d *rollout.Decision) {
			if v.Rollout != nil && v.Rollout.Task.State == rollout.TaskRunning && v.Rollout.Task.By == v.Self.ID && drop(d, "the agent was restarted") {
				d.RunTask = true
			}
		}},
		{Name: "S11: an abort does not see that it was done", Operator: func(r *rollout.Rollout) {
			if r.State.Status == rollout.RollingBack {
				r.State.Status = rollout.Running
			}
		}},
		{Name: "S11: an operator does not see that a rollout has ended", Operator: func(r *rollout.Rollout) {
			if !r.State.Live() {
				r.State.Status = rollout.Running
			}
		}},
		{Name: "L1 L2: who left the group is waited for", Decision: func(_ rollout.View, d *rollout.Decision) {
			for _, w := range d.Writes {
				if strings.Contains(w.Why, " have left the group") {
					d.Writes = nil
					return
				}
			}
		}},
		{Name: "L2: who serves something else does not tell", Decision: func(_ rollout.View, d *rollout.Decision) { drop(d, "this instance serves") }},
		{Name: "L2: nobody repairs the mirror", Decision: func(_ rollout.View, d *rollout.Decision) { d.Mirror = rollout.Release{} }},
		{Name: "S6: the label goes by the number alone", Blind: true},
		{Name: "S3: the label follows the candidate", Decision: func(v rollout.View, d *rollout.Decision) {
			if v.Rollout != nil && v.Rollout.State.Live() {
				d.Mirror = v.Rollout.Release
			}
		}},
	}
}

// drop leaves out the writes whose reason begins so, and says whether there were any.
func drop(d *rollout.Decision, why string) bool {
	var kept []rollout.Write
	for _, w := range d.Writes {
		if !strings.HasPrefix(w.Why, why) {
			kept = append(kept, w)
		}
	}
	dropped := len(kept) < len(d.Writes)
	d.Writes = kept
	return dropped
}

// keepLock leaves the lock where it is.
func keepLock(_ rollout.View, d *rollout.Decision) {
	for i, w := range d.Writes {
		var kept []rollout.Change
		for _, c := range w.Changes {
			if c.Key != rollout.LockKey {
				kept = append(kept, c)
			}
		}
		d.Writes[i].Changes = kept
	}
}
