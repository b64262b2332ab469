package operator

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Status is the fleet as its records and AWS tell of it.
type Status struct {
	App    string          `json:"app"`
	Env    string          `json:"env"`
	Stable rollout.Release `json:"stable"`
	// Previous is the release that was stable before it.
	Previous rollout.Release `json:"previous"`
	// Newest is the newest version of the release parameter, and Wants the ref or revision that it asks for.
	Newest int64  `json:"newest"`
	Wants  string `json:"wants,omitempty"`
	// Rollout is the newest one that was opened, also after its end; nil before the first.
	Rollout   *Progress  `json:"rollout,omitempty"`
	Live      bool       `json:"live"`
	Origin    *Origin    `json:"origin,omitempty"`
	Instances []Instance `json:"instances"`
	Group     Health     `json:"group"`
	Freeze    *Hold      `json:"freeze,omitempty"`
	Lock      *Hold      `json:"lock,omitempty"`
	// Problems are what could not be seen.
	Problems []string `json:"problems,omitempty"`
}

// Origin is where a rollout came from.
type Origin struct {
	By         string `json:"by,omitempty"`
	Message    string `json:"message,omitempty"`
	RollbackOf int64  `json:"rollback_of,omitempty"`
}

// Hold is who holds deploys up, and why.
type Hold struct {
	By      string `json:"by,omitempty"`
	Message string `json:"message,omitempty"`
}

// Instance is one of the fleet.
type Instance struct {
	ID string `json:"id"`
	// State is where it is in the rollout: waiting, switching, done, sick, failed, going back, returned, elsewhere, gone; "" where there is none.
	State     string          `json:"state,omitempty"`
	Lifecycle model.Lifecycle `json:"lifecycle,omitempty"`
	Healthy   bool            `json:"healthy"`
	Leads     bool            `json:"leads,omitempty"`
	Note      string          `json:"note,omitempty"`
}

// Status looks at everything once. What can't be seen is a problem in it, and not the end of it.
func (o *Operator) Status(ctx context.Context) (Status, error) {
	s := Status{App: o.App, Env: o.Env, Instances: []Instance{}}
	problem := func(err error) { s.Problems = append(s.Problems, err.Error()) }
	published, err := o.Parameter.Read(ctx)
	switch {
	case err == nil:
		s.Newest, s.Wants = published.Newest.Number, wanted(published.Newest)
		if o.Store == nil && published.Stable != nil {
			if s.Stable, _, err = versionRelease(*published.Stable); err != nil {
				problem(err)
			}
		}
	case !isNone(err):
		problem(err)
	}
	if s.Group, err = o.health(ctx, lookAtGroup); err != nil {
		problem(err)
	}
	var r records
	if o.Store != nil {
		if r, err = o.read(ctx); err != nil {
			return s, settle(err)
		}
		if s.Freeze, s.Lock, err = o.holds(ctx); err != nil {
			return s, settle(err)
		}
		s.Stable, s.Previous = r.stable.Release, r.stable.Previous
	}
	if r.rollout != nil {
		p := measure(r.rollout, s.Group)
		total, least := left(r.rollout, p, 0)
		p.Left, p.Least = rollout.Duration(total), least
		s.Rollout, s.Live = &p, r.live() != nil
		s.Origin = &Origin{By: r.rollout.Origin.By, Message: r.rollout.Origin.Message, RollbackOf: r.rollout.Origin.RollbackOf}
	}
	for _, id := range instances(r.rollout, s.Group) {
		if i, shown := describe(id, r.rollout, s.Group); shown {
			s.Instances = append(s.Instances, i)
		}
	}
	return s, nil
}

func wanted(v model.Version) string {
	r, _, err := versionRelease(v)
	if err != nil {
		return "what is no release"
	}
	return orText(r.Ref, r.Revision)
}

func (o *Operator) holds(ctx context.Context) (freeze, lock *Hold, err error) {
	record, err := o.Store.Get(ctx, rollout.FreezeKey)
	if err != nil {
		return nil, nil, err
	}
	if record.Attributes != nil {
		freeze = &Hold{By: worded(record, "by"), Message: worded(record, "message")}
	}
	if record, err = o.Store.Get(ctx, rollout.LockKey); err != nil {
		return nil, nil, err
	}
	if record.Attributes != nil {
		lock = &Hold{By: worded(record, "by")}
	}
	return freeze, lock, nil
}

// describe is one instance's line. Those that have left the group are not shown once the rollout is over.
func describe(id string, r *rollout.Rollout, h Health) (Instance, bool) {
	m, here := h.of(id)
	i := Instance{ID: id, Lifecycle: m.Lifecycle, Healthy: m.Healthy, Note: m.Why}
	if r == nil {
		return i, here
	}
	part, has := r.Parts[id]
	i.Leads = r.Lead.By == id
	switch {
	case has:
		i.State = partWords(part)
	case r.State.Live() && r.State.Status != rollout.RollingBack:
		i.State = "waiting"
	}
	if r.Failure != nil && r.Failure.Instance == id {
		i.Note = firstLine(r.Failure.Cause)
	}
	return i, here || r.State.Live() || !h.Known
}

func partWords(p rollout.Part) string {
	switch p.State {
	case rollout.Granted:
		return "switching"
	case rollout.Done:
		return "done"
	case rollout.Sick:
		return "sick"
	case rollout.Reverted:
		return "failed"
	case rollout.Back:
		return "going back"
	case rollout.Returned:
		return "returned"
	case rollout.Stray:
		return "elsewhere"
	case rollout.Lost:
		return "gone"
	}
	return string(p.State)
}

// Text is the status for a person.
func (s Status) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("app", "%s %s", s.App, s.Env)
	stable := "no release yet"
	if !s.Stable.IsZero() {
		stable = s.Stable.String() + refOf(s.Stable)
	}
	line("stable", "%s", stable)
	if s.Group.Known {
		line("group", "%s: %d wanted, %d in service, %d of them healthy", s.Group.Name, s.Group.Desired, s.Group.inService(), s.Group.healthy())
	} else {
		line("group", "not known: nothing is registered in the balancer (--group names it)")
	}
	if s.Freeze != nil {
		line("frozen", "%s", because("by %s", named(s.Freeze.By))(s.Freeze.Message))
	}
	if s.Lock != nil {
		line("lock", "%s deploys", named(s.Lock.By))
	}
	s.rollout(line)
	for _, p := range s.Problems {
		line("problem", "%s", p)
	}
	_ = w.Flush() // a strings.Builder takes everything
	if len(s.Instances) > 0 {
		b.WriteString("\n")
		w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, i := range s.Instances {
			health := "healthy"
			if !i.Healthy {
				health = "not healthy"
			}
			note := i.Note
			if i.Leads {
				note = strings.TrimSpace("leads " + note)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", i.ID, orText(string(i.Lifecycle), "gone"), health, i.State, note)
		}
		_ = w.Flush()
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

// rollout says what is under way, or how the last one ended.
func (s Status) rollout(line func(name, format string, args ...any)) {
	if s.Rollout == nil {
		if s.Newest > s.Stable.Number {
			line("newest", "version %d of the release parameter, %s", s.Newest, s.Wants)
		}
		return
	}
	name := "last"
	if s.Live {
		name = "rollout"
	}
	lines := s.Rollout.Lines()
	if !s.Live { // how many had it no longer matters
		lines[0] = fmt.Sprintf("%s %s", s.Rollout.Release, strings.ReplaceAll(string(s.Rollout.State), "_", " "))
	}
	line(name, "%s", lines[0])
	for _, more := range lines[1:] {
		line("", "%s", strings.ReplaceAll(strings.TrimPrefix(more, "  "), "\n", "\n\t"))
	}
	if s.Origin != nil && s.Origin.By != "" {
		line("", "%s", because("asked for by %s", s.Origin.By)(s.Origin.Message))
	}
	if s.Newest > s.Rollout.Release.Number {
		line("newest", "version %d of the release parameter, %s, was not opened", s.Newest, s.Wants)
	}
}

func refOf(r rollout.Release) string {
	if r.Ref == "" || r.Ref == r.Revision {
		return ""
	}
	return ", ref " + r.Ref
}
