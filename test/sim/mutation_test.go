//go:build !race

package sim

import (
	"slices"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/rollout"
)

// TestEachGuardIsMissed takes away one guard after the other and demands that the simulator finds out, and by which invariant.
func TestEachGuardIsMissed(t *testing.T) {
	t.Parallel()
	for _, m := range slices.Concat(mutations(), writeMutations(), machineMutations(), attachedMutations()) {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			want, _, _ := strings.Cut(m.Name, ":")
			seed, v := search(m.From, mutationSeeds, m, func(v *Violation) bool { return strings.Contains(want, v.Invariant) })
			if v == nil {
				t.Fatalf("nobody noticed in %d seeds", mutationSeeds)
			}
			t.Logf("seed %d: %v", seed, v)
		})
	}
}

// mutationSeeds bounds how long a mutation may go unnoticed.
const mutationSeeds = 3000

// change gives a mutation of what is written to the rollout record.
func change(f func(v rollout.View, why string, c *rollout.Change)) func(rollout.View, *rollout.Decision) {
	return func(v rollout.View, d *rollout.Decision) {
		for _, w := range d.Writes {
			for i := range w.Changes {
				if w.Changes[i].Key == rollout.RolloutKey {
					f(v, w.Why, &w.Changes[i])
				}
			}
		}
	}
}

// altered gives a view with a rollout that an agent takes for the real one.
func altered(v *rollout.View, f func(r *rollout.Rollout)) {
	if v.Rollout != nil {
		r := *v.Rollout
		f(&r)
		v.Rollout = &r
	}
}

func mutations() []Mutation {
	return []Mutation{
		{Name: "S1: the budget is never spent", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) { r.Policy.MaxFailures = 1000 })
		}},
		{Name: "S1: a grant does not expect the count of failures", From: 22, Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "slots for") {
				delete(c.Expect, "failures")
			}
		})},
		{Name: "S1: a grant does not expect the state", From: 1119, Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "slots for") {
				delete(c.Expect, "state")
			}
		})},
		{Name: "S2: batches have no bound", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) { r.Policy.Batch, r.Policy.Canary = rollout.Percent(100), 50 })
		}},
		{Name: "S2: there is no floor", From: 48, View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) { r.Policy.MinHealthy = rollout.Amount{} })
		}},
		{Name: "S2: instances switch without a slot", Decision: func(v rollout.View, d *rollout.Decision) {
			if v.Rollout != nil && v.Rollout.State.Status == rollout.Running && v.Rollout.Task.State == rollout.NoTask {
				d.Goal = v.Rollout.Release
			}
		}},
		{Name: "S2: a new record forgets the slots of the old one", Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "open ") {
				for name := range c.Set {
					if strings.HasPrefix(name, "part/") {
						delete(c.Set, name)
					}
				}
			}
		})},
		{Name: "S3: an instance boots the candidate", Decision: func(v rollout.View, d *rollout.Decision) {
			if v.Rollout != nil && v.Rollout.State.Live() && v.Self.Serving.IsZero() {
				d.Goal = v.Rollout.Release
			}
		}},
		{Name: "S3: nothing is baked", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) { r.Policy.Bake = 0 })
		}},
		{Name: "S3: who promotes asks no operator", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) { r.Policy.Promote = rollout.Auto })
		}},
		{Name: "S5: a leader's write does not expect the lease", Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if !strings.HasPrefix(why, "take the lead") && !strings.HasPrefix(why, "open ") {
				delete(c.Expect, "lease")
			}
		})},
		{Name: "S5: the lease is taken at once", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) {
				if r.Lead.By != v.Self.ID {
					r.Lead.By = ""
				}
			})
		}},
		{Name: "S2 S5: opening does not expect the record as it was", From: 257, Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "open ") {
				c.Expect = nil
			}
		})},
		{Name: "S5: nobody looks at the freeze", From: 23, Decision: func(_ rollout.View, d *rollout.Decision) {
			for i, w := range d.Writes {
				d.Writes[i].Changes = deleteKey(w.Changes, rollout.FreezeKey)
			}
		}, View: thaw},
		{Name: "S6: everybody resolves for himself", Decision: func(v rollout.View, d *rollout.Decision) {
			if p := v.Self.ID; !d.Goal.IsZero() && v.Rollout != nil && d.Goal.ID == v.Rollout.Release.ID {
				d.Goal.Revision = d.Goal.Revision[:38] + p[2:4]
			}
		}},
		{Name: "S9: the task is claimed whoever has it", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) {
				if r.Task.State == rollout.TaskRunning && r.Task.By != v.Self.ID {
					r.Task = rollout.Task{}
				}
			})
		}, Decision: change(func(_ rollout.View, why string, c *rollout.Change) {
			if strings.HasPrefix(why, "claim the release task") {
				c.Absent = nil
			}
		})},
		{Name: "S9: nobody waits for the task", View: func(v *rollout.View) {
			if v.Rollout != nil && v.Rollout.Task.State == rollout.TaskRunning && v.Rollout.Task.By != v.Self.ID || v.Rollout != nil && v.Rollout.Task.State == "" && v.Self.ID > "i-00" {
				altered(v, func(r *rollout.Rollout) { r.Task = rollout.Task{State: rollout.NoTask} })
			}
		}},
		{Name: "S10: what failed is tried again", From: 386, View: forgive, Decision: func(_ rollout.View, d *rollout.Decision) {
			for i, w := range d.Writes {
				d.Writes[i].Changes = deleteKey(w.Changes, "failed/")
			}
		}},
		{Name: "S10: a rollback is rolled back", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) { r.Origin.RollbackOf = 0 })
		}},
		{Name: "L1 L2: there is no deadline", View: func(v *rollout.View) {
			altered(v, func(r *rollout.Rollout) { r.Policy.ProgressDeadline = 1 << 60 })
		}},
		{Name: "L1 L2: nobody takes a dead lease over", From: 71, Decision: func(_ rollout.View, d *rollout.Decision) {
			for i, w := range d.Writes {
				if strings.HasPrefix(w.Why, "take the lead:") {
					d.Writes = d.Writes[:i]
					return
				}
			}
		}},
		{Name: "L2: an ended rollout grants no slots", From: 1119, Decision: func(v rollout.View, d *rollout.Decision) {
			if v.Rollout != nil && !v.Rollout.State.Live() {
				var kept []rollout.Write
				for _, w := range d.Writes {
					if !strings.HasPrefix(w.Why, "slots to stable") {
						kept = append(kept, w)
					}
				}
				d.Writes = kept
			}
		}},
	}
}

func deleteKey(changes []rollout.Change, prefix string) (out []rollout.Change) {
	for _, c := range changes {
		if !strings.HasPrefix(c.Key, prefix) || c.Writes() {
			out = append(out, c)
		}
	}
	return out
}

// thaw hides the freeze, and forgive the revisions that failed.
func thaw(v *rollout.View) { hide(v, rollout.FreezeKey) }

func forgive(v *rollout.View) { hide(v, "failed/") }

func hide(v *rollout.View, prefix string) {
	records := map[string]rollout.Record{}
	for key, record := range v.Records {
		if strings.HasPrefix(key, prefix) {
			record = rollout.Record{Key: key}
		}
		records[key] = record
	}
	v.Records = records
}
