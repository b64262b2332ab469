package operator

import (
	"context"
	"fmt"
	"strings"

	"github.com/bootagent/bootagent/rollout"
)

// Plan is what a deploy would do.
type Plan struct {
	// Release is what would be put; its number is the one after the newest version now.
	Release rollout.Release `json:"release"`
	Policy  rollout.Policy  `json:"policy"`
	Group   Health          `json:"group"`
	// Targets are the quotas that the rollout has to fit into; none where nothing more is registered, or they are not known.
	Targets []Room `json:"targets,omitempty"`
	// First says that no release is stable yet, so that every instance boots this one.
	First  bool             `json:"first,omitempty"`
	Stages []rollout.Stage  `json:"stages"`
	Least  rollout.Duration `json:"at_least"`
	// Calls are what is asked of AWS, and of git, in order.
	Calls []string `json:"calls"`
}

// Plan looks at everything that Deploy would look at, refuses what it would refuse, and writes nothing: no lock is taken.
func (o *Operator) Plan(ctx context.Context, r Request) (Plan, error) {
	w, err := o.preflight(ctx, r)
	if err != nil {
		return Plan{}, settle(unchanged(ctx, err))
	}
	p := Plan{Release: rollout.Release{ID: rollout.ID{Epoch: w.epoch}, Revision: w.revision, Ref: r.Ref}, Policy: w.policy, Targets: w.rooms}
	published, err := o.Parameter.Read(ctx)
	switch {
	case err == nil:
		p.Release.Number = published.Newest.Number + 1
	case isNone(err):
		p.Release.Number = 1
	default:
		return Plan{}, settle(err)
	}
	if p.Group, err = o.health(ctx, lookAtGroup); err != nil {
		return Plan{}, settle(err)
	}
	if o.Store != nil {
		records, err := o.read(ctx)
		if err != nil {
			return Plan{}, settle(err)
		}
		p.First = records.stable.Release.IsZero()
	}
	p.Stages = w.policy.Forecast(p.Group.inService(), p.First)
	p.Least = rollout.Duration(w.policy.AtLeast(p.Stages))
	value, err := o.value(w)
	if err != nil {
		return Plan{}, settle(err)
	}
	p.Calls = o.calls(len(value))
	return p, nil
}

// calls are the writes of a deploy, and what it asks while it watches. What it reads before is what Plan has just read.
func (o *Operator) calls(size int) []string {
	put := fmt.Sprintf("ssm:PutParameter on %s: the commit point (%d bytes, a new version)", o.Release, size)
	if o.Store == nil {
		return []string{put, fmt.Sprintf("ssm:GetParameters on %s, every %s, until the label stable is on that version", o.Release, look)}
	}
	where := "the file of this instance's records"
	write, get, remove := "write", "read", "remove"
	if o.Table != "" {
		where, write, get, remove = "table "+o.Table, "dynamodb:UpdateItem", "dynamodb:GetItem", "dynamodb:DeleteItem"
	}
	calls := []string{
		fmt.Sprintf("%s of the record lock in %s, if nobody has it", write, where),
		fmt.Sprintf("%s of rollout, stable, freeze and failed/…, once more under the lock", get),
		put,
		fmt.Sprintf("%s of the record lock, every %s, until an agent has opened the rollout, which takes the lock away", write, rollout.Renew),
		fmt.Sprintf("%s of rollout and release/…, every %s, until the rollout has ended", get, look),
	}
	if o.Groups != nil {
		calls = append(calls, fmt.Sprintf("elasticloadbalancing:DescribeTargetHealth and autoscaling:DescribeAutoScalingGroups, every %s, until then", lookAtGroup))
	}
	return append(calls, fmt.Sprintf("%s of the record lock instead, where it is refused after all", remove))
}

// Text is the plan for a person.
func (p Plan) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s%s would be put. Nothing was written, and no lock was taken.", p.Release, refOf(p.Release))
	switch {
	case !p.Group.Known:
		line("The group is not known, because no instance is registered in the balancer; --group names it.")
	default:
		line("The group %s: %d wanted, %d in service, %d of them healthy.", p.Group.Name, p.Group.Desired, p.Group.inService(), p.Group.healthy())
	}
	for _, r := range p.Targets {
		line("The %s: %d targets now, at most %d while instances switch, of %d that the quota %s allows.", r.On, r.Registered, r.Needed, r.Most, r.Quota)
	}
	line("")
	n := 1
	step := func(format string, args ...any) { line("%2d. %s", n, fmt.Sprintf(format, args...)); n++ }
	if p.First {
		step("No release is stable yet: every instance boots this one, and registers once it is healthy")
	}
	for _, s := range p.Stages {
		switch {
		case s.Phase == rollout.CanaryPhase:
			step("canary: %s, before all others", instancesOf(s.Instances))
		case s.Instances > 0:
			step("batches: %s, %d at a time, so %d times over", instancesOf(s.Instances), s.AtOnce, s.Waves())
		}
		if s.Bake > 0 {
			step("bake: what serves it stays healthy for %s", s.Bake)
		}
	}
	if p.Policy.Promote == rollout.Manual {
		step("wait for bootagent promote")
	}
	step("%s becomes stable", p.Release.ID)
	line("")
	waves := 0
	for _, s := range p.Stages {
		waves += s.Waves()
	}
	line("It takes %s at least, and %d times what an instance takes to fetch, build, start and check the release and to drain the one before.", p.Least, max(waves, 1))
	line("Where more than %d fail: %s. Where nothing gets on for %s: the same.", p.Policy.MaxFailures, failing(p.Policy.OnFailure), p.Policy.ProgressDeadline)
	line("")
	line("It would ask, in this order:")
	for _, c := range p.Calls {
		line("  %s", c)
	}
	return strings.TrimRight(b.String(), "\n")
}

func instancesOf(n int) string {
	if n == 1 {
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", n)
}

func failing(f rollout.OnFailure) string {
	switch f {
	case rollout.Stop:
		return "it ends, and every instance stays where it is"
	case rollout.Pause:
		return "it waits for you"
	case rollout.RollBack:
	}
	return "the fleet goes back to stable"
}
