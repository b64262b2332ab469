package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// Progress is how far a rollout is.
type Progress struct {
	Release rollout.Release `json:"release"`
	State   rollout.Status  `json:"state"`
	Phase   rollout.Phase   `json:"phase,omitempty"`
	Cause   string          `json:"cause,omitempty"`
	By      string          `json:"by,omitempty"`
	Leader  string          `json:"leader,omitempty"`
	// Members are the instances that take part; of them some have the candidate, some are switching, some wait, some failed, and
	// some are back on stable.
	Members   int `json:"members"`
	Done      int `json:"done"`
	Switching int `json:"switching"`
	Waiting   int `json:"waiting"`
	Failed    int `json:"failed"`
	Returned  int `json:"returned"`
	// Baked is how long the bake has lasted, of Bake; both 0 while it does not bake.
	Baked rollout.Duration `json:"baked,omitempty"`
	Bake  rollout.Duration `json:"bake,omitempty"`
	// Left is about how long it goes on, 0 where that is not known; Least says that it is what the bakes alone take.
	Left    rollout.Duration `json:"left,omitempty"`
	Least   bool             `json:"least,omitempty"`
	Failure *rollout.Failure `json:"failure,omitempty"`
}

// measure counts. Members of the group that have no part yet wait for one.
func measure(r *rollout.Rollout, h Health) Progress {
	p := Progress{
		Release: r.Release, State: r.State.Status, Phase: r.State.Phase, Cause: r.State.Cause, By: r.State.By, Leader: r.Lead.By, Failure: r.Failure,
	}
	for id, part := range r.Parts {
		if _, here := h.of(id); h.Known && !here && !part.Open() {
			continue // it has left the group
		}
		switch part.State {
		case rollout.Done:
			p.Done++
		case rollout.Granted, rollout.Back:
			p.Switching++
		case rollout.Sick, rollout.Reverted:
			p.Failed++
		case rollout.Returned:
			p.Returned++
		case rollout.Stray:
			p.Waiting++
		case rollout.Lost:
			continue
		}
		p.Members++
	}
	for _, m := range h.Members {
		if _, has := r.Parts[m.ID]; !has && m.InService {
			p.Members++
			p.Waiting++
		}
	}
	if r.State.Status == rollout.Baking && r.Lead.Serial == r.State.Serial {
		p.Baked, p.Bake = rollout.Duration(time.Duration(r.Lead.Baked)*time.Millisecond), r.Policy.Bake
	}
	return p
}

// pace is how fast instances have switched while this operator watched.
type pace struct {
	running time.Duration // for so long slots were out
	last    time.Duration // when it was looked last
	seen    bool
	first   int // how many were done then
}

// step adds what has passed since the last look, and gives how long an instance takes; 0 where that is not known.
func (p *pace) step(now time.Duration, at Progress) time.Duration {
	if !p.seen {
		p.seen, p.first, p.last = true, at.Done, now
	}
	if at.State == rollout.Running {
		p.running += now - p.last
	}
	p.last = now
	if at.Done <= p.first {
		return 0
	}
	return p.running / time.Duration(at.Done-p.first)
}

// left is about how long a rollout goes on, from how long an instance takes; least says that this was not known.
func left(r *rollout.Rollout, p Progress, each time.Duration) (total time.Duration, least bool) {
	bake := time.Duration(r.Policy.Bake)
	switch {
	case r.State.Status == rollout.Paused, r.State.Status == rollout.RollingBack, !r.State.Live():
		return 0, false
	case r.State.Phase == rollout.FinalPhase:
		return max(bake-time.Duration(p.Baked), 0), false
	case r.State.Phase == rollout.BatchPhase:
		total = bake
	case r.State.Status == rollout.Baking:
		total = max(bake-time.Duration(p.Baked), 0) + bake
	default:
		total = 2 * bake
	}
	open := p.Members - p.Done - p.Failed
	return total + time.Duration(open)*each, each == 0 && open > 0
}

// progress measures a rollout that is watched.
func (o *Operator) progress(ctx context.Context, r *rollout.Rollout, pace *pace) Progress {
	h, err := o.health(ctx, lookAtGroup)
	if err != nil { // what it was is better than nothing, and the rollout does not hang on it
		h = o.group.is
	}
	p := measure(r, h)
	total, least := left(r, p, pace.step(o.Clock.Now(), p))
	p.Left, p.Least = rollout.Duration(total), least
	return p
}

// Lines are the progress for a person: the first says how far it is, and changes only when something happens.
func (p Progress) Lines() []string {
	state := strings.ReplaceAll(string(p.State), "_", " ")
	if p.State == rollout.RollingBack {
		state = "returns to stable"
	}
	if p.Phase != "" && (p.State == rollout.Running || p.State == rollout.Baking) {
		state += fmt.Sprintf(" (%s)", p.Phase)
	}
	counts := []string{fmt.Sprintf("%d of %d done", p.Done, p.Members)}
	if p.State == rollout.RollingBack {
		counts = []string{fmt.Sprintf("%d of %d not back yet", p.Done+p.Failed+p.Switching, p.Members)}
	}
	for _, c := range []struct {
		n    int
		what string
	}{{p.Switching, "switching"}, {p.Waiting, "waiting"}, {p.Failed, "failed"}, {p.Returned, "back on stable"}} {
		if c.n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	lines := []string{fmt.Sprintf("%s %s: %s", p.Release, state, strings.Join(counts, ", "))}
	if p.Bake > 0 {
		lines = append(lines, fmt.Sprintf("  baked for %s of %s", rounded(p.Baked), p.Bake))
	}
	switch {
	case p.Left > 0 && p.Least:
		lines = append(lines, fmt.Sprintf("  at least %s to go, and what the instances take to switch", rounded(p.Left)))
	case p.Left > 0:
		lines = append(lines, fmt.Sprintf("  about %s to go", rounded(p.Left)))
	}
	if p.Cause != "" {
		lines = append(lines, "  because "+indented(p.Cause))
	}
	if p.Failure != nil && !strings.Contains(p.Cause, p.Failure.Cause) {
		lines = append(lines, fmt.Sprintf("  %s failed: %s", p.Failure.Instance, indented(p.Failure.Cause)))
	}
	return lines
}

func rounded(d rollout.Duration) string { return time.Duration(d).Round(time.Second).String() }

// indented keeps the lines of an app's output below the sentence that quotes them.
func indented(text string) string { return strings.ReplaceAll(text, "\n", "\n    ") }

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// instances are the ids of a rollout's parts and of the group, in order.
func instances(r *rollout.Rollout, h Health) []string {
	all := map[string]bool{}
	if r != nil {
		for id := range r.Parts {
			all[id] = true
		}
	}
	for _, m := range h.Members {
		all[m.ID] = true
	}
	return slices.Sorted(maps.Keys(all))
}
