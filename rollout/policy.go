package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Policy says how a release goes over a fleet. It is the configuration's, changed by an intent's, and frozen into the rollout record.
type Policy struct {
	// Canary is how many instances take the release first, alone; 0 for none.
	Canary int `json:"canary"`
	// Bake is how long the canary, and at the end the fleet, must stay healthy.
	Bake Duration `json:"bake"`
	// Batch is how many instances may be switching at a time: of the members, rounded down, at least 1, at most 50.
	Batch Amount `json:"batch"`
	// MinHealthy is how many members must stay healthy, rounded up where it is a share. Zero: with switch: restart those
	// that are healthy now less a batch, and otherwise no floor, because the old process serves until the new one does.
	MinHealthy Amount `json:"min_healthy"`
	// MaxFailures is how many instances may fail before the rollout does.
	MaxFailures int `json:"max_failures"`
	// MinHealthyTime is how long an instance must be healthy, from its first pass, before it counts as done.
	MinHealthyTime Duration `json:"min_healthy_time"`
	// ProgressDeadline is how long a rollout may go without an instance getting on.
	ProgressDeadline Duration `json:"progress_deadline"`
	// OnFailure is what a failed rollout does: RollBack, Stop or Pause.
	OnFailure OnFailure `json:"on_failure"`
	// Promote says whether stable moves by itself after the last bake: Auto, or Manual.
	Promote Promotion `json:"promote"`
	// Restart says that the app can't run twice (switch: restart): a slot takes its instance out of service.
	Restart bool `json:"restart,omitempty"`
}

// OnFailure is a policy's on_failure.
type OnFailure string

// What a failed rollout does.
const (
	RollBack OnFailure = "rollback" // the instances on the candidate return to stable
	Stop     OnFailure = "stop"     // it ends, and every instance stays where it is
	Pause    OnFailure = "pause"    // it waits for an operator
)

// Promotion is a policy's promote.
type Promotion string

// Who moves stable after the last bake.
const (
	Auto   Promotion = "auto"
	Manual Promotion = "manual" // the rollout waits, paused, for `bootagent promote`
)

// DefaultPolicy is what a configuration that says nothing has.
func DefaultPolicy() Policy {
	return Policy{
		Canary: 1, Bake: Duration(time.Minute), Batch: Percent(25), MinHealthyTime: Duration(10 * time.Second),
		ProgressDeadline: Duration(10 * time.Minute), OnFailure: RollBack, Promote: Auto,
	}
}

// With gives the policy changed by a JSON object of some of its keys, as an intent carries it, or a sentence that says
// what is wrong. Keys that this version does not know are refused: what they ask for would not be done.
func (p Policy) With(changes json.RawMessage) (Policy, error) {
	if len(changes) == 0 {
		return p, p.Check()
	}
	restart := p.Restart
	decoder := json.NewDecoder(strings.NewReader(string(changes)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return Policy{}, fmt.Errorf("the policy can't be read: %w", told(err))
	}
	p.Restart = restart // how an app switches is the configuration's to say
	return p, p.Check()
}

const (
	maxBatch = 50
	longest  = Duration(24 * time.Hour)
)

// Check refuses what makes no sense, in words.
func (p Policy) Check() error {
	switch {
	case p.Canary < 0 || p.Canary > maxBatch:
		return fmt.Errorf("policy.canary is %d: give 0 to %d instances", p.Canary, maxBatch)
	case p.Bake < 0 || p.Bake > longest:
		return fmt.Errorf("policy.bake is %s: give 0s to 24h", p.Bake)
	case p.Batch.N < 1 || p.Batch.Percent && p.Batch.N > 100:
		return fmt.Errorf("policy.batch is %s: give 1 or more instances, or 1%% to 100%%", p.Batch)
	case p.MinHealthy.N < 0 || p.MinHealthy.Percent && p.MinHealthy.N > 100:
		return fmt.Errorf("policy.min_healthy is %s: give a number of instances, or 0%% to 100%%", p.MinHealthy)
	case p.Restart && p.MinHealthy.Percent && p.MinHealthy.N == 100:
		return errors.New("policy.min_healthy is 100% and switch is restart, which takes an instance out while it switches: no instance could ever; give less")
	case p.MaxFailures < 0:
		return fmt.Errorf("policy.max_failures is %d: give 0 or more", p.MaxFailures)
	case p.MinHealthyTime < 0 || p.ProgressDeadline > longest:
		return errors.New("policy.min_healthy_time and progress_deadline: give 0s to 24h")
	case p.ProgressDeadline < Duration(2*Lease):
		return fmt.Errorf("policy.progress_deadline is %s: give %s or more, which is what it takes to notice that an instance is gone", p.ProgressDeadline, 2*Lease)
	case p.MinHealthyTime >= p.ProgressDeadline:
		return fmt.Errorf("policy.min_healthy_time (%s) must be shorter than progress_deadline (%s): no instance could be done in time", p.MinHealthyTime, p.ProgressDeadline)
	case p.OnFailure != RollBack && p.OnFailure != Stop && p.OnFailure != Pause:
		return fmt.Errorf("policy.on_failure is %s: give rollback, stop or pause", quoted(string(p.OnFailure)))
	case p.Promote != Auto && p.Promote != Manual:
		return fmt.Errorf("policy.promote is %s: give auto or manual", quoted(string(p.Promote)))
	}
	return nil
}

// batch is how many of the members may be switching at a time.
func (p Policy) batch(members int) int {
	return min(max(p.Batch.of(members, 0), 1), maxBatch)
}

// floor is how many of the members must stay healthy; 0 where the policy has none.
func (p Policy) floor(members int) int { return p.MinHealthy.of(members, 99) }

// Amount is a number of instances, or a share of them in percent: 3, "3" or "25%".
type Amount struct {
	N       int
	Percent bool
}

// Percent is a share.
func Percent(n int) Amount { return Amount{n, true} }

// of is the amount of so many; a share is rounded down, or up where round is 99.
func (a Amount) of(all, round int) int {
	if a.Percent {
		return (all*a.N + round) / 100
	}
	return a.N
}

func (a Amount) String() string {
	if a.Percent {
		return fmt.Sprintf("%d%%", a.N)
	}
	return strconv.Itoa(a.N)
}

// ParseAmount reads "3" or "25%".
func ParseAmount(s string) (Amount, error) {
	digits, percent := strings.CutSuffix(s, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return Amount{}, fmt.Errorf("%s is no amount: give a number such as 3, or a share such as 25%%", quoted(s))
	}
	return Amount{int(n), percent}, nil
}

// MarshalJSON writes a share as "25%" and a number as it is.
func (a Amount) MarshalJSON() ([]byte, error) {
	if a.Percent {
		return json.Marshal(a.String())
	}
	return json.Marshal(a.N)
}

// UnmarshalJSON reads either.
func (a *Amount) UnmarshalJSON(text []byte) (err error) {
	*a, err = ParseAmount(strings.Trim(string(text), `"`))
	return err
}

// Duration is a time.Duration that JSON has as "1m30s".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes "1m30s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads what time.ParseDuration does.
func (d *Duration) UnmarshalJSON(text []byte) error {
	s := strings.Trim(string(text), `"`)
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%s is no duration: give one such as 90s or 10m", quoted(s))
	}
	*d = Duration(parsed)
	return nil
}
