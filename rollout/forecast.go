package rollout

import "time"

// Stage is one part of a rollout as it is meant to go: some instances take the candidate, so many at a time, and then it bakes.
type Stage struct {
	Phase Phase `json:"phase"`
	// Instances take the candidate in this stage, AtOnce of them at a time; both 0 where it only bakes.
	Instances int `json:"instances,omitempty"`
	AtOnce    int `json:"at_once,omitempty"`
	// Bake is how long what serves the candidate must stay healthy at the end of the stage; 0 for none.
	Bake Duration `json:"bake,omitempty"`
}

// Waves is how often the stage waits for instances to switch.
func (s Stage) Waves() int {
	if s.AtOnce == 0 {
		return 0
	}
	return (s.Instances + s.AtOnce - 1) / s.AtOnce
}

// Forecast is how a release would go over a group of so many members if nothing fails. A first one is booted by every instance,
// without slots.
func (p Policy) Forecast(members int, first bool) []Stage {
	if first || members == 0 {
		return []Stage{{Phase: FinalPhase, Bake: p.Bake}}
	}
	var stages []Stage
	canary := min(p.Canary, members)
	if canary > 0 {
		stages = append(stages, Stage{Phase: CanaryPhase, Instances: canary, AtOnce: canary})
	}
	if rest := members - canary; rest > 0 {
		if canary > 0 {
			stages[0].Bake = p.Bake
		}
		stages = append(stages, Stage{Phase: BatchPhase, Instances: rest, AtOnce: min(p.batch(members), rest)})
	}
	return append(stages, Stage{Phase: FinalPhase, Bake: p.Bake})
}

// AtOnce is how many of so many members may be switching at the same time if nothing fails: canaries, or a batch.
func (p Policy) AtOnce(members int) (most int) {
	for _, s := range p.Forecast(members, false) {
		most = max(most, s.AtOnce)
	}
	return most
}

// AtLeast is the time that the stages take where instances switch in no time at all.
func (p Policy) AtLeast(stages []Stage) (least time.Duration) {
	for _, s := range stages {
		least += durationOf(s.Bake) + time.Duration(s.Waves())*durationOf(p.MinHealthyTime)
	}
	return least
}

// Floor is how many of so many members must stay healthy; 0 where the policy has no such number.
func (p Policy) Floor(members int) int { return p.floor(members) }
