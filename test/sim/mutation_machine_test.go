//go:build !race

package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// machineMutations take away what an instance, and a leader that looks at the instances, goes by.
//
// That an instance looks again before it starts or deregisters something has no mutation: what was started is registered on a
// look of its own, and nobody but its holder takes a slot back, so that who goes out of service on an old word still has it.
func machineMutations() []Mutation {
	return []Mutation{
		{Name: "S2: a look at the group is never too old", Group: func(g *rollout.Group) { g.At = 1 << 60 }},
		{Name: "S2 S3: the leader takes everybody for healthy", Group: func(g *rollout.Group) {
			for i := range g.Members {
				g.Members[i].Healthy = true
			}
		}},
		{Name: "S3: the very first release bakes on a part of the group", Group: func(g *rollout.Group) { g.Desired = 1 }},
		{Name: "S3: an instance registers on what it read some time ago", Scenario: launches, Stale: func(step agent.Step) bool {
			_, is := step.(agent.Register)
			return is
		}},
		{Name: "S4: an instance registers before it has checked", Machine: func(o *agent.Observed, _ *agent.Memory) {
			o.Passed = maps.Clone(o.Passed)
			for _, u := range o.Units {
				o.Passed[agent.Incarnation{Unit: u.Name, PID: u.PID}] = true
			}
		}},
		{Name: "S4: nobody waits until a port is drained", Machine: func(_ *agent.Observed, m *agent.Memory) {
			m.Ports = maps.Clone(m.Ports)
			for port, use := range m.Ports {
				use.Drained = !use.Deregistered.IsZero()
				m.Ports[port] = use
			}
		}},
		{Name: "L3: nobody completes the launch hook", Steps: func(steps []agent.Step) []agent.Step {
			return slices.DeleteFunc(steps, func(s agent.Step) bool { _, is := s.(agent.CompleteHook); return is })
		}},
		{Name: "L3: nobody gives a launch up", Steps: func(steps []agent.Step) []agent.Step {
			return slices.DeleteFunc(steps, func(s agent.Step) bool {
				c, is := s.(agent.CompleteHook)
				return is && c.Result == model.HookAbandon
			})
		}},
	}
}

// launches makes rollouts short, with a machine that launches in the middle of each.
func launches(s *Scenario) {
	s.Policy.Bake, s.Policy.MinHealthyTime, s.Policy.Canary = rollout.Duration(time.Second), rollout.Duration(time.Second), 0
	s.Events = nil
	for n := range 8 {
		at := time.Duration(10+100*n) * time.Second
		s.Events = append(s.Events,
			Event{At: at, Kind: MachineDies, N: n},
			Event{At: at + 45*time.Second, Kind: DeployRelease, Release: Behaviour{Revision: fmt.Sprintf("%040x", n+1<<20)}})
	}
}
